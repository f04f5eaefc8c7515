"""The schema of a report: report.json is this, as JSON. docs/report-schema.md is written from here."""

import hashlib
import inspect
import json
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Field
from pydantic_core import PydanticUndefined

from data.measurements import CuratedCounts, Distances, Divergence, JudgeFigures, LanguageFigures, SparseRecord
from loop.analysis.groups import TasteGroups
from loop.analysis.taste import TasteLeaning
from loop.evidence.distribution import DistributionEvidence, VarianceSplit
from loop.evidence.intervals import Estimate, Part, TestVerdict
from loop.evidence.prediction import Figures, TypeEvidence
from loop.selfcheck.verdicts import CheckVerdict

VERSION = "curate-report/2"
VerdictWord = Literal["holds", "not refuted", "fails", "can't tell", "not applicable"]
IntervalKind = Literal["always valid", "always valid in large numbers", "fixed n"]
COMPARISON = "curate-comparison/1"


def side_of(estimate: Estimate, line: float) -> VerdictWord:
    """The side of a line on which the whole interval lies: above (holds), below (fails), or neither."""
    return "holds" if estimate.low > line else "fails" if estimate.high < line else "can't tell"


class Transmission(Part):
    """The share of the predicted gain of E[w] that a generation made, and the parts of the rest.

    `difference = measured - predicted = sampling + learning`: sampling is the training set's E[w] less the prediction
    (a finite number of picks), learning is the generation's less its training set's (the generator's own error).
    """

    predicted_gain: Estimate = Field(description="of E[w], by the exact operator from the generation before")
    measured_gain: Estimate = Field(description="of E[w]")
    ratio: Estimate | None = Field(
        description="measured over predicted gain, its interval by Fieller's method, which counts both errors; None "
        "where the predicted gain is under three standard errors"
    )
    difference: Estimate = Field(
        description="measured less predicted gain, with the error that finitely many picks add"
    )
    z: float = Field(description="difference over its standard error")
    sampling: Estimate | None = Field(description="None where the training set's rewards weren't stored")
    learning: Estimate | None = Field(description="generation's E[w] less its training set's")


class SecondOpinion(Part):
    """The view of a second classifier, by which nobody picked, on a generation.

    Where only the first one's figures rise, the loop has learned to please that classifier.
    """

    mean_reward: Estimate = Field(description="the study's reward with this classifier's probabilities")
    class_shares: list[float] = Field(description="by class")
    agreement: float = Field(description="share of samples that both classifiers put in the same class")

    @classmethod
    def of(cls, judge: JudgeFigures) -> "SecondOpinion":
        """The stored figures, with an interval."""
        mean_reward = Estimate.of(judge.mean_reward.value, judge.mean_reward.se)
        return cls(mean_reward=mean_reward, class_shares=list(judge.class_shares), agreement=judge.agreement)


class GenerationEvidence(Part):
    """The evidence on one generation: what was measured, what was predicted, and the bounds."""

    t: int = Field(description="0 is the first, before any pick")
    checkpoint_sha256: str = Field(description="of the generator's weights")
    picture_sha256: str | None = Field(description="of the stored sample grid or scatter plot")
    n_evaluated: int = Field(description="fresh samples that it was measured on")
    n_real: int = Field(description="real data in its training set")
    curated: CuratedCounts = Field(description="the picks that trained it; empty for generation 0")
    shares_asked: list[float] = Field(
        description="of the real data and of each curated set in the training set, by the data policy"
    )
    shares_achieved: list[float] = Field(description="the same, of the rows that training in fact drew")
    measured: Figures = Field(description="on the fresh samples")
    predicted: Figures | None = Field(description="from the generation before, one step; None for generation 0")
    predicted_from_start: Figures | None = Field(description="from generation 0, t steps")
    divergence: Divergence = Field(description="from the real data; empty where none was measured")
    floors: dict[str, float] = Field(description="lower bounds on E[w] by claim")
    ceilings: dict[str, float] = Field(description="upper bounds on divergences by claim")
    transmission: Transmission | None = Field(description="None for generation 0, and where people picked")
    transmission_so_far: Transmission | None = Field(
        default=None, description="of all steps up to this generation together: gains and errors are their sums"
    )
    distances: Distances | None = Field(
        default=None, description="from the real images; None for points, and where an older version measured"
    )
    language: LanguageFigures | None = Field(default=None, description="of texts; None for all else")
    judge: SecondOpinion | None = Field(default=None, description="None where the study has no second classifier")


class ClaimVerdict(Part):
    """One claim at one generation: `margin` is how far on the right side of the claim the measurement lies."""

    claim: str = Field(description="its short name")
    t: int = Field(description="the generation; the last one for a claim on all together, 0 where it isn't applicable")
    statement: str = Field(description="what is claimed")
    source: Literal["theorem", "derived", "prediction"] = Field(
        description="theorem: of the paper; derived: from it, for this project; prediction: of the exact operator"
    )
    verdict: VerdictWord = Field(
        description="holds where the whole margin's interval is on the right side, fails where it is on the wrong one, "
        "not refuted where only a lower bound of what is claimed about was measured and it doesn't fail"
    )
    reason: str = Field(
        description="why it isn't applicable, why no verdict or only 'not refuted' is possible, or the parts of a "
        "failure; may be empty"
    )
    measured: Estimate | None = Field(default=None, description="what is claimed about")
    bound: float | None = Field(default=None, description="floor, ceiling or predicted value")
    paper_bound: float | None = Field(
        default=None, description="the bound as printed in the paper, where `bound` is a sharper or more general one"
    )
    margin: Estimate | None = Field(default=None, description="with the interval that is corrected for all verdicts")
    z: float | None = Field(default=None, description="margin over its standard error")
    p: float | None = Field(
        default=None,
        description="chance of so low a margin, or for predictions of so large a one, were the true one 0; uncorrected",
    )
    gain: float | None = Field(
        default=None,
        description="the predicted gain of E[w] that the claim is measured by: of one step, or from the start",
    )
    asked_share: float | None = Field(
        default=None,
        description="share of the predicted gain that the bound asks for: 'holds' means no more than that. This share "
        "and the next ones are None where the gain is under three standard errors of its own, or a bound's is a loss",
    )
    slack_used: float | None = Field(
        default=None,
        description="how far the measurement lies from the prediction toward the bound: 0 at the prediction, 1 at the "
        "bound; of a ceiling, the measured divergence over it",
    )
    visible: float | None = Field(
        default=None,
        description="the smallest true shortfall below the bound (of an equality: from the prediction) that gets "
        "'fails' in 80% of such studies",
    )
    visible_share: float | None = Field(
        default=None, description="the same counted from the prediction, as a share of the predicted gain"
    )
    n_needed: int | None = Field(
        default=None,
        description="samples to measure a generation on, with picks in proportion, at which a tenth of the predicted "
        "gain would be seen with 80% power, and E[w] rests on enough effective samples",
    )


class ConditionGeneration(Part):
    """The evidence on one generation within one condition, which is a loop of its own."""

    t: int = Field(description="0 is the first, before any pick")
    n_evaluated: int = Field(description="fresh samples of this condition that it was measured on")
    picks: int = Field(description="picks from slates of this condition that trained it")
    measured: Figures = Field(description="on the fresh samples")
    predicted: Figures | None = Field(description="from the generation before, one step; None for generation 0")
    predicted_from_start: Figures | None = Field(description="from generation 0, t steps")
    transmission: Transmission | None = Field(description="None for generation 0, and where people picked")
    transmission_so_far: Transmission | None = Field(description="of all steps up to this generation together")


class ConditionEvidence(Part):
    """The evidence within one condition: a class or a prompt that all samples of a slate share."""

    name: str = Field(description="as raters read it")
    weight: float = Field(description="how often it is asked for; the weights add up to 1")
    generations: list[ConditionGeneration] = Field(description="in order of t")
    claims: list[ClaimVerdict] = Field(description="verdicts within the condition, corrected as all of the report's")


class PeoplesVerdict(Part):
    """A comparison of two generations by people: what was measured, with its intervals, and the verdict on it."""

    t: int = Field(description="the generation")
    against: int = Field(description="the generation it is compared with")
    n: int = Field(description="the choices that it rests on")
    raters: int = Field(description="people who made these choices and have finished")
    other: Estimate | None = Field(
        default=None,
        description="with the plain 95% interval of the other kind, to compare widths",
    )
    corrected: Estimate | None = Field(
        default=None,
        description="with the interval of the verdict, which shares its error with all other verdicts",
    )
    level: float = Field(default=0.05, description="error level of the corrected interval")
    interval_kind: IntervalKind = Field(
        default="always valid",
        description="of both intervals. always valid: right at every look, after however many raters; always valid in "
        "large numbers: the same, as raters grow many; fixed n: right once, after as many raters as were set before "
        "the first pick",
    )
    verdict: VerdictWord = Field(
        default="can't tell",
        description="holds where the corrected interval lies above the line at which neither is preferred, fails where "
        "it lies below: 1/2 of a win rate, 0 of a gain",
    )
    reason: str = Field(default="", description="why there is no verdict; may be empty")


class WinRate(PeoplesVerdict):
    """People's choices between two generations in audit slates, by raters who have finished.

    The rate is the mean over raters of each one's share of comparisons that the generation won. In slates of two, 0.5
    is indifference; in larger ones it isn't, because a generation of more different samples wins more of them.
    """

    n: int = Field(description="comparisons: a picked sample of one generation with an unpicked one of the other")
    under_way: int = Field(default=0, description="people who compare them at present, and don't count yet")
    slate_sizes: list[int] = Field(
        default=[2], description="samples in the slates that count: pairs alone, where there are any"
    )
    estimand: str = Field(default="", description="what the rate is, in words")
    indifference: float | None = Field(
        default=0.5, description="the rate at which neither is preferred; None in slates of more than two"
    )
    rate: Estimate = Field(description="with its plain 95% interval")


class Ranked(Part):
    """One generation in the ranking of an audit of several studies, by people's win rates of it against the others."""

    t: int = Field(description="the generation")
    mean_rate: float | None = Field(
        description="mean of its win rates against the others; None before it was compared with each of them"
    )
    preferred_to: list[int] = Field(description="generations that it is preferred to, by a verdict")
    less_than: list[int] = Field(description="generations that are preferred to it, by a verdict")
    best: VerdictWord = Field(
        description="holds where it is preferred to all others, fails where any other is preferred to it"
    )


class UtilityGain(PeoplesVerdict):
    """By how much a generation's samples are more to people's liking than another's.

    Luce utilities of classes are fitted to people's picks that did not train the generation; the gain is the difference
    of their means over the samples that both generations were measured on. What else people see is not in it.
    """

    n: int = Field(description="picks: in audit slates, and for curation from samples of generation t or later")
    gain: Estimate | None = Field(
        default=None, description="of the mean utility, with its plain 95% interval; None where it can't be known"
    )
    interval_kind: IntervalKind = Field(
        default="always valid in large numbers",
        description="of both intervals: always valid in large numbers, or fixed n",
    )


class TasteEvidence(Part):
    """The taste behind raters' latest picks (`loop.analysis.taste`): of all together, or of one alone."""

    rater: int | None = Field(description="the rater's number in the study; None for all together")
    kind: str = Field(description="of raters: human, or sim where no person picked")
    picks: int = Field(description="that it rests on, the latest ones")
    raters: int = Field(description="who made them")
    by_rater: bool = Field(
        description="intervals are clustered by rater, and there are none of fewer than ten; else they are the "
        "posterior's under a normal prior, and speak of that rater alone"
    )
    of_classes: bool = Field(description="leanings are toward classes, by the classifier's probabilities")
    leanings: list[TasteLeaning] = Field(description="the clearest first; empty where too little is known")
    predicted: int = Field(description="picks that were predicted: from those before, or from other raters'")
    hits: int = Field(description="of these, predicted rightly")
    chance: float = Field(description="hits expected of guesses at random")

    @property
    def clear(self) -> list[TasteLeaning]:
        """The leanings whose intervals exclude 0."""
        return [leaning for leaning in self.leanings if leaning.low > 0]


class CheckResult(Part):
    """One self-check: whether the stored picks can have come from the declared rule."""

    name: str = Field(description="of the check")
    verdict: CheckVerdict = Field(
        description="fail: an honest study would get it once in a million; suspicious: once in a thousand"
    )
    sentence: str = Field(description="the comparison, its outcome, and its meaning")
    n: int = Field(default=0, description="picks, slates or samples that it rests on")
    p: float | None = Field(default=None, description="before correction; None where nothing is left to chance")
    figures: dict[str, float] = Field(default={}, description="statistics and effect sizes by name")
    t: int | None = Field(default=None, description="the generation whose slates it is about; None for the whole study")


class Deviation(Part):
    """Theorem 3 of Seddik et al. 2024 (arXiv 2404.05090) against an n-gram control, and a derived bound beside it."""

    real: int = Field(description="N: draws after each context that stand for real data")
    synthetic: int = Field(description="n: draws after each context from the latest law")
    vocabulary: int = Field(description="s: tokens")
    bound: float | Literal["inf"] | None = Field(description="the theorem's; None where its condition isn't met")
    verdict: Literal["holds", "fails", "can't tell", "vacuous", "condition not met"] = Field(
        description="vacuous: the bound is over 2, which no L1 distance exceeds"
    )
    measured: Estimate = Field(description="mean L1 distance of next-token laws from generation 0's")
    derived: float = Field(description="this project's bound, for any n")
    derived_verdict: Literal["holds", "fails", "can't tell", "vacuous", "condition not met"] = Field(
        description="on it"
    )
    sentence: str = Field(description="all of it in words")


class RetrainingClaim(Part):
    """A claim on retraining without choice, over the seeds of studies that differ in data policy and seed alone."""

    claim: str = Field(description="its short name")
    policy: str = Field(description="the data policy that it is about, in words")
    error: str = Field(description="the error of a generation that is measured")
    seeds: int = Field(description="that the verdict rests on")
    statement: str = Field(description="what is claimed")
    source: str = Field(description="who claims it")
    verdict: VerdictWord = Field(description="holds where the whole interval of the margin is above 0, fails below it")
    reason: str = Field(default="", description="why there is no verdict; may be empty")
    margin: Estimate | None = Field(
        default=None,
        description="a generation's change of the error, on the right side of the claim: mean over seeds, with the "
        "interval of the verdict, which shares 5% of error with the others of the same studies",
    )


class ProxyCalibration(Part):
    """A fit of the proxy, held against people's picks that came after it."""

    t: int = Field(description="the generation that the fit helped to train")
    n: int = Field(description="later picks, up to the next fit")
    raters: int = Field(description="who made them")
    log_likelihood: Estimate = Field(description="mean log-probability of these, clustered by rater")
    gain: Estimate = Field(description="the same over chance's; above 0 where the fit predicts better than guesses")
    chance: float = Field(description="-log K, in the mean")
    own_picks: float | None = Field(description="mean log-probability of the picks that it was fitted to")


class ReliabilityBin(Part):
    """Samples to which the proxy gave about the same probability: one point of the reliability diagram."""

    predicted: float = Field(description="mean probability by the proxy that the sample is picked")
    observed: Estimate = Field(description="share of them that were picked, clustered by rater")
    n: int = Field(description="samples")


class ProxyAudit(Part):
    """A generation against generation 0 in audit pairs that people answered after a fit."""

    t: int = Field(description="the generation")
    n: int = Field(description="pairs")
    raters: int = Field(description="who answered them")
    proxy: Estimate = Field(description="share that the latest fit before each answer expects it to win")
    people: Estimate = Field(description="share that it won, a mean over raters")
    judge: Estimate | None = Field(
        default=None, description="share by the judge: of its mean reward's gain, as log-odds; None without a judge"
    )
    gap: Estimate = Field(description="people's choices less the proxy's expectation, pair by pair")
    beyond: Estimate | None = Field(
        default=None,
        description="utility of the generation beyond its score, where the score counts as much as it does within "
        "slates; None where it isn't determined",
    )
    p: float | None = Field(
        default=None,
        description="one-sided, of so low a utility beyond the score, less a tenth of the promised gain, by chance",
    )


class ProxyGain(Part):
    """The gain of the proxy's own reward, r^, from one generation to the next: it is known exactly."""

    t: int = Field(description="the generation")
    predicted: Estimate = Field(description="gain of E[exp r^] by the exact operator, as if the proxy made all picks")
    measured: Estimate = Field(description="gain of E[exp r^] on fresh samples, by the fit that trained it")
    ratio: Estimate | None = Field(
        description="measured over predicted: transmission for r^; None where the predicted gain is under three "
        "standard errors"
    )
    score: Estimate = Field(description="measured gain of E[r^]")


class ProxyEvidence(Part):
    """The fitted user (the proxy) held against people's later picks, and whether the loop exploits it."""

    calibrations: list[ProxyCalibration] = Field(description="by fit")
    reliability: list[ReliabilityBin] = Field(description="by predicted probability, of all later picks")
    slope: Estimate | None = Field(
        description="factor by which scores count in people's picks: 1 calibrated, less where it is too sure"
    )
    audits: list[ProxyAudit] = Field(description="by generation")
    gains: list[ProxyGain] = Field(default=[], description="of r^, by generation; an older version stored none")
    verdict: TestVerdict = Field(description="whether the loop exploits the proxy, by a test at 5%")
    since: int | None = Field(default=None, description="the first generation that is named")
    sentence: str = Field(description="the verdict in words")


DepartureKind = Literal["settings", "stopping rule", "exclusions", "analysis", "registration"]


class DriftEvidence(Part):
    """A test whether people's tastes moved toward what the generator has come to show."""

    of: Literal["raters", "picks"] = Field(description="later raters beside earlier ones, or each one's later picks")
    verdict: TestVerdict = Field(description="by a one-sided permutation test at 5%")
    p: float | None = Field(description="of so strong a move by chance; None without a test")
    slope: float | None = Field(
        description="utility for each generation, by a standard deviation within slates along what is new in "
        "generation 1"
    )
    picks: int = Field(description="that it rests on: those under generation 1 and later ones")
    raters: int = Field(description="who made them")
    reason: str = Field(default="", description="why there is no verdict")


class TasteStep(Part):
    """The taste of a simulated user who follows what is shown, and what has become of the item that it liked most."""

    t: int = Field(description="the generation from which is picked by this taste")
    taste: list[float] = Field(description="its direction, of length 1")
    turned: float = Field(description="degrees from the first one")
    share: float | None = Field(default=None, description="of samples that are the item; None where there are no items")
    rate: Estimate | None = Field(
        default=None, description="odds of all others against the item over those of the generation before"
    )
    predicted: float | None = Field(default=None, description="of the rate, by the exact operator with that taste")


class Coevolution(Part):
    """A loop whose simulated user comes to like what is shown, and how fast it locks in on an item (2610.09415)."""

    beta: float = Field(description="share of the taste that follows, `curation.drift`")
    steps: list[TasteStep] = Field(description="by generation")
    item: str = Field(
        default="", description="that is liked most at first; empty where there are no items, as here ..."
    )
    margin: float | None = Field(default=None, description="... by so much, before the scale of the reward")
    rate: Estimate | None = Field(default=None, description="geometric mean of the rates")
    predicted: float | None = Field(default=None, description="of the same")
    bound: float | None = Field(default=None, description="of every rate, lambda_K at half the margin")
    verdict: VerdictWord = Field(description="whether the others' odds fall as fast as the bound says")
    sentence: str = Field(description="the verdict in words")


class StoppingRule(Part):
    """The end of a study, as it was registered; None where a number was left open."""

    raters: int | None = Field(default=None, description="people who finish (`stop.raters`)")
    picks_per_rater: int | None = Field(default=None, description="slates that each of them answers (`journey.picks`)")
    generations: int | None = Field(default=None, description="the last generation of people's picks")
    picks: int | None = Field(default=None, description="picks in all, of people or else of simulated users")
    simulated_generations: int = Field(description="the last generation where simulated users alone pick")


class Registration(Part):
    """A pre-registration: set before the first pick, and never changed."""

    registered_at: str = Field(description="UTC")
    hypotheses: list[str] = Field(description="in words")
    stopping_rule: StoppingRule = Field(description="when the study ends")
    exclusions: dict[str, Any] = Field(description="the [quality] settings: flags, and which keep picks out")
    analysis: str = Field(description="the analysis in words")
    analysis_sha256: str = Field(description="of its code")
    software: str = Field(description="the version of curate")
    settings: dict[str, Any] = Field(description="all others, as in study.toml, but for those of pages and panels")
    power: dict[str, Any] = Field(default={}, description="of the plan: effect, power, raters, picks of each")

    @property
    def sha256(self) -> str:
        """The hash of all of it, to be deposited elsewhere."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


class Departure(Part):
    """A departure of the study, or of its report, from what was registered."""

    kind: DepartureKind = Field(description="from which part of the registration")
    sentence: str = Field(description="what differs, and what was registered")
    unreached: bool = Field(default=False, description="a number of the stopping rule that a study is still short of")


class RegistrationEvidence(Part):
    """A study's pre-registration and every departure from it."""

    registered_at: str = Field(description="UTC, before the first pick")
    sha256: str = Field(description="of all that was registered; the same as in registration.json")
    hypotheses: list[str] = Field(description="in words")
    stopping_rule: StoppingRule = Field(description="when the study ends")
    stopping_words: str = Field(description="the same in words")
    exclusions: dict[str, Any] = Field(description="the registered [quality] settings")
    exclusion_words: str = Field(description="which answers they keep out, in words")
    analysis: str = Field(description="the registered analysis in words")
    analysis_sha256: str = Field(description="of its code")
    software: str = Field(description="the version of curate that registered it")
    power: dict[str, Any] = Field(default={}, description="of the plan, where it was registered with one")
    departures: list[Departure] = Field(description="empty where there are none")


class Evidence(Part):
    """The evidence on one study's loop, as a report holds it."""

    schema_version: str = Field(
        default=VERSION,
        description="changes when the meaning of a field does; new fields with defaults may come without",
    )
    study: str = Field(description="its folder's name")
    created_at: str = Field(description="of the report, UTC")
    preset: str = Field(description="that the study was made from; may be empty")
    seed: int = Field(description="of everything random in the study")
    config: dict[str, Any] = Field(description="all settings, as in study.toml")
    policy: str = Field(description="what trains a generation, in words")
    k: int | Literal["inf"] = Field(description="samples in a slate")
    lam: float | Literal["inf"] = Field(description="curated : real in the training mix")
    users: list[dict[str, Any]] = Field(description="types of simulated users: name, share")
    class_names: list[str] = Field(description="classes, or modes of points")
    w_sup: float | Literal["inf"] = Field(
        description="supremum of exp(r) that the reward declares, the bounds' w*; inf where it declares none"
    )
    comparisons: int = Field(
        description="verdicts that share the 5% of error: on claims, on people's choices and on fitted utilities"
    )
    real: Figures | None = Field(description="the real data's own figures; None where they weren't stored")
    real_language: LanguageFigures | None = Field(
        default=None,
        description="the variety of as much real text; None where the data are no texts",
    )
    generations: list[GenerationEvidence] = Field(description="in order of t")
    claims: list[ClaimVerdict] = Field(description="by claim, then t")
    conditions: list[ConditionEvidence] = Field(
        default=[],
        description="the same within each condition; empty in a study without. Figures of the whole study are then the "
        "means over conditions by weight, Var[w] too: the mean of those within conditions",
    )
    win_rates: list[WinRate] = Field(description="of people; empty where nobody compared generations")
    utility_gains: list[UtilityGain] = Field(
        default=[], description="by people's fitted utilities; empty where nobody picked, and on the researcher's page"
    )
    tastes: list[TasteEvidence] = Field(
        default=[], description="of all raters together, and of those with the most picks; in a written report alone"
    )
    theorem_3: Deviation | None = Field(default=None, description="of an n-gram control that mixes; None for all else")
    checks: list[CheckResult] = Field(description="of the stored picks and slates")
    summary: list[str] = Field(
        description="sentences: the change of the reward, the transmission, then one for each claim"
    )
    replay_of: str = Field(default="", description="of a replay: the study whose log trained its generations")
    market: str = Field(
        default="", description="of a study in a market: whose picks train it, too, and by which share, in words"
    )
    sources: list[str] = Field(
        default=[],
        description="of an audit of several studies: which study and generation stands for generation 0, 1, ...",
    )
    ranking: list[Ranked] = Field(default=[], description="of an audit: its generations, the most preferred first")
    own_picks: bool = Field(
        default=True,
        description="whether every generation was trained on picks from samples of the one before; not so in a replay "
        "with other settings, and then what assumes it isn't claimed",
    )
    registration: RegistrationEvidence | None = Field(
        default=None, description="the pre-registration; None for a study that was begun without one"
    )
    drift: list[DriftEvidence] = Field(
        default=[], description="whether people's tastes moved; in a written report of a study with people alone"
    )
    coevolution: Coevolution | None = Field(
        default=None, description="of a simulated user whose taste follows what is shown; in a written report alone"
    )
    taste_groups: TasteGroups | None = Field(
        default=None, description="groups of people by taste; None without people's picks, and beside other studies"
    )
    user_types: list[TypeEvidence] = Field(
        default=[], description="each type of simulated users by its own reward, where there are several"
    )
    proxy: ProxyEvidence | None = Field(
        default=None, description="the fitted user against people's later picks; in a written report alone"
    )
    distribution: DistributionEvidence | None = Field(
        default=None,
        description="more than the mean of w; None where nothing is predicted, under conditions, and on the "
        "researcher's page",
    )
    imported: bool = Field(
        default=False, description="whether generation 1 was trained on an imported log, of unknown samples"
    )
    unmeasured: int = Field(
        default=0, description="published generations that aren't in here: an older version stored no samples of them"
    )
    software: dict[str, str] = Field(default={}, description="versions of what made the report, by name")


PATH = Path(__file__).parents[2] / "docs" / "report-schema.md"
HEAD = f"""# report.json

`curate report STUDY` writes one JSON object, the **Evidence** below, of schema `{VERSION}`. `curate report A B`
writes `{{"schema_version": "{COMPARISON}", "studies": [Evidence, ...],
"retraining": [RetrainingClaim, ...], "variance": [VarianceSplit, ...]}}`. In Python,
`loop.evidence.schema.Evidence.model_validate_json(text)` reads it, and
`Evidence.model_json_schema()` is the same as a JSON Schema. Infinity is written `"inf"`; what isn't known is `null`.

Rewards are `r`, and `w = exp(r)`. `E[w]` and `Var[w]` are over a generation's samples. Intervals are plain 95% ones,
except those of margins and of what is called corrected: all verdicts of a report share 5% of error (Bonferroni), as
[decision 9](decisions/0009-verdicts-from-people.md) says.

This file is written from `loop/evidence/schema.py` by `python -m loop.evidence.schema`.
"""


def document() -> str:
    """The text of docs/report-schema.md."""
    return "\n".join([HEAD, *map(section, models())])


def models() -> list[type[BaseModel]]:
    """Evidence and its parts, in the order in which they are met."""
    ordered: list[type[BaseModel]] = []
    waiting: list[type[BaseModel]] = [Evidence, RetrainingClaim, VarianceSplit]
    while waiting:
        model = waiting.pop(0)
        if model not in ordered:
            ordered.append(model)
            waiting += [part for field in model.model_fields.values() for part in models_in(field.annotation)]
    return ordered


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that a type is made of: those of `list[A] | B | None` are A and B."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in models_in(argument)]


def section(model: type[BaseModel]) -> str:
    """A model's part of the document: its docstring and a table of its fields."""
    about, rows = inspect.getdoc(model), []
    if issubclass(model, SparseRecord):
        about = f"{about}\n\nA field that wasn't measured is left out."
    for name, field in model.model_fields.items():
        default = "" if field.default is PydanticUndefined else f" Default: `{json.dumps(field.default)}`."
        cells = (f"`{name}`", f"`{json_type(field.annotation)}`", f"{field.description or ''}.{default}")
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    table = "\n".join(rows)
    return f"## {model.__name__}\n\n{about}\n\n| field | type | |\n|---|---|---|\n{table}\n"


def json_type(annotation: Any) -> str:
    """A type as a reader of JSON would write it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return json_type(arguments[0])
    if origin in (Union, UnionType):
        return " | ".join(map(json_type, arguments))
    if origin is Literal:
        return " | ".join(json.dumps(value) for value in arguments)
    if origin in (list, dict):
        return f"{origin.__name__}[{', '.join(map(json_type, arguments))}]"
    return {NoneType: "null", Any: "any"}.get(annotation) or annotation.__name__


if __name__ == "__main__":
    PATH.write_text(document(), encoding="utf-8")
