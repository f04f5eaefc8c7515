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
from loop.evidence.schema import Estimate, UtilityGain, side_of

RARE = 0.01  # share of a generation's samples that may be of classes which nobody was shown


class UnknownGainError(ValueError):
    """What keeps a gain from being known, in a sentence."""


def utility_gains(store: Store, found: Sequence[Evaluated], class_names: Sequence[str]) -> list[UtilityGain]:
    """The gain of each generation over generation 0 and over the one before, by people's utilities of classes.

    Generation t is judged by picks that didn't train it: those in audit slates, and curation picks from samples of t
    or later. Picks that trained it would flatter it, because it learned their errors too. Withdrawn sessions don't
    count.

    Args:
        store: holds the picks.
        found: the samples of generations 0, 1, ...
        class_names: by label, for messages.

    Returns:
        Nothing where nobody picked.
    """
    log = read_log(store, Who())
    if not len(log.slates) or len(found) < 2:
        return []
    return [gain for t in range(1, len(found)) for gain in _gains(log, found, t, class_names)]


def _gains(log: Log, found: Sequence[Evaluated], t: int, names: Sequence[str]) -> Iterator[UtilityGain]:
    fresh = (log.answers["purpose"] == PURPOSES.index("audit")) | (log.answers["t"] >= t)
    slates, rows = log.slates.keep(fresh)
    labels, raters = log.items["label"][rows], len(np.unique(slates.raters))
    for against in sorted({0, t - 1}):
        gain, reason = None, ""
        try:
            gain = fitted_gain(slates, labels, found[t].labels, found[against].labels, names)
        except UnknownGainError as error:
            reason = str(error)
        verdict = side_of(gain, 0.0) if gain else "can't tell"
        yield UtilityGain(t=t, against=against, n=len(slates), raters=raters, gain=gain, verdict=verdict, reason=reason)


def fitted_gain(
    slates: Slates, labels: np.ndarray, now: np.ndarray, before: np.ndarray, names: Sequence[str] = ()
) -> Estimate:
    """The mean fitted utility of some samples less that of others, with a 95 % interval.

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
    assert utilities.clustered is not None
    variance = max(float(weights @ matrix @ weights) for matrix in (utilities.clustered, utilities.plain))
    worth = np.concatenate([[0.0], utilities.coefficients])
    variance += sum(float(worth @ matrix @ worth) for matrix in errors)
    se = math.sqrt(variance)
    half = float(stdtrit(utilities.raters - 1, 0.975)) * se
    return Estimate(value=value, se=se, low=value - half, high=value + half)


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
