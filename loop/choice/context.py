"""Independence of irrelevant alternatives: do the odds of two samples depend on what else is in the slate?

Columns that describe a sample's company are added to the utility; under Luce's rule they count for nothing. Source: the
test of McFadden, Train and Tye (1977). It works within one K, from K = 3 on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loop.choice.columns import NotIdentifiedError, estimable
from loop.choice.design import class_name
from loop.choice.finding import POWER, Effect, Finding, cannot_tell, verdict, words
from loop.choice.logit import Fit, fit, wald
from loop.choice.slates import Slates

NAME = "dependence on the slate (IIA)"
WORDS = {
    "similar": "utility lost or gained for each other sample of its class in the slate",
    "company": "relative change of all utilities where the other samples are one standard deviation better",
    "size": "relative change of all utilities with each doubling of K",
}


@dataclass(frozen=True, slots=True)
class _Company:
    """Added columns by name, and the controls that keep a curved utility or a rare class from looking like company."""

    names: list[str]
    added: np.ndarray
    control_names: list[str]
    controls: np.ndarray


def slate_dependence(
    slates: Slates, x: np.ndarray, found: Fit, labels: np.ndarray | None, class_names: Sequence[str] = ()
) -> Finding:
    """Tests that a sample's company counts for nothing.

    Args:
        slates: n of them.
        x: (rows, d) the columns of the fit.
        found: Luce's rule fitted to them; its ridge is kept for all columns but those about company.
        labels: (rows,) classes, by which samples are alike; None where there are none.
        class_names: by label, for messages.
    """
    company = _company(slates, x @ found.coefficients, labels, class_names)
    try:
        full, names = _fit(slates, x, found, company)
        if not names:
            return cannot_tell(
                NAME, len(slates), "Company doesn't vary apart from the samples themselves; this needs K = 3 or more."
            )
        test = wald(full, np.eye(len(full.coefficients))[: len(names)])
    except NotIdentifiedError as error:
        return cannot_tell(NAME, len(slates), str(error))
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
    return Finding(
        NAME,
        verdict(test.p),
        len(slates),
        test.p,
        tuple(effects),
        f"{said} {words(test.p)}; {strongest.name}: {strongest.value:+.2f} (95 % {strongest.low:+.2f} to "
        f"{strongest.high:+.2f}; {strongest.detectable:.2f} would be found in 80 % of studies).",
        {"statistic": test.statistic, "df": test.q},
    )


def _fit(slates: Slates, x: np.ndarray, found: Fit, company: _Company) -> tuple[Fit, list[str]]:
    """Company after all else, so that it is dropped where it follows from the rest; first in the result."""
    base = np.hstack([x, company.controls])
    names = [*found.names, *company.control_names, *company.names]
    all_ = np.hstack([base, company.added])
    kept, _ = estimable(slates.centred(all_), names)
    added = [j for j in kept if j >= base.shape[1]]
    order = [*added, *(j for j in kept if j < base.shape[1])]
    full = fit(slates, all_[:, order], [names[j] for j in order], found.ridge, free=len(added))
    return full, [names[j] for j in added]


def _company(slates: Slates, utilities: np.ndarray, labels: np.ndarray | None, class_names: Sequence[str]) -> _Company:
    u = utilities - utilities.mean()
    v = u / (u.std() or 1.0)
    others = (slates.spread(slates.total(v)) - v) / slates.spread(slates.sizes - 1)
    names, added = ["company"], [u * others]
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
    return _Company(names, np.stack(added, axis=1), control_names, np.stack(controls, axis=1))
