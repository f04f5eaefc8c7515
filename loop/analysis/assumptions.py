"""Tests of what Luce's rule assumes: no favoured position, independence of irrelevant alternatives, consistency.

Each gives an `AssumptionTest`. Its p-value is the probability of a statistic as extreme or more in a study whose picks
follow the assumption; its verdict is 'found' where that is under 5%.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import stdtr

from loop.analysis.design import NotIdentifiedError, class_name, estimable
from loop.analysis.log import Repeats, Slates
from loop.analysis.logit import Fit, fit, wald
from loop.evidence.people import clustered_share
from loop.evidence.schema import TestVerdict

LEVEL = 0.05  # share of studies without an effect in which a test finds one
DETECTABLE = 2.8  # standard errors from zero of an effect that is found in 80% of studies: 1.96 + 0.84
POSITION = "position bias"
CONTEXT = "dependence on the slate (IIA)"
WORDS = {
    "similar": "utility lost or gained for each other sample of its class in the slate",
    "context": "relative change of all utilities where the other samples are one standard deviation better",
    "size": "relative change of all utilities with each doubling of K",
}
RETEST = "consistency on repeated slates"
LEAST_REPEATS = 10


@dataclass(frozen=True, slots=True)
class Effect:
    """An effect size with its 95% interval.

    Attributes:
        name: of the quantity, with its unit.
        value: the estimate.
        low: lower end.
        high: upper end.
        detectable: the size that is found in 80% of studies like this one; None where that isn't known.
    """

    name: str
    value: float
    low: float
    high: float
    detectable: float | None = None


@dataclass(frozen=True, slots=True)
class AssumptionTest:
    """The outcome of one test.

    Attributes:
        name: of the departure that was looked for.
        verdict: 'found' where p is under `LEVEL`, "can't tell" where the test can't be made or has too little power.
        n: picks (or repeats) it rests on.
        p: probability of a statistic as extreme or more if there is no such departure; None without a test.
        effects: the main one first.
        sentence: the outcome in words.
        figures: more numbers by name; plain values and lists.
    """

    name: str
    verdict: TestVerdict
    n: int
    p: float | None
    effects: tuple[Effect, ...]
    sentence: str
    figures: Mapping[str, Any] = field(default_factory=dict)


def verdict_of(p: float) -> TestVerdict:
    """The verdict on a p-value."""
    return "found" if p < LEVEL else "not found"


def undecided(name: str, n: int, reason: str) -> AssumptionTest:
    """A test that can't be made, with the reason as a sentence."""
    return AssumptionTest(name, "can't tell", n, None, (), reason)


def in_brackets(p: float) -> str:
    """A p-value as it stands in a sentence."""
    return "(p < 0.0001)" if p < 1e-4 else f"(p = {p:.2g})"


def position_bias(slates: Slates, x: np.ndarray, names: Sequence[str] = (), ridge: float = 0.0) -> AssumptionTest:
    """Tests that all positions have the same utility, beside the utilities of the samples.

    A Wald test that the coefficients of K - 1 columns, one for each position but the first, are all 0 (see
    `logit.wald`). Samples stand in random order, so a position's effect can't come from what a fit leaves out; where
    the columns of the samples don't allow a fit, the test is made without them.

    Args:
        slates: n of them.
        x: (rows, d) columns about samples, none about positions.
        names: of the columns, for messages.
        ridge: on the samples' columns; the positions' are left alone.
    """
    k = int(slates.sizes.max(initial=0))
    columns = (slates.positions[:, None] == np.arange(1, k)).astype(float)
    positions = [f"position {j + 1}" for j in range(1, k)]
    names = [*positions, *(names or [f"column {j + 1}" for j in range(x.shape[1])])]
    try:
        try:
            fitted = fit(slates, np.hstack([columns, x]), names, ridge, free=len(positions))
        except NotIdentifiedError:
            fitted = fit(slates, columns, positions, ridge, free=len(positions))
        test = wald(fitted, np.eye(len(fitted.coefficients))[: k - 1])
    except NotIdentifiedError as error:
        return undecided(POSITION, len(slates), str(error))
    contrasts = np.eye(k)[:, 1:] - 1 / k  # each position beside the mean of all; the first has utility 0
    effects = contrasts @ fitted.coefficients[: k - 1]
    se = fitted.se_of(np.pad(contrasts, ((0, 0), (0, len(fitted.coefficients) - k + 1))))
    intervals = effects[:, None] + fitted.quantile * se[:, None] * np.array([-1, 1])
    strongest = int(np.abs(effects).argmax())
    value, (low, high) = float(effects[strongest]), intervals[strongest].tolist()
    shares = np.exp(effects) / np.exp(effects).sum()
    name = f"utility of position {strongest + 1} beside the mean of all"
    return AssumptionTest(
        POSITION,
        verdict_of(test.p),
        len(slates),
        test.p,
        (Effect(name, value, low, high, detectable=float(DETECTABLE * se[strongest])),),
        f"Samples of equal utility would be picked at position {strongest + 1} in {shares[strongest]:.1%} of slates of "
        f"{k} (fair: {1 / k:.1%}); a utility of {value:+.2f} (95% {low:+.2f} to {high:+.2f}) {in_brackets(test.p)}.",
        {
            "statistic": test.statistic,
            "df": test.q,
            "shares": shares.tolist(),
            "effects": effects.tolist(),
            "intervals": intervals.tolist(),
        },
    )


@dataclass(frozen=True, slots=True)
class Context:
    """Columns about the other samples of a slate, and controls.

    Attributes:
        names: of the added columns, keys of `WORDS`.
        added: (rows, a) that are tested.
        control_names: of the controls.
        controls: (rows, c) that keep a curved utility or a rare class from looking like an effect of context.
    """

    names: list[str]
    added: np.ndarray
    control_names: list[str]
    controls: np.ndarray


def context_columns(
    slates: Slates, utilities: np.ndarray, labels: np.ndarray | None, class_names: Sequence[str]
) -> Context:
    """The context of each sample.

    With u the centred utilities and v = u / sd(u): 'context' is u times the mean v of the slate's other samples, 'size'
    (where K varies) u times log2 K, and 'similar' (with labels) the number of others of its class.

    Args:
        slates: n of them.
        utilities: (rows,) fitted.
        labels: (rows,) classes; None where there are none.
        class_names: by label, for messages.

    Source: the diagnostic columns of McFadden, Train and Tye 1977, "An application of diagnostic tests for the
    independence from irrelevant alternatives property".
    """
    u = utilities - utilities.mean()
    v = u / (u.std() or 1.0)
    others = (slates.per_sample(slates.total(v)) - v) / slates.per_sample(slates.sizes - 1)
    names, added = ["context"], [u * others]
    control_names, controls = ["the square of the utility"], [v**2]
    if len(np.unique(slates.sizes)) > 1:
        names.append("size")
        added.append(u * slates.per_sample(np.log2(slates.sizes)))
    if labels is not None:
        classes = np.unique(labels)
        marks = (labels[:, None] == classes).astype(float)
        names.append("similar")
        added.append((marks * slates.per_sample(slates.total(marks))).sum(axis=1) - 1)
        control_names += [f"class {class_name(int(label), class_names)}" for label in classes]
        controls += list(marks.T)
    return Context(names, np.stack(added, axis=1), control_names, np.stack(controls, axis=1))


def fit_with_context(slates: Slates, x: np.ndarray, fitted: Fit, context: Context) -> tuple[Fit, list[str]]:
    """The fit with columns of context, which stand first in it, and the names of those that can be estimated.

    A column of context that follows from the samples' own and the controls is left out.
    """
    base = np.hstack([x, context.controls])
    names = [*fitted.names, *context.control_names, *context.names]
    columns = np.hstack([base, context.added])
    estimated, _ = estimable(slates.centred(columns), names)
    added = [j for j in estimated if j >= base.shape[1]]
    order = [*added, *(j for j in estimated if j < base.shape[1])]
    full = fit(slates, columns[:, order], [names[j] for j in order], fitted.ridge, free=len(added))
    return full, [names[j] for j in added]


def slate_dependence(
    slates: Slates, x: np.ndarray, fitted: Fit, labels: np.ndarray | None, class_names: Sequence[str] = ()
) -> AssumptionTest:
    """Tests that the odds of two samples don't depend on the others of the slate (independence of irrelevant ones).

    A Wald test that the coefficients of the `context_columns` are all 0.

    Args:
        slates: n of them.
        x: (rows, d) the columns of the fit.
        fitted: Luce's rule fitted to them; its ridge applies to all columns but those of context.
        labels: (rows,) classes, by which samples are alike; None where there are none.
        class_names: by label, for messages.
    """
    try:
        context = context_columns(slates, x @ fitted.coefficients, labels, class_names)
        full, names = fit_with_context(slates, x, fitted, context)
        if not names:
            reason = "What else stands in a slate follows from the sample itself; this test needs K = 3 or more."
            return undecided(CONTEXT, len(slates), reason)
        test = wald(full, np.eye(len(full.coefficients))[: len(names)])
    except NotIdentifiedError as error:
        return undecided(CONTEXT, len(slates), str(error))
    effects = [
        Effect(WORDS[name], float(value), float(low), float(high), detectable=float(DETECTABLE * se))
        for name, value, (low, high), se in zip(names, full.coefficients, full.intervals(), full.se, strict=False)
    ]
    effects.sort(key=lambda effect: -abs(effect.value) / (effect.detectable or 1))
    strongest, verdict = effects[0], verdict_of(test.p)
    outcome = "The odds of two samples depend on the others" if verdict == "found" else "Luce's rule isn't contradicted"
    return AssumptionTest(
        CONTEXT,
        verdict,
        len(slates),
        test.p,
        tuple(effects),
        f"{outcome} {in_brackets(test.p)}; {strongest.name}: {strongest.value:+.2f} (95% {strongest.low:+.2f} to "
        f"{strongest.high:+.2f}; {strongest.detectable:.2f} would be found in 80% of studies).",
        {"statistic": test.statistic, "df": test.q},
    )


def consistency(slates: Slates, utilities: np.ndarray, repeats: Repeats) -> AssumptionTest:
    """Tests that slates shown again are answered alike no more often than by picks at random.

    The statistic is the mean over raters of each one's share of repeats answered alike, less chance (the mean of
    1 / K), in standard errors; the one-sided p-value is Student's with raters - 1 degrees of freedom. Luce's rule with
    the fitted utilities expects the mean of `sum_j p_j^2`: more than that means tastes that the features leave out.

    Repeats of a tie don't count, nor do worst picks.

    Args:
        slates: n of them.
        utilities: (rows,) fitted.
        repeats: of some of them.
    """
    if slates.tied is not None:
        decided = ~slates.tied[repeats.first]
        repeats = Repeats(repeats.first[decided], repeats.again[decided])
    m = len(repeats.first)
    if m < LEAST_REPEATS:
        return undecided(RETEST, m, f"{m} repeated slates were answered; this needs {LEAST_REPEATS} or more.")
    same = slates.picked[repeats.first] == repeats.again
    p = np.exp(slates.log_probabilities(utilities))
    expected = float(slates.total(p**2)[repeats.first].mean())
    chance = float((1 / slates.sizes[repeats.first]).mean())
    _, cluster = np.unique(slates.raters[repeats.first], return_inverse=True)
    raters = int(cluster.max()) + 1
    if raters == 1:
        cluster, raters = np.arange(m), m  # one rater's repeats speak of that rater
    share = clustered_share(np.bincount(cluster, same, raters), np.bincount(cluster, minlength=raters).astype(float))
    p_value = float(stdtr(raters - 1, -(share.value - chance) / share.se))
    return AssumptionTest(
        RETEST,
        verdict_of(p_value),
        m,
        p_value,
        (Effect("share of repeats answered alike", share.value, share.low, share.high),),
        f"Of {m:,} repeats raters answered {share.value:.1%} alike on average (95% {share.low:.1%} to "
        f"{share.high:.1%}); chance gives {chance:.1%} {in_brackets(p_value)}, Luce's rule with the fitted utilities "
        f"{expected:.1%}.",
        {"chance": chance, "expected": expected, "raters": raters},
    )
