"""study.toml: one frozen model for the whole study, with errors that name the nearest key.

Its tables are here, but for those of the real data (`data.config`) and of the generator (`model.config`); a setting's
description is its documentation. Torch-free.
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Any, Literal, get_args

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from tomlkit.exceptions import ParseError

from data.config import DataConfig
from data.designs import parse_weights
from data.records import ExclusionRule
from loop.policy import DataPolicy, PolicyKind
from model.config import (
    PREFERENCE_LEARNERS,
    ClassifierConfig,
    ComputeConfig,
    JudgeConfig,
    LearnerConfig,
    NetworkConfig,
    RewardConfig,
    SamplingConfig,
    TrainConfig,
)

POINT_SETS = ("moons", "gaussians")
POINT_KINDS = ("kde", "gaussian")
PICTURE_KINDS = ("vae", "diffusers", "command")
TEXT_KINDS = ("ngram", "gpt")
IMAGE_REWARDS = ("class_prob", "confidence", "ink")
TEXT_REWARDS = ("share", "word_length", "likelihood")
Flag = Literal["too_fast", "failed_attention", "one_position", "inconsistent"]
PanelKind = Literal["open", "prolific", "mturk", "link"]
FLAGS: tuple[Flag, ...] = get_args(Flag)
PICK_FLAGS: tuple[Flag, ...] = ("too_fast", "failed_attention", "inconsistent")
PROLIFIC_URL = "https://app.prolific.com/submissions/complete?cc={code}"


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CurationConfig(_Table):
    """The [curation] table: who picks from what."""

    k: int | Literal["inf"] = Field(
        default=4, description='samples in a slate; 1: no choice; "inf": picks drawn from all samples by weight'
    )
    picks: int = Field(
        default=0, ge=0, description="curated samples a generation; 0 means lam times the real data (all if inf)"
    )
    extend: Literal["none", "accumulate", "proxy"] = Field(
        default="none",
        description="people give dozens of picks: train on them alone, on all so far, or on a fitted user's too",
    )
    ridge: float = Field(default=1.0, gt=0, description="proxy: strength of the ridge on the fitted utilities")
    inf_pool: int = Field(default=8, ge=2, description='k = "inf": samples drawn for each pick')
    lapse: float = Field(default=0.0, ge=0, le=1, description="simulated users: share of picks made at random")
    position_bias: tuple[float, ...] = Field(
        default=(), description="simulated users: utility added to each of the k positions; [] for none"
    )
    adversarial: float = Field(
        default=0.0, ge=0, le=1, description="simulated users: share of picks made by the [adversary]'s reward"
    )
    drift: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="simulated users: share of their taste that follows, each generation, the mean of what is shown; "
        "reward.kind linear or factors",
    )
    tie_theta: float = Field(
        default=1.5, ge=1, description="simulated users with slates.ties: (theta-1)/(theta+1) ties of equal samples"
    )

    @field_validator("k", mode="before")
    @classmethod
    def _whole_or_infinite(cls, k: Any) -> Any:
        if k == "inf" or (isinstance(k, float) and k == math.inf):
            return "inf"
        try:
            whole = not isinstance(k, bool) and float(k).is_integer()
        except (TypeError, ValueError, OverflowError):
            whole = False
        if not whole:
            raise ValueError(f'k must be a whole number, 1 (no choice) or more, or "inf", not {k}')
        if float(k) < 1:
            raise ValueError('k must be 1 (no choice) or more, or "inf"')
        return int(float(k))

    @model_validator(mode="after")
    def _one_bias_per_position(self) -> "CurationConfig":
        if self.position_bias and len(self.position_bias) != self.k:
            raise ValueError(
                f"curation.position_bias has {len(self.position_bias)} entries, and a slate has k = {self.k}"
            )
        return self


class AdversaryConfig(RewardConfig):
    """The [adversary] table: what a share `curation.adversarial` of the picks likes instead."""

    kind: str = Field(default="opposite", description="opposite (minus the study's reward), or a reward as in [reward]")


class RaterType(RewardConfig):
    """One of [[population]]: simulated users of this type have their own reward; each pick draws a type."""

    name: str = Field(min_length=1, description="recorded with each of its picks")
    weight: float = Field(default=1.0, gt=0, description="its share, relative to the other types'")


class ConditionConfig(_Table):
    """One of [[conditions]]: a class or a prompt, which all samples of a slate share."""

    name: str = Field(min_length=1, description="as raters read it: a prompt, or a class")
    weight: float = Field(default=1.0, gt=0, description="how often slates are of it, relative to the others")
    label: int | None = Field(default=None, ge=0, description="the data's class of this number; else that of this name")


class MixConfig(_Table):
    """The [mix] table: which data train a generation (see `DataPolicy`)."""

    policy: PolicyKind = Field(
        default="mix",
        description="mix (real and latest picks, 1 : lam), replace, accumulate, accumulate_subsample, replace_grown, "
        "recent or uniform",
    )
    lam: float = Field(
        default=1.0, gt=0, allow_inf_nan=True, description="mix: curated : real; inf trains on picks only"
    )
    origin: Literal["data", "generation"] = Field(
        default="data",
        description="generation: generation 1 learns its set alone, which generation 0 drew, and from then on that set "
        "stands for the real data",
    )
    recent: int = Field(
        default=2, ge=1, description="recent: how many generations train; the real data are generation 0's"
    )


class ScheduleConfig(_Table):
    """The [schedule] table: when people's picks lead to a new generation."""

    picks: int = Field(default=24, ge=1, description="a new generation after this many curation picks")
    interval_s: float = Field(
        default=0, ge=0, description="or after this many seconds if there is any new pick; 0: never"
    )


class StopConfig(_Table):
    """The [stop] table: how far a study with people goes, set before the first pick; 0 leaves it open.

    What is set in advance makes verdicts sharper: intervals needn't be valid at every look, nor errors be kept back for
    later generations.
    """

    raters: int = Field(default=0, ge=0, description="people who may finish; 0: open. Needs journey.picks")
    generations: int = Field(default=0, ge=0, description="the last generation that people's picks lead to; 0: open")

    @field_validator("raters")
    @classmethod
    def _enough(cls, raters: int) -> int:
        if raters == 1:
            raise ValueError("one rater says nothing of others; set 2 or more, or 0 to leave the number open")
        return raters


class PoolConfig(_Table):
    """The [pool] table: slates made ahead of the raters."""

    size: int = Field(default=96, ge=1, description="curation slates kept free")
    audit: int = Field(
        default=48, ge=0, description="audit slates kept free; they are served while a generation trains"
    )
    audit_k: int = Field(
        default=2, ge=2, description="samples in an audit slate; only of pairs is a win rate of 1/2 indifference"
    )
    lease_s: float = Field(default=600, gt=0, description="a slate without an answer goes back after this long")


class EvaluationConfig(_Table):
    """The [evaluation] table: what is measured on fresh samples of every generation."""

    samples: int = Field(default=2_000, ge=100)
    features: Literal["classifier", "inception", "dinov2"] = Field(
        default="classifier", description="images: whose features the distances from the real data rest on"
    )
    features_file: str = Field(default="", description="the weights of inception or dinov2, which aren't downloaded")
    neighbours: int = Field(default=5, ge=1, description="images: k of precision, recall, density and coverage")

    @model_validator(mode="after")
    def _has_weights(self) -> "EvaluationConfig":
        if self.features != "classifier" and not self.features_file:
            raise ValueError(f"features '{self.features}' needs its weights: set evaluation.features_file to the file")
        return self


class AppConfig(_Table):
    """The [app] table: the pages."""

    title: str = "Which one do you like best?"
    language: Literal["en", "fr"] = Field(default="en", description="of the rater's page; a link may say ?lang=fr")
    reveal: bool = Field(
        default=False, description="show raters how the generator moves (a demo, a classroom; not a study)"
    )
    password: str = Field(
        default="", description="of the researcher's page; hashed into secrets.toml; empty: as before, or generated"
    )
    trusted_proxies: tuple[str, ...] = Field(
        default=(), description="addresses of proxies in front, whose X-Forwarded headers are believed; see docs"
    )
    requests_per_session: float = Field(default=10, ge=0, description="a second, of one rater; 0: no limit")
    requests_per_address: float = Field(
        default=2_500, ge=0, description="a second, of one address, behind which a whole lab may sit; 0: no limit"
    )
    leases_per_address: int = Field(
        default=1_000, ge=0, description="slates that raters of one address may hold; 0: no limit"
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _some_not_all(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            if proxy.strip() == "*" or proxy.strip().endswith("/0"):
                raise ValueError(
                    f"'{proxy}' trusts everyone, who could then come from any address they like; name yours"
                )
            ip_network(proxy)  # any other text would match no proxy, and all raters would share its address
        return proxies


class JourneyConfig(_Table):
    """The [journey] table: the steps around the picks. An empty text leaves its step out.

    Texts are Markdown, or the name of a .md file in the study's folder.
    """

    consent: str = Field(default="", description="what a rater agrees to; declining stores the refusal and no more")
    instructions: str = Field(default="", description="what a rater is told before the first slate")
    practice: int = Field(default=0, ge=0, le=20, description="practice slates; they never train")
    question: str = Field(default="", description="of comprehension; a rater has two tries")
    choices: tuple[str, ...] = Field(default=(), description="the question's answers, as they are shown")
    answer: str = Field(default="", description="which of the choices is right")
    picks: int = Field(default=0, ge=0, description="slates that one rater answers; 0: no end")
    closing: str = Field(default="", description="a question after the last slate, answered in words or not at all")
    thanks: str = Field(default="", description="said to those who finished")
    declined: str = Field(default="", description="said of payment to those who declined; empty: the page's own words")
    failed: str = Field(default="", description="the same for those who failed the comprehension question")
    withdrawn: str = Field(default="", description="the same for those who withdrew before the end")

    @model_validator(mode="after")
    def _answerable(self) -> "JourneyConfig":
        if self.question and (len(self.choices) < 2 or self.answer not in self.choices):
            raise ValueError("journey.question needs two or more journey.choices, and journey.answer is one of them")
        if len(set(self.choices)) < len(self.choices):
            raise ValueError("journey.choices must differ from each other")
        return self


class PanelConfig(_Table):
    """The [panel] table: where raters come from, and what they go back with."""

    kind: PanelKind = Field(
        default="open", description="open, prolific, mturk, or link (one-time links made by `curate invite`)"
    )
    url: str = Field(default="", description='where a rater goes with a code, with "{code}" in it; empty: the panel\'s')
    complete: str = Field(default="", description="code, or a whole https:// address, for those who finished")
    failed: str = Field(default="", description="the same for those who failed the comprehension question")
    withdrew: str = Field(default="", description="the same for those who withdrew or declined")

    @model_validator(mode="after")
    def _code_in_url(self) -> "PanelConfig":
        if self.url and ("{code}" not in self.url or not self.url.startswith(("https://", "http://"))):
            raise ValueError('panel.url must be an http(s) address with "{code}" in it')
        return self

    def completion(self, code: str) -> dict[str, str] | None:
        """The completion that a page hands out: {code, url}, either may be empty; None where no code is set."""
        if not code:
            return None
        if code.startswith(("https://", "http://")):
            return {"code": "", "url": code}
        url = self.url or (PROLIFIC_URL if self.kind == "prolific" else "")
        return {"code": code, "url": url.replace("{code}", code)}


class SlatesConfig(_Table):
    """The [slates] table: what a rater is asked of a slate, which share are checks, and how long one may take."""

    kind: Literal["best", "best_worst"] = Field(
        default="best", description="best_worst: the worst is picked, too, of slates of 3 or more; the best trains"
    )
    ties: bool = Field(
        default=False, description="pairs: 'both are as good' is an answer, and one of the two trains, at random"
    )

    attention: float = Field(default=0.0, ge=0, le=0.5, description="share of slates with a clear answer")
    repeat: float = Field(default=0.0, ge=0, le=0.5, description="share of slates that a rater saw before, reordered")
    timeout_s: float = Field(default=0.0, ge=0, description="a slate without an answer counts as timed out; 0: never")
    undo_s: float = Field(
        default=10.0, ge=0, le=60, description="seconds in which a rater may take the last answer back; 0: never"
    )


class QualityConfig(_Table):
    """The [quality] table: when answers are flagged, and which flags keep them out of training. Nothing is deleted."""

    too_fast_ms: int = Field(default=300, ge=0, description="an answer that took less is too fast")
    too_fast_share: float = Field(default=0.3, gt=0, le=1, description="a session with this share of them is flagged")
    failed_attention: int = Field(default=2, ge=1, description="failed attention slates that flag a session")
    one_position_share: float = Field(default=0.9, gt=0, le=1, description="of one position: flags a session")
    least_answers: int = Field(default=10, ge=2, description="both shares need at least this many answers")
    consistency: float = Field(default=0.4, ge=0, le=1, description="share of repeats answered alike; less is flagged")
    consistency_repeats: int = Field(default=4, ge=1, description="with at least this many repeats")
    exclude_picks: tuple[Flag, ...] = Field(default=(), description="picks with one of these flags don't train")
    exclude_raters: tuple[Flag, ...] = Field(default=(), description="nor do picks of raters flagged with one of these")

    @model_validator(mode="after")
    def _flags_of_picks(self) -> "QualityConfig":
        wrong = sorted(set(self.exclude_picks) - set(PICK_FLAGS))
        if wrong:
            raise ValueError(f"quality.exclude_picks: {wrong[0]} is a rater's flag; picks have {', '.join(PICK_FLAGS)}")
        return self

    @property
    def excludes(self) -> bool:
        """True if any flag keeps picks out of training."""
        return bool(self.exclude_picks or self.exclude_raters)

    @property
    def rule(self) -> ExclusionRule:
        """The declared rule of training."""
        return ExclusionRule(self.exclude_picks, self.exclude_raters)


class StudyConfig(_Table):
    """All of study.toml."""

    preset: str = ""
    seed: int = Field(default=0, ge=0, lt=2**32)
    generations: int = Field(default=5, ge=1, description="`curate simulate` stops after this many turns")
    compute: ComputeConfig = ComputeConfig()
    data: DataConfig = DataConfig()
    network: NetworkConfig = NetworkConfig()
    train: TrainConfig = TrainConfig()
    sampling: SamplingConfig = SamplingConfig()
    reward: RewardConfig = RewardConfig()
    adversary: AdversaryConfig = AdversaryConfig()
    population: tuple[RaterType, ...] = Field(
        default=(), description="types of simulated users, each with a reward of its own; [] for users who are alike"
    )
    conditions: tuple[ConditionConfig, ...] = Field(
        default=(), description="classes or prompts, one for each slate, drawn by weight; [] for none"
    )
    classifier: ClassifierConfig = ClassifierConfig()
    judge: JudgeConfig = JudgeConfig()
    curation: CurationConfig = CurationConfig()
    learner: LearnerConfig = LearnerConfig()
    mix: MixConfig = MixConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    stop: StopConfig = StopConfig()
    pool: PoolConfig = PoolConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    app: AppConfig = AppConfig()
    journey: JourneyConfig = JourneyConfig()
    panel: PanelConfig = PanelConfig()
    slates: SlatesConfig = SlatesConfig()
    quality: QualityConfig = QualityConfig()

    @model_validator(mode="after")
    def _consistent(self) -> "StudyConfig":
        names = [type_.name for type_ in self.population]
        if len(set(names)) < len(names) or "adversary" in names:
            raise ValueError("population: names must differ from each other and from 'adversary'")
        if len({condition.name for condition in self.conditions}) < len(self.conditions):
            raise ValueError("conditions: names must differ from each other")
        if self.conditions and self.data.conditions == "classes":
            raise ValueError("data.conditions = 'classes' and [[conditions]] both name conditions; use one of them")
        if self.curation.extend == "accumulate" and self.policy.accumulates:
            raise ValueError("curation.extend and mix.policy would both accumulate the picks; choose one of them")
        if self.stop.raters and not self.journey.picks:
            raise ValueError("stop.raters counts raters who finish, so it needs an end: set journey.picks")
        k = self.curation.k
        if self.slates.ties and k != 2:
            raise ValueError(f"slates.ties is for pairs: set curation.k to 2, not {k}")
        if self.slates.kind == "best_worst" and (k == "inf" or k < 3):
            raise ValueError(
                f"slates.kind 'best_worst' needs a best, a worst and something between: set curation.k to 3 or more "
                f"(a whole number), not {k}"
            )
        self.check_learner()
        self.check_conditions()
        self.check_drift()
        if self.reward.kind == "opposite":
            raise ValueError("reward.kind 'opposite' is for an adversary; give gamma the other sign instead")
        designs = self.data.family
        points, texts = self.data.dataset in POINT_SETS or designs is not None, self.data.is_text
        if self.evaluation.features != "classifier" and (points or texts):
            other = "texts" if texts else "points"
            raise ValueError(f"evaluation.features '{self.evaluation.features}' is for images, not for {other}")
        kind = self.network.kind
        if texts and kind not in (*TEXT_KINDS, "resample") and ":" not in kind:
            raise ValueError(
                f"network.kind '{kind}' writes no texts: set it to ngram or gpt, or your own 'module:Class'"
            )
        if kind in TEXT_KINDS and not texts:
            raise ValueError(f"network.kind '{kind}' is for texts: set data.dataset to text, or choose another kind")
        if self.network.draws and (kind != "ngram" or k != 1 or self.learner.kind != "curate"):
            raise ValueError(
                "network.draws is the control without choice: set network.kind to ngram, curation.k to 1 and "
                "learner.kind to curate"
            )
        if self.network.draws and self.mix.origin == "generation":
            raise ValueError("network.draws keeps the real text's own counts as the real data: set mix.origin to data")
        if kind in POINT_KINDS and not points:
            raise ValueError(f"network.kind '{kind}' is for points; for images use vae, unet or digits")
        if kind in PICTURE_KINDS and points:
            raise ValueError(f"network.kind '{kind}' is for images; for points use mlp, kde or gaussian")
        for table in (self.reward, self.adversary, *self.population):
            parse_weights(table.weights)
        kinds = [("reward.kind", self.reward.kind)]
        if self.curation.adversarial:
            kinds.append(("adversary.kind", self.adversary.kind))
        kinds += [(f"population '{type_.name}': kind", type_.kind) for type_ in self.population]
        for name, kind in kinds:
            if kind in IMAGE_REWARDS and (points or texts):
                usual = "factors" if designs else "ball" if points else "share"
                raise ValueError(f"{name} '{kind}' is for images; here use '{usual}' or your own 'module:function'")
            if kind in TEXT_REWARDS and not texts:
                raise ValueError(f"{name} '{kind}' is for texts: set data.dataset to text, or choose another reward")
            if kind == "factors" and designs is None:
                raise ValueError(f"{name} 'factors' is for flowers and other designs with named numbers")
            if kind in ("ball", "linear") and self.data.dataset not in POINT_SETS:
                raise ValueError(
                    f"{name} '{kind}' is for points; for images use class_prob, confidence, ink or your own"
                )
        return self

    def check_conditions(self) -> None:
        """Refuses a reward that goes by conditions where there are none.

        Raises:
            ValueError: it does.
        """
        tables = [("reward", self.reward), *((f"population '{type_.name}'", type_) for type_ in self.population)]
        for name, table in (*tables, ("adversary", self.adversary)):
            if table.target == "condition" and not self.conditions and self.data.conditions == "none":
                raise ValueError(f"{name}: target 'condition' needs conditions: set data.conditions to classes, say")

    def check_drift(self) -> None:
        """Refuses settings that a taste which follows what is shown can't go with.

        Raises:
            ValueError: which, and what to set.
        """
        if not self.curation.drift:
            return
        if self.reward.kind not in ("linear", "factors"):
            raise ValueError(
                f"curation.drift turns the weights of a reward, and reward.kind '{self.reward.kind}' has none: set it "
                "to linear (points) or factors (flowers)"
            )
        if not self.reward.gamma or not (
            any(self.reward.center) if self.reward.kind == "linear" else self.reward.weights
        ):
            raise ValueError(
                "curation.drift needs a first taste: set reward.center (linear) or reward.weights (factors)"
            )
        if self.population or self.curation.adversarial or self.conditions or self.data.conditions != "none":
            raise ValueError("curation.drift is for users who are alike, in a study without conditions")
        if self.learner.kind != "curate":
            raise ValueError(f"curation.drift is for learner.kind 'curate', not '{self.learner.kind}'")

    def check_learner(self) -> None:
        """Refuses settings that the learner can't go with.

        Raises:
            ValueError: which, and what to set.
        """
        kind, k = self.learner.kind, self.curation.k
        if kind == "curate":
            return
        if self.slates.ties:
            raise ValueError(f"learner.kind '{kind}' knows no ties: set slates.ties = false")
        if k in ("inf", 1) and kind != "reward_weighted":
            raise ValueError(f"learner.kind '{kind}' learns from slates: set curation.k to 2 or more")
        if k == "inf":
            raise ValueError("learner.kind 'reward_weighted' is K = infinity itself: set curation.k to a number")
        if self.curation.extend == "proxy":
            raise ValueError(f"learner.kind '{kind}' needs no proxy's picks: set curation.extend = \"none\"")
        if kind in PREFERENCE_LEARNERS and not self.policy.is_pure:
            raise ValueError(f"learner.kind '{kind}' learns from slates alone: set mix.lam = inf")
        if kind in PREFERENCE_LEARNERS and self.network.kind not in ("mlp", "digits", "unet", "diffusers"):
            raise ValueError(f"learner.kind '{kind}' needs a flow or diffusers; network.kind is '{self.network.kind}'")
        if kind in PREFERENCE_LEARNERS and self.train.restart:
            raise ValueError(f"learner.kind '{kind}' starts from the parent: set train.restart = false")

    @property
    def policy(self) -> DataPolicy:
        """The data policy of [mix]."""
        return DataPolicy(self.mix.policy, self.mix.lam, self.mix.recent)

    @property
    def pretraining(self) -> str:
        """All that generation 0 and the classifier follow from, as text: where it is equal, so are their weights."""
        train = {key: value for key, value in self.train if not key.startswith("finetune_") and key != "restart"}
        parts = self.model_dump(include={"seed", "data", "network", "sampling", "classifier", "judge", "conditions"})
        return repr({**parts, "train": train})

    def as_json(self) -> dict[str, Any]:
        """The resolved configuration as plain values, infinity written as 'inf', to be stored with a generation."""
        return plain(self.model_dump(exclude={"app", "journey", "panel"}))

    def to_toml(self) -> str:
        """study.toml in full, each key with what it means."""
        document = tomlkit.document()
        document.add(
            tomlkit.comment("A curate study. Every setting is written out; change them before the first generation.")
        )
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if not isinstance(value, BaseModel):
                add_item(document, name, value, field.description)
        for name in type(self).model_fields:
            table_model = getattr(self, name)
            if isinstance(table_model, BaseModel):
                table = tomlkit.table()
                for key, field in type(table_model).model_fields.items():
                    add_item(table, key, getattr(table_model, key), field.description)
                document.add(tomlkit.nl())
                document.add(name, table)
        return tomlkit.dumps(document)


def parse(text: str, source: str = "study.toml") -> StudyConfig:
    """A configuration from TOML.

    Raises:
        ValueError: bad TOML, an unknown key (the nearest one is named), or a value that doesn't fit.
    """
    try:
        values = tomlkit.parse(text).unwrap()
    except ParseError as error:
        raise ValueError(f"{source} is not valid TOML: {error}") from error
    return build(values, source)


def build(values: Mapping[str, Any], source: str = "the settings") -> StudyConfig:
    """A configuration from nested values; errors as in `parse`."""
    try:
        return StudyConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"]]
        if first["type"] == "extra_forbidden":
            raise ValueError(unknown_key(path, source)) from None
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(": ".join([source, *filter(None, [".".join(path)]), message])) from None


def override(values: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """A copy of nested values with `a.b=v` settings put in; v is read as TOML, else as text.

    Raises:
        ValueError: no '=', or an unknown key (the nearest one is named).
    """
    merged = put(values, {}, "--set")
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"--set {setting}: write it as key=value, for example --set curation.k=4")
        merged = put(merged, {key.strip(): read_value(text.strip())}, "--set")
    return merged


def put(values: Mapping[str, Any], given: Mapping[str, Any], source: str) -> dict[str, Any]:
    """A copy of nested values with some set by their full names, such as `curation.k`; source is named in errors.

    Raises:
        ValueError: an unknown key (the nearest one is named).
    """
    merged = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    for key, value in given.items():
        path = key.split(".")
        if key not in known_keys():
            raise ValueError(unknown_key(path, source))
        table = merged
        for part in path[:-1]:
            table = table.setdefault(part, {})
        table[path[-1]] = value
    return merged


def known_keys() -> list[str]:
    """Every setting by its full name, such as `curation.k`."""
    keys = []
    for name, field in StudyConfig.model_fields.items():
        table = field.annotation
        if isinstance(table, type) and issubclass(table, BaseModel):
            keys += [f"{name}.{key}" for key in table.model_fields]
        else:
            keys.append(name)
    return keys


def unknown_key(path: Sequence[str], source: str) -> str:
    """The sentence that refuses a setting and names the nearest one there is."""
    wrong = ".".join(path)
    near = difflib.get_close_matches(wrong, known_keys(), n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else "see `curate new --help` and study.toml for the keys there are."
    return f"{source}: there is no setting '{wrong}'; {hint}"


def read_value(text: str) -> Any:
    """A value written as TOML, or as plain text."""
    try:
        return tomlkit.parse(f"value = {text}").unwrap()["value"]
    except ParseError:
        return text


def plain(value: Any) -> Any:
    """Plain values for JSON: tuples as lists, infinity as "inf"."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return list(value)
    return "inf" if isinstance(value, float) and math.isinf(value) else value


def add_item(table: Any, key: str, value: Any, description: str | None) -> None:
    """Adds a setting to a TOML table, its description as a comment; tuples become arrays, models inline tables."""
    if isinstance(value, tuple):
        array = tomlkit.array()
        for entry in value:
            row = tomlkit.inline_table()
            if isinstance(entry, BaseModel):
                values = entry.model_dump(exclude_none=True)
                row.update({name: list(v) if isinstance(v, tuple) else v for name, v in values.items()})
            array.append(row if isinstance(entry, BaseModel) else entry)
        value = array
    item = tomlkit.item(value)
    if description:
        item.comment(description)
    table.add(key, item)
