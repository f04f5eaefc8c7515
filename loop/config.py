"""study.toml: one frozen model for the whole study, with errors that name the nearest key."""

import difflib
import math
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Any, Literal

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from tomlkit.exceptions import ParseError

from data.config import DataConfig
from loop.policies import DataPolicy, PolicyKind
from loop.raters.config import JourneyConfig, PanelConfig, QualityConfig, SlatesConfig
from model.config import (
    ClassifierConfig,
    ComputeConfig,
    JudgeConfig,
    NetworkConfig,
    RewardConfig,
    SamplingConfig,
    TrainConfig,
)

POINT_SETS = ("moons", "gaussians")
IMAGE_REWARDS = ("class_prob", "confidence")


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

    @field_validator("k", mode="before")
    @classmethod
    def _infinite(cls, k: Any) -> Any:
        if k == "inf" or (isinstance(k, float) and k == math.inf):
            return "inf"
        try:
            whole = not isinstance(k, bool) and float(k).is_integer()
        except (TypeError, ValueError, OverflowError):
            whole = False
        if not whole:
            raise ValueError(f'k must be a whole number, 1 (no choice) or more, or "inf", not {k}')
        return int(float(k))

    @field_validator("k")
    @classmethod
    def _at_least_one(cls, k: int | str) -> int | str:
        if isinstance(k, int) and k < 1:
            raise ValueError('k must be 1 (no choice) or more, or "inf"')
        return k

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


class MixConfig(_Table):
    """The [mix] table: which data train a generation (see `loop.policies`)."""

    policy: PolicyKind = Field(
        default="mix",
        description="mix (real and latest picks, 1 : lam), replace, accumulate or accumulate_subsample",
    )
    lam: float = Field(
        default=1.0, gt=0, allow_inf_nan=True, description="mix: curated : real; inf trains on picks only"
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
    classifier: ClassifierConfig = ClassifierConfig()
    judge: JudgeConfig = JudgeConfig()
    curation: CurationConfig = CurationConfig()
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
        if self.curation.extend == "accumulate" and self.mix.policy.startswith("accumulate"):
            raise ValueError("curation.extend and mix.policy would both accumulate the picks; choose one of them")
        if self.stop.raters and not self.journey.picks:
            raise ValueError("stop.raters counts raters who finish, so it needs an end: set journey.picks")
        if self.reward.kind == "opposite":
            raise ValueError("reward.kind 'opposite' is for an adversary; give gamma the other sign instead")
        if self.evaluation.features != "classifier" and self.data.dataset in POINT_SETS:
            raise ValueError(f"evaluation.features '{self.evaluation.features}' is for images, not for points")
        for name, kind in self._reward_kinds():
            if kind in IMAGE_REWARDS and self.data.dataset in POINT_SETS:
                raise ValueError(f"{name} '{kind}' is for images; for points use 'ball' or your own 'module:function'")
            if kind == "ball" and self.data.dataset not in POINT_SETS:
                raise ValueError(f"{name} 'ball' is for points; for images use class_prob, confidence or your own")
        return self

    def _reward_kinds(self) -> list[tuple[str, str]]:
        """The kinds of all rewards that are used, by the setting that names them."""
        adversary = [("adversary.kind", self.adversary.kind)] if self.curation.adversarial else []
        types = [(f"population '{type_.name}': kind", type_.kind) for type_ in self.population]
        return [("reward.kind", self.reward.kind), *adversary, *types]

    @property
    def policy(self) -> DataPolicy:
        """The data policy of [mix]."""
        return DataPolicy(self.mix.policy, self.mix.lam)

    @property
    def pretraining(self) -> str:
        """All that generation 0 and the classifier follow from, as text: where it is equal, so are their weights."""
        train = {key: value for key, value in self.train if not key.startswith("finetune_")}
        parts = self.model_dump(include={"seed", "data", "network", "sampling", "classifier", "judge"})
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
                _add(document, name, value, field.description)
        for name in type(self).model_fields:
            table_model = getattr(self, name)
            if isinstance(table_model, BaseModel):
                table = tomlkit.table()
                for key, field in type(table_model).model_fields.items():
                    _add(table, key, getattr(table_model, key), field.description)
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
            raise ValueError(_unknown_key(path, source)) from None
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
            raise ValueError(_unknown_key(path, source))
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


def _unknown_key(path: Sequence[str], source: str) -> str:
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


def _plain_toml(value: Any) -> Any:
    if not isinstance(value, tuple):
        return value
    array = tomlkit.array()
    for entry in value:
        table = tomlkit.inline_table()
        if isinstance(entry, BaseModel):
            table.update({key: list(v) if isinstance(v, tuple) else v for key, v in entry.model_dump().items()})
        array.append(table if isinstance(entry, BaseModel) else entry)
    return array


def _add(table: Any, key: str, value: Any, description: str | None) -> None:
    item = tomlkit.item(_plain_toml(value))
    if description:
        item.comment(description)
    table.add(key, item)
