"""Tests of what Luce's rule assumes: no favoured position, independence of irrelevant alternatives, retest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from scipy.special import stdtr

from loop.analysis.design import NotIdentifiedError, class_name, estimable
from loop.analysis.log import Repeats, Slates
from loop.analysis.logit import Fit, fit, wald
from loop.evidence.people import clustered_share

LEVEL = 0.05  # each test tells of an effect that isn't there in so many studies
POWER = 2.8  # standard errors between zero and an effect that is found in 80% of studies: 1.96 + 0.84
Verdict = Literal["found", "not found", "can't tell"]
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
        name: what it is, with its unit.
        value: the estimate.
        low: lower end.
        high: upper end.
        detectable: how large an effect would be found in 80% of studies like this one; None where that isn't known.
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
        name: what was looked for.
        verdict: 'found' where chance gives as much in less than 5% of studies.
        n: picks (or repeats) it rests on.
        p: chance of as much or more where there is nothing to find; None where it can't be told.
        effects: the main one first.
        sentence: all that in words.
        figures: more numbers by name; plain values and lists.
    """

    name: str
    verdict: Verdict
    n: int
    p: float | None
    effects: tuple[Effect, ...]
    sentence: str
    figures: Mapping[str, Any] = field(default_factory=dict)


def verdict(p: float) -> Verdict:
    """The word for a p-value."""
    return "found" if p < LEVEL else "not found"


def cannot_tell(name: str, n: int, why: str) -> AssumptionTest:
    """A test that can't be made."""
    return AssumptionTest(name, "can't tell", n, None, (), why)


def words(p: float) -> str:
    """A p-value in brackets."""
    return "(p < 0.0001)" if p < 1e-4 else f"(p = {p:.2g})"


def position_bias(slates: Slates, x: np.ndarray, names: Sequence[str] = (), ridge: float = 0.0) -> AssumptionTest:
    """Tests that all positions have the same utility, beside the utilities of the samples.

    Samples stand in random order, so a position's effect can't come from what a fit leaves out; where the columns don't
    allow a fit, the test is made without them.

    Args:
        slates: n of them.
        x: (rows, d) columns about samples, none about positions.
        names: of the columns, for messages.
        ridge: on the samples' columns; the positions' are left alone.
    """
    try:
        found = _fit_position(slates, x, names or [f"column {j + 1}" for j in range(x.shape[1])], ridge)
        k = int(slates.sizes.max())
        contrasts = np.eye(k) - 1 / k
        test = wald(found, np.eye(len(found.coefficients))[: k - 1])
    except NotIdentifiedError as error:
        return cannot_tell(POSITION, len(slates), str(error))
    effects = contrasts[:, 1:] @ found.coefficients[: k - 1]
    se = found.spread(np.pad(contrasts[:, 1:], ((0, 0), (0, len(found.coefficients) - k + 1))))
    intervals = effects[:, None] + found.quantile * se[:, None] * np.array([-1, 1])
    most = int(np.abs(effects).argmax())
    shares = np.exp(effects) / np.exp(effects).sum()
    main = Effect(
        f"utility of position {most + 1} beside the mean of all",
        float(effects[most]),
        float(intervals[most, 0]),
        float(intervals[most, 1]),
        detectable=float(POWER * se[most]),
    )
    told = (
        f"Samples of equal utility would be picked at position {most + 1} in {shares[most]:.1%} of slates of {k} "
        f"(fair: {1 / k:.1%})"
    )
    return AssumptionTest(
        POSITION,
        verdict(test.p),
        len(slates),
        test.p,
        (main,),
        f"{told}; {_interval(main)} {words(test.p)}.",
        {
            "statistic": test.statistic,
            "df": test.q,
            "shares": shares.tolist(),
            "effects": effects.tolist(),
            "intervals": intervals.tolist(),
        },
    )


def _fit_position(slates: Slates, x: np.ndarray, names: Sequence[str], ridge: float) -> Fit:
    k = int(slates.sizes.max(initial=0))
    columns = (slates.positions[:, None] == np.arange(1, k)).astype(float)
    positions = [f"position {j + 1}" for j in range(1, k)]
    try:
        return fit(slates, np.hstack([columns, x]), [*positions, *names], ridge, free=len(positions))
    except NotIdentifiedError:
        return fit(slates, columns, positions, ridge, free=len(positions))


def _interval(effect: Effect) -> str:
    return f"a utility of {effect.value:+.2f} (95% {effect.low:+.2f} to {effect.high:+.2f})"


@dataclass(frozen=True, slots=True)
class _Context:
    """Added columns by name, and the controls that keep a curved utility or a rare class from looking like context."""

    names: list[str]
    added: np.ndarray
    control_names: list[str]
    controls: np.ndarray


def slate_dependence(
    slates: Slates, x: np.ndarray, found: Fit, labels: np.ndarray | None, class_names: Sequence[str] = ()
) -> AssumptionTest:
    """Tests that the other samples of a slate count for nothing (independence of irrelevant alternatives).

    Args:
        slates: n of them.
        x: (rows, d) the columns of the fit.
        found: Luce's rule fitted to them; its ridge is kept for all columns but those about context.
        labels: (rows,) classes, by which samples are alike; None where there are none.
        class_names: by label, for messages.
    """
    context = _context_columns(slates, x @ found.coefficients, labels, class_names)
    try:
        full, names = _fit_context(slates, x, found, context)
        if not names:
            return cannot_tell(
                CONTEXT,
                len(slates),
                "What else stands in the slates follows from the samples themselves; this test needs K = 3 or more.",
            )
        test = wald(full, np.eye(len(full.coefficients))[: len(names)])
    except NotIdentifiedError as error:
        return cannot_tell(CONTEXT, len(slates), str(error))
    intervals = full.intervals()
    effects = [
        Effect(
            WORDS[name],
            float(full.coefficients[j]),
            float(intervals[j, 0]),
            float(intervals[j, 1]),
            detectable=float(POWER * full.se[j]),
        )
        for j, name in enumerate(names)
    ]
    effects.sort(key=lambda effect: -abs(effect.value) / (effect.detectable or 1))
    strongest = effects[0]
    said = (
        "The odds of two samples depend on the others"
        if verdict(test.p) == "found"
        else "Luce's rule isn't contradicted"
    )
    return AssumptionTest(
        CONTEXT,
        verdict(test.p),
        len(slates),
        test.p,
        tuple(effects),
        f"{said} {words(test.p)}; {strongest.name}: {strongest.value:+.2f} (95% {strongest.low:+.2f} to "
        f"{strongest.high:+.2f}; {strongest.detectable:.2f} would be found in 80% of studies).",
        {"statistic": test.statistic, "df": test.q},
    )


def _fit_context(slates: Slates, x: np.ndarray, found: Fit, context: _Context) -> tuple[Fit, list[str]]:
    """The context after all else, so that it is dropped where it follows from the rest; first in the result."""
    base = np.hstack([x, context.controls])
    names = [*found.names, *context.control_names, *context.names]
    all_ = np.hstack([base, context.added])
    kept, _ = estimable(slates.centred(all_), names)
    added = [j for j in kept if j >= base.shape[1]]
    order = [*added, *(j for j in kept if j < base.shape[1])]
    full = fit(slates, all_[:, order], [names[j] for j in order], found.ridge, free=len(added))
    return full, [names[j] for j in added]


def _context_columns(
    slates: Slates, utilities: np.ndarray, labels: np.ndarray | None, class_names: Sequence[str]
) -> _Context:
    u = utilities - utilities.mean()
    v = u / (u.std() or 1.0)
    others = (slates.spread(slates.total(v)) - v) / slates.spread(slates.sizes - 1)
    names, added = ["context"], [u * others]
    control_names, controls = ["the square of the utility"], [v**2]
    if len(np.unique(slates.sizes)) > 1:
        names.append("size")
        added.append(u * slates.spread(np.log2(slates.sizes)))
    if labels is not None:
        classes = np.unique(labels)
        marks = (labels[:, None] == classes).astype(float)
        names.append("similar")
        added.append((marks * slates.spread(slates.total(marks))).sum(axis=1) - 1)
        control_names += [f"class {class_name(int(label), class_names)}" for label in classes]
        controls += list(marks.T)
    return _Context(names, np.stack(added, axis=1), control_names, np.stack(controls, axis=1))


def consistency(slates: Slates, utilities: np.ndarray, repeats: Repeats) -> AssumptionTest:
    """The share of repeats answered alike, beside chance (1 / K) and what Luce's rule expects (the sum of p squared).

    More than Luce's rule expects means tastes that the features leave out; chance means picks that say nothing.

    Args:
        slates: n of them.
        utilities: (rows,) fitted.
        repeats: of some of them.
    """
    m = len(repeats.first)
    if m < LEAST_REPEATS:
        return cannot_tell(RETEST, m, f"{m} repeated slates were answered; this needs {LEAST_REPEATS} or more.")
    same = slates.picked[repeats.first] == repeats.again
    p = np.exp(slates.log_probabilities(utilities))
    expected = float(slates.total(p**2)[repeats.first].mean())
    chance = float((1 / slates.sizes[repeats.first]).mean())
    _, place = np.unique(slates.raters[repeats.first], return_inverse=True)
    raters = int(place.max()) + 1
    if raters == 1:
        place, raters = np.arange(m), m  # one rater's repeats speak of that rater
    found = clustered_share(np.bincount(place, same, raters), np.bincount(place, minlength=raters).astype(float))
    p_value = float(stdtr(raters - 1, -(found.value - chance) / found.se))
    return AssumptionTest(
        RETEST,
        verdict(p_value),
        m,
        p_value,
        (Effect("share of repeats answered alike", found.value, found.low, found.high),),
        f"Of {m:,} repeats raters answered {found.value:.1%} alike on average (95% {found.low:.1%} to "
        f"{found.high:.1%}); chance gives {chance:.1%} {words(p_value)}, Luce's rule with the fitted utilities "
        f"{expected:.1%}.",
        {"chance": chance, "expected": expected, "raters": raters},
    )
