"""What a report says: report.json is this, as JSON. Its schema is documented in docs/report-schema.md, from here."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

VERSION = "curate-report/1"
Z95 = 1.959964

VerdictWord = Literal["holds", "fails", "can't tell", "not applicable"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Estimate(_Part):
    """A value with its standard error (0 where it is exact) and its 95 % interval."""

    value: float
    se: float = 0.0
    low: float
    high: float

    @classmethod
    def of(cls, value: float, se: float = 0.0) -> "Estimate":
        """An estimate with the interval of a normal error."""
        return cls(value=value, se=se, low=value - Z95 * se, high=value + Z95 * se)


class Figures(_Part):
    """Of one law of samples. `w = exp(r)`; class shares are in the order of `class_names`."""

    mean_w: Estimate
    var_w: Estimate
    mean_reward: Estimate
    class_shares: list[Estimate]


class Transmission(_Part):
    """How much of the predicted gain of E[w] a generation made, and where the rest went.

    `difference = measured - predicted = sampling + learning`: sampling is the training set's E[w] less the prediction
    (a finite number of picks), learning is the generation's less its training set's (the generator's own error).
    """

    predicted_gain: Estimate
    measured_gain: Estimate
    ratio: Estimate | None = Field(description="None where the predicted gain is under three standard errors")
    difference: Estimate
    z: float = Field(description="difference over its standard error")
    sampling: Estimate | None = Field(description="None where the training set's rewards weren't kept")
    learning: Estimate | None


class GenerationEvidence(_Part):
    """One generation."""

    t: int
    checkpoint_sha256: str
    picture_sha256: str | None
    n_evaluated: int
    n_real: int
    curated: dict[str, int] = Field(description="asked, and got by kind of rater; empty for generation 0")
    shares_asked: list[float] = Field(description="of the real data and each set in what was trained on")
    shares_achieved: list[float]
    measured: Figures
    predicted: Figures | None = Field(description="from the generation before, one step; None for generation 0")
    predicted_from_start: Figures | None = Field(description="from generation 0, t steps")
    divergence: dict[str, Any] = Field(description="space, kl, kl_reverse, tv: {value, se} each, from the real data")
    floors: dict[str, float] = Field(description="lower bounds on E[w] by claim")
    ceilings: dict[str, float] = Field(description="upper bounds on divergences by claim")
    transmission: Transmission | None


class ClaimVerdict(_Part):
    """One claim at one generation: `margin` is how far on the right side of the claim the measurement lies."""

    claim: str
    t: int
    statement: str
    source: Literal["theorem", "derived", "prediction"]
    verdict: VerdictWord
    reason: str = Field(description="why it isn't applicable, or what a failure is made of; may be empty")
    measured: Estimate | None = None
    bound: float | None = Field(default=None, description="floor, ceiling or predicted value")
    margin: Estimate | None = Field(default=None, description="with the interval that is corrected for all claims")
    z: float | None = None
    p: float | None = Field(default=None, description="of the claim being true, uncorrected")


class WinRate(_Part):
    """People's choices between two generations in audit slates; 0.5 is indifference."""

    t: int
    against: int
    n: int = Field(description="comparisons: a picked sample of one generation with an unpicked one of the other")
    raters: int
    rate: Estimate = Field(description="interval clustered by rater")


class CheckResult(_Part):
    """One self-check: whether the stored picks can have come from the declared rule."""

    name: str
    verdict: Literal["pass", "suspicious", "fail", "not applicable"]
    sentence: str
    n: int = 0
    p: float | None = None
    figures: dict[str, float] = {}
    t: int | None = Field(default=None, description="the generation whose slates it is about; None for the whole study")


class Evidence(_Part):
    """All that is known about one study's loop."""

    schema_version: str = VERSION
    study: str
    created_at: str
    preset: str
    seed: int
    config: dict[str, Any]
    policy: str
    k: int | Literal["inf"]
    lam: float | Literal["inf"]
    users: list[dict[str, Any]] = Field(description="types of simulated users: name, share")
    class_names: list[str]
    w_max: float = Field(description="largest exp(r) in any sample or real datum: the bounds' w*")
    comparisons: int = Field(description="verdicts that share the 5 % of error")
    real: Figures | None
    generations: list[GenerationEvidence]
    claims: list[ClaimVerdict]
    win_rates: list[WinRate]
    checks: list[CheckResult]
    summary: list[str]
    unmeasured: int = Field(
        default=0, description="published generations that aren't in here: an older version kept no samples of them"
    )
    software: dict[str, str] = Field(default={}, description="versions of what made the report, by name")
