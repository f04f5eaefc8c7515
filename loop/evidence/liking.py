"""Whether generations drew ever more of what people like: the gain of the utilities that are fitted to their picks."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.special import stdtrit

from data.records import PURPOSES, Evaluated
from data.store import Store
from loop.choice.columns import NotIdentifiedError
from loop.choice.design import class_name
from loop.choice.log import Log, Who, read_log
from loop.choice.logit import Fit, fit
from loop.choice.slates import Slates
from loop.config import StudyConfig
from loop.evidence.budget import UTILITY_GAINS, error_level
from loop.evidence.confidence_sequence import reach_of_asymptotic
from loop.evidence.people import PLAIN, Raters, raters_of
from loop.evidence.schema import Estimate, IntervalKind, UtilityGain, side_of

RARE = 0.01  # share of a generation's samples that may be of classes which nobody was shown


class UnknownGainError(ValueError):
    """What keeps a gain from being known, in a sentence."""


def utility_gains(
    store: Store,
    config: StudyConfig,
    found: Sequence[Evaluated],
    class_names: Sequence[str],
    level: float = UTILITY_GAINS,
) -> list[UtilityGain]:
    """The gain of each generation over generation 0 and over the one before, by people's utilities of classes.

    Generation t is judged by picks that didn't train it: those in audit slates, and curation picks from samples of t
    or later. Picks that trained it would flatter it, because it learned their errors too. Raters count when they have
    finished, as in win rates; withdrawn sessions don't.

    Args:
        store: holds the picks.
        config: the study's.
        found: the samples of generations 0, 1, ...
        class_names: by label, for messages.
        level: of error that all gains share.

    Returns:
        Nothing where nobody picked.
    """
    log, raters = read_log(store, Who()), raters_of(store, config)
    if not len(log.slates) or len(found) < 2:
        return []
    return [gain for t in range(1, len(found)) for gain in _gains(log, raters, found, t, class_names, level)]


def _gains(
    log: Log, raters: Raters, found: Sequence[Evaluated], t: int, names: Sequence[str], level: float
) -> Iterator[UtilityGain]:
    fresh = (log.answers["purpose"] == PURPOSES.index("audit")) | (log.answers["t"] >= t)
    slates, rows = log.slates.keep(fresh & np.isin(log.slates.raters, sorted(raters.ids)))
    labels, people = log.items["label"][rows], len(np.unique(slates.raters))
    shown: IntervalKind = "fixed n" if raters.kind == "fixed n" else "always valid in large numbers"
    other: IntervalKind = "always valid in large numbers" if raters.kind == "fixed n" else "fixed n"
    for against in sorted({0, t - 1}):
        share, gain, reason = error_level(t, against, level, raters.last), None, raters.waiting
        try:
            gain = fitted_gain(slates, labels, found[t].labels, found[against].labels, names)
        except UnknownGainError as error:
            reason = str(error)
        corrected = gain and with_reach(gain, people, shown, share)
        yield UtilityGain(
            t=t,
            against=against,
            n=len(slates),
            raters=people,
            gain=gain and with_reach(gain, people, shown),
            interval_kind=shown,
            other=gain and with_reach(gain, people, other),
            corrected=corrected,
            level=share,
            verdict=side_of(corrected, 0.0) if corrected and not reason else "can't tell",
            reason=reason,
        )


def with_reach(gain: Estimate, raters: int, kind: IntervalKind, level: float = PLAIN) -> Estimate:
    """An estimate over raters with the interval of a kind, at an error level."""
    fixed = float(stdtrit(raters - 1, 1 - level / 2))
    half = (fixed if kind == "fixed n" else reach_of_asymptotic(raters, level)) * gain.se
    return Estimate(value=gain.value, se=gain.se, low=gain.value - half, high=gain.value + half)


def fitted_gain(
    slates: Slates, labels: np.ndarray, now: np.ndarray, before: np.ndarray, names: Sequence[str] = ()
) -> Estimate:
    """The mean fitted utility of some samples less that of others, with a 95 % interval for this number of raters.

    The error is that of the utilities (delta method; clustered by rater, or taking picks as independent where that is
    larger, as it may be with few raters) and that of the samples, with Student's t for the number of raters.

    Args:
        slates: n picks.
        labels: (rows,) classes of the samples in them.
        now: (m,) classes of one generation's samples.
        before: (m',) classes of the other's.
        names: of classes, for messages.

    Raises:
        UnknownGainError: there is no telling, and why.
    """
    classes, utilities = _fit(slates, labels)
    shares, errors = zip(*(_shares(one, classes, names) for one in (now, before)), strict=True)
    weights = (shares[0] - shares[1])[1:]
    value = float(weights @ utilities.coefficients)
    variance = float(utilities.spread(weights[None])[0]) ** 2
    worth = np.concatenate([[0.0], utilities.coefficients])
    variance += sum(float(worth @ matrix @ worth) for matrix in errors)
    return with_reach(Estimate.of(value, math.sqrt(variance)), utilities.raters, "fixed n")


def _fit(slates: Slates, labels: np.ndarray) -> tuple[np.ndarray, Fit]:
    """The classes, the one that is shown most first, and the utilities of the others relative to it."""
    raters = len(np.unique(slates.raters))
    if raters < 2:
        who = "one person" if raters else "nobody"
        raise UnknownGainError(f"Apart from picks that trained it, {who} picked; a gain needs at least two people.")
    if (labels < 0).any():
        raise UnknownGainError("The samples have no classes that utilities could be fitted to.")
    found, counts = np.unique(labels, return_counts=True)
    if len(found) < 2:
        raise UnknownGainError("All samples in the picks that did not train it are of one class.")
    classes = found[np.argsort(-counts, kind="stable")]
    columns = (labels[:, None] == classes[1:]).astype(float)
    try:
        return classes, fit(slates, columns, [str(label) for label in classes[1:]])
    except (NotIdentifiedError, np.linalg.LinAlgError):
        raise UnknownGainError(
            f"The {len(slates):,} picks that did not train it don't determine the utilities of {len(classes)} classes: "
            "they are too few, or a class was always or never picked, or never seen beside another. Collect more."
        ) from None


def _shares(labels: np.ndarray, classes: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(classes,) shares of a generation's samples, and their covariance."""
    known = np.isin(labels, classes)
    if (~known).mean() > RARE:
        missing = ", ".join(class_name(int(label), names) for label in np.unique(labels[~known]))
        raise UnknownGainError(f"In the picks that did not train it nobody was shown these classes: {missing}.")
    shares = (labels[known, None] == classes).mean(axis=0)
    return shares, (np.diag(shares) - np.outer(shares, shares)) / known.sum()
