"""The measurements of a generation: its samples beside the real data, its training set, its training.

A generation is stored with them as JSON (`generation.metrics_json`); the fields' names are the keys there. They are
validated whenever they are built or read back. Studies of other versions open all the same: a field that they lack has
its default, and a key that this version doesn't know is passed over.
"""

import json
import math
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

Count = Annotated[int, Field(ge=0)]
Interval = tuple[float, float]


class Record(BaseModel):
    """Named values that are written together, as an object of JSON."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="constants")

    def as_json(self) -> dict[str, Any]:
        """Plain values by name."""
        return self.model_dump(mode="json")


class SparseRecord(Record):
    """A record of which only the fields that were given are written, so that a missing one stays missing."""

    @model_serializer(mode="wrap")
    def given_fields(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The values of the fields that were given."""
        return {name: value for name, value in handler(self).items() if name in self.model_fields_set}


class Mean(Record):
    """An estimate with its standard error."""

    value: float = Field(description="the estimate")
    se: float = Field(default=0.0, description="its standard error; 0 where it is exact")


class TotalVariation(SparseRecord):
    """An estimate of a total variation from a known law (see `loop.divergence.total_variation`)."""

    value: float = Field(description="the estimate, no larger than the truth in expectation")
    se: float = Field(description="its standard error")
    low: float | None = Field(
        default=None,
        description="lower end of the 95% interval; None in older studies, whose values are too large",
    )
    high: float | None = Field(default=None, description="upper end; None likewise")


class DensityDivergence(Record):
    """Kullback-Leibler divergences as means of log-ratios of exact densities, for flows of points."""

    n: Count = Field(description="samples of the generation, and as many draws of the real law")
    kl: Mean = Field(description="KL(p_t || p_ref)")
    kl_reverse: Mean = Field(description="KL(p_ref || p_t)")
    failed: Count = Field(default=0, description="draws of the real law at which the density couldn't be found")
    ceiling: Mean | None = Field(
        default=None,
        description="of kl, from any p_0; None for generation 0, K = inf, and what isn't a mix with real data",
    )


class Divergence(SparseRecord):
    """Divergences from the real data, in nats: over cells, where they are lower bounds, and by exact densities."""

    space: str = Field(default="", description="what the cells are")
    cells: Count | None = Field(
        default=None, description="cells with real mass; missing where an older version measured"
    )
    empty: Count = Field(default=0, description="those of them without a sample")
    kl: Mean | None = Field(
        default=None, description="KL(p_t || p_ref) over cells; None where samples lie in a cell without real mass"
    )
    kl_reverse: Mean | None = Field(
        default=None, description="KL(p_ref || p_t) over cells; None where a cell is empty, since it is infinite there"
    )
    tv: TotalVariation | None = Field(default=None, description="total variation over cells")
    density: DensityDivergence | None = Field(default=None, description="None where the densities aren't both known")
    no_density: str = Field(default="", description="why there are none by densities")


class Distances(Record):
    """Distances of a generation's images from the real ones, by features: of `n` samples and `n_real` real images.

    Those of the same features and the same counts can be compared: a Fréchet distance falls as samples are added.
    """

    features: str = Field(description="whose they are, such as vgg11, the study's classifier")
    fd: float | None = Field(description="Fréchet distance; None where there are no more samples than features")
    kd: float | None = Field(description="kernel distance, unbiased: a little below 0 where the sets hardly differ")
    precision: float | None = Field(description="share of samples that lie among the real images")
    recall: float | None = Field(description="share of real images that lie among the samples")
    density: float | None = Field(description="how densely real images surround a sample; near 1 for real ones")
    coverage: float | None = Field(description="share of real images with a sample nearby")
    n: int = Field(description="samples")
    n_real: int = Field(description="real images")
    fd_interval: Interval | None = Field(
        default=None,
        description="95% over other samples as many, the real images as they are: of the expected distance at this n. "
        "All intervals are None where an older version measured",
    )
    kd_interval: Interval | None = Field(default=None, description="the same")
    precision_interval: Interval | None = Field(default=None, description="the same")
    recall_interval: Interval | None = Field(
        default=None, description="95% over other samples, or other real images; not both at once"
    )
    density_interval: Interval | None = Field(default=None, description="as fd_interval")
    coverage_interval: Interval | None = Field(default=None, description="as recall_interval")


class LanguageFigures(Record):
    """Figures of a generation that writes texts: its laws beside held-out text and earlier laws, and its variety.

    Those about laws are None where the generator gives none; variety is of `texts` texts, and that of as many can be
    compared.
    """

    tokens: str = Field(description="what a token is: a character, or a byte pair")
    vocabulary: Count | None = Field(
        default=None, description="tokens that laws are over; None where there are no laws"
    )
    texts: Count = Field(description="fresh texts that the variety is of")
    cross_entropy: Mean | None = Field(
        default=None,
        description="nats a token of held-out real text, given those before it in its window, so without its first; "
        "its standard error over windows; None where any has no mass",
    )
    no_mass: float | None = Field(default=None, description="share of these tokens that have no mass")
    l1_first: Mean | None = Field(
        default=None,
        description="mean L1 of the law of the next token from generation 0's, over contexts that it wrote",
    )
    l1_second: Mean | None = Field(default=None, description="the same from generation 1's; None for generation 0")
    distinct: tuple[float, ...] = Field(description="distinct n-grams of tokens over all of them, by `distinct_n`")
    distinct_n: tuple[int, ...] = Field(description="the lengths n")
    rare_share: Mean = Field(
        description="share of the tokens that are rare: those that are the rarest tenth of real text"
    )
    type_lengths: tuple[int, ...] = Field(description="numbers of words ...")
    types: tuple[int, ...] = Field(description="... and how many different ones are among so many")
    examples: tuple[str, ...] = Field(description="the first few texts")

    @property
    def perplexity(self) -> float | None:
        """The exponential of the cross-entropy."""
        return None if self.cross_entropy is None else math.exp(self.cross_entropy.value)


class JudgeFigures(Record):
    """The figures of a second classifier, the judge, by which nobody picks."""

    class_shares: tuple[float, ...] = Field(description="of samples, by the class that it sees in them")
    mean_reward: Mean = Field(description="the study's reward with its class probabilities")
    agreement: float = Field(description="share of samples that both classifiers put in the same class")


class CuratedCounts(SparseRecord):
    """The picks in a curated set, by the kind of rater who made them."""

    asked: Count = Field(default=0, description="picks that the mix calls for")
    human: Count = Field(default=0, description="picks by people")
    sim: Count = Field(default=0, description="picks by simulated users")
    proxy: Count = Field(default=0, description="picks by the proxy")

    @property
    def total(self) -> int:
        """Picks by raters of all kinds."""
        return self.human + self.sim + self.proxy

    def of_kind(self, kind: str) -> int:
        """Picks by raters of a kind: human, sim or proxy."""
        return {"human": self.human, "sim": self.sim, "proxy": self.proxy}[kind]


class TrainingFigures(Record):
    """The training set of a generation: the real data, then each curated set in it."""

    rows: tuple[int, ...] = Field(description="of each part")
    shares_asked: tuple[float, ...] = Field(description="of each part, as the data policy has them")
    shares_achieved: tuple[float, ...] = Field(description="of each part, in the rows that training in fact drew")
    mean_reward: float | None = Field(default=None, description="E[r] over the training set")
    mean_w: float = Field(description="E[w], w = exp(r), over the training set")


class ProxyFitGain(Record):
    """The gain of the proxy's reward r^ by the generation that the fit helped to train; each with its standard error.

    Each law is of `evaluation.samples` fresh samples, scored by this one fit.
    """

    predicted: Mean = Field(description="gain of E[exp r^] by the exact operator, as if the proxy made all picks")
    measured: Mean = Field(description="gain of E[exp r^]")
    ratio: tuple[float, float, float, float] | None = Field(
        default=None, description="measured over predicted: value, standard error, 95% interval; None for little gain"
    )
    score: Mean = Field(description="gain of E[r^]")


class ProxyFit(SparseRecord):
    """The fit of the proxy user to people's picks; nothing is given where there was no proxy."""

    sha256: str | None = Field(default=None, description="of the utilities: the name of the proxy's rater")
    picks: Count = Field(default=0, description="picks that they were fitted to")
    log_likelihood: float | None = Field(default=None, description="mean log-probability of these; chance is -log K")
    mean: tuple[float, ...] = Field(default=(), description="of each feature in the picks; older studies lack it ...")
    scale: tuple[float, ...] = Field(default=(), description="... and what it is divided by ...")
    coefficients: tuple[float, ...] = Field(default=(), description="... before it counts so much in the utility r^")
    gain: ProxyFitGain | None = Field(default=None, description="of r^ by the generation that it helped to train")


class Turn(Record):
    """The picks that train generation t, as they were settled before it was trained."""

    t: int = Field(description="the generation to come")
    after: int = Field(description="curation picks of people and simulated users with a higher id than this ...")
    cut: int = Field(description="... and at most this are its curated set, ...")
    asked: int = Field(description="curated samples that the mix calls for")
    n_proxy: int = Field(default=0, description="... with this many picks that the proxy makes of generation t - 1")
    fit: ProxyFit = Field(default=ProxyFit(), description="of the proxy")
    proxy_session: str | None = Field(default=None, description="under which the proxy picked")
    request: int = Field(
        default=0, description="id of the last 'retrain_requested' event that this turn answers; 0 for none"
    )
    excluded: dict[str, int] = Field(
        default={}, description="picks that the declared rule on flags keeps out of this turn, by flag"
    )


class Seconds(Record):
    """Wall-clock seconds."""

    train: float = Field(description="of training")
    evaluate: float = Field(description="of measuring")


class Measurements(SparseRecord):
    """The measurements of one generation, or of the real data in place of one.

    Of samples: on `evaluation.samples` fresh ones, always of the same seeds. What was never measured is None or empty:
    images alone have `judge` and `distances`, texts alone `language`, and what is about training is missing in
    generation 0.
    """

    n: Count | None = Field(default=None, description="fresh samples that were drawn")
    mean_reward: Mean | None = Field(default=None, description="E[r]")
    mean_w: Mean | None = Field(default=None, description="E[w], w = exp(r)")
    var_w: float | None = Field(default=None, description="Var[w]")
    class_shares: tuple[float, ...] = Field(default=(), description="of samples, by class or mode")
    class_names: tuple[str, ...] = Field(default=(), description="of classes or modes")
    conditions: tuple[str, ...] = Field(default=(), description="names of the study's conditions, by their numbers")
    condition_weights: tuple[float, ...] = Field(default=(), description="how often each is asked for; their sum is 1")
    condition_picks: tuple[int, ...] = Field(default=(), description="picks that trained it, by condition")
    tv_real: TotalVariation | float | None = Field(
        default=None, description="total variation of the class shares from the real data's; a number in older studies"
    )
    judge: JudgeFigures | None = Field(default=None, description="by the second classifier; None without one")
    divergence: Divergence = Field(default=Divergence(), description="from the real data")
    distances: Distances | None = Field(default=None, description="from the real images")
    language: LanguageFigures | None = Field(default=None, description="of texts; None for all else")
    nn_ratio: float | None = Field(
        default=None,
        description="median distance of samples to the nearest real datum over that between nearest real data: well "
        "under 1 they are copies",
    )
    nn_picks_ratio: float | None = Field(default=None, description="the same to the samples that it was trained on")
    grid_sha256: str | None = Field(default=None, description="of the sample grid or scatter plot")
    grid_columns: Count | None = Field(default=None, description="images in a row of the grid; None for a scatter plot")
    curated: CuratedCounts | None = Field(default=None, description="the picks that trained it")
    training: TrainingFigures | None = Field(default=None, description="what it was trained on")
    turn: Turn | None = Field(default=None, description="the picks that trained it, as settled; older studies lack it")
    proxy: ProxyFit = Field(default=ProxyFit(), description="the proxy that picked")
    taste: tuple[float, ...] = Field(
        default=(),
        description="direction by which simulated users pick from it, where their taste follows what is shown",
    )
    seconds: Seconds | None = Field(default=None, description="taken by the round")
    device: str = Field(default="", description="that it was trained and measured on, in words")
    processes: int = Field(default=1, description="processes that trained it together")

    @property
    def by_simulated_users(self) -> bool:
        """True if neither people nor the proxy made any of the picks that trained it."""
        return self.curated is None or not (self.curated.human or self.curated.proxy)

    @model_validator(mode="after")
    def shares_have_names(self) -> Self:
        """Checks that there are as many class shares as names.

        Raises:
            ValueError: there are more of the one than of the other.
        """
        shares, names = len(self.class_shares), len(self.class_names)
        if shares and names and shares != names:
            raise ValueError(f"there are {shares} class shares and {names} class names")
        return self

    def extended(self, **more: Any) -> Self:
        """The same measurements and more of them, validated."""
        return type(self)(**{name: getattr(self, name) for name in self.model_fields_set}, **more)


def read_measurements(text: str, t: int) -> Measurements:
    """The measurements of generation t from the JSON that they are stored as.

    Raises:
        ValueError: a value in it isn't what its field holds.
    """
    try:
        return Measurements.model_validate(json.loads(text))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"The measurements of generation {t} can't be read: {place}: {first['msg']}.") from None
