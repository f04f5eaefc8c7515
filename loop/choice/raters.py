"""Do raters agree, and is there one who picks at random or against the others?"""

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from scipy.special import log_ndtr, ndtr, stdtrit

from loop.choice.finding import LEVEL, POWER, Effect, Finding, cannot_tell, verdict, words
from loop.choice.slates import Slates

AGREE, ODD = "disagreement between raters", "raters unlike the others"
LEAST_RATERS, LEAST_PICKS = 4, 8
SHUFFLES = 999
SHUFFLED = 20_000_000  # numbers to add up in all shuffles; more picks get fewer shuffles
STEPS, REACH = 60, 40.0

Manner = Literal["like the others", "less sure", "at random", "against the others"]


@dataclass(frozen=True, slots=True)
class RaterScale:
    """How strongly one rater follows the common utilities.

    Attributes:
        rater: id.
        picks: counted.
        scale: factor on the common utilities; 1 is like the others, 0 at random, below 0 against them.
        se: its standard error.
        p_alone: chance that a rater like the others follows them as little.
        p: the same times the number of raters, at most 1.
        manner: in a word.
    """

    rater: int
    picks: int
    scale: float
    se: float
    p_alone: float
    p: float
    manner: Manner


def disagreement(slates: Slates, scores: np.ndarray, bread: np.ndarray, rng: np.random.Generator) -> Finding:
    """Tests that raters' picks are exchangeable: raters with tastes of their own stray in a direction of their own.

    The effect is the intraclass correlation of the picks' scores: 0 where tastes are common; picks are worth
    `1 / (1 + (m - 1) icc)` of independent ones at m each. Its p-value is by shuffling picks between raters, which is
    exact whatever the utilities are, because slates are given out at random.

    Args:
        slates: n of them.
        scores: (n, d) gradients of each pick's log-probability.
        bread: (d, d) inverse information.
        rng: shuffles.
    """
    raters, place, counts = np.unique(slates.raters, return_inverse=True, return_counts=True)
    pairs, g = float((counts * (counts - 1.0)).sum()), len(raters)
    if g < LEAST_RATERS or not pairs or not scores.shape[1]:
        return cannot_tell(AGREE, len(slates), _too_few(g, scores.shape[1]))
    white = scores @ np.linalg.cholesky(bread)
    white /= np.sqrt((white**2).sum(axis=1).mean())  # squares average 1
    own = np.bincount(place, (white**2).sum(axis=1), g)
    sums = _sums(white, place, g)
    each = (sums**2).sum(axis=1) - own
    icc = each.sum() / pairs
    shuffles = int(np.clip(SHUFFLED / white.size, 99, SHUFFLES))
    shuffled = [(_sums(white, rng.permutation(place), g) ** 2).sum() for _ in range(shuffles)]
    p = (1 + sum(value >= (sums**2).sum() for value in shuffled)) / (1 + shuffles)
    se = _jackknife(each, counts * (counts - 1.0))
    reach = float(stdtrit(g - 1, 0.975)) * se
    null = float(np.std(shuffled) / pairs)
    effect = Effect("intraclass correlation of picks", icc, icc - reach, icc + reach, detectable=POWER * null)
    m = float((counts**2).sum() / counts.sum())
    return Finding(
        AGREE,
        verdict(p),
        len(slates),
        p,
        (effect,),
        f"Picks of one rater are alike beyond the common utilities with correlation {icc:.3f} (95 % "
        f"{effect.low:.3f} to {effect.high:.3f}) {words(p)}: {g} raters with {m:.0f} picks each are worth "
        f"{1 / max(1 + (m - 1) * icc, 1e-9):.0%} of as many independent picks.",
        {"raters": g, "picks_per_rater": m, "shuffles": shuffles, "design_effect": 1 + (m - 1) * icc},
    )


def odd_raters(slates: Slates, utilities: np.ndarray, informative: bool) -> tuple[Finding, list[RaterScale]]:
    """Finds raters who follow the common utilities less than raters like the others would by chance.

    Args:
        slates: n of them.
        utilities: (rows,) fitted to all raters together.
        informative: whether the utilities explain picks at all; if they don't, nobody can stray from them.

    Returns:
        The finding, with a p-value corrected for the number of raters (Bonferroni), and every rater's scale.
    """
    raters, place, counts = np.unique(slates.raters, return_inverse=True, return_counts=True)
    if (counts >= LEAST_PICKS).sum() < LEAST_RATERS:
        why = f"This needs {LEAST_RATERS} raters of {LEAST_PICKS} picks or more."
        return cannot_tell(ODD, len(slates), why), []
    if not informative:
        return cannot_tell(ODD, len(slates), "The utilities explain nobody's picks, so nobody strays from them."), []
    found = _scales(slates, utilities, place, len(raters))
    judged = counts >= LEAST_PICKS
    n = int(judged.sum())
    rows = [_row(found, i, int(raters[i]), int(counts[i]), n) for i in np.flatnonzero(judged).tolist()]
    rows.sort(key=lambda row: row.p_alone)
    odd = [row for row in rows if row.manner != "like the others"]
    named = "; ".join(f"rater {row.rater} {row.manner} ({row.picks} picks, scale {row.scale:.2f})" for row in odd[:6])
    more = f"; and {len(odd) - 6} more" if len(odd) > 6 else ""
    lowest = min(rows, key=lambda row: row.scale)
    effect = Effect(
        f"scale of rater {lowest.rater}, the lowest (1: like the others, 0: at random)",
        lowest.scale,
        lowest.scale - 1.96 * lowest.se,
        lowest.scale + 1.96 * lowest.se,
    )
    p = rows[0].p
    said = f"{len(odd)} of {n} raters stand out: {named}{more}" if odd else f"None of {n} raters stands out"
    figures = {"tested": n, "odd": [asdict(row) for row in odd]}
    return Finding(ODD, verdict(p), len(slates), p, (effect,), f"{said} {words(p)}.", figures), rows


@dataclass(frozen=True, slots=True)
class _Scales:
    """By rater: the scale, its standard error, and lower-tail p-values of scale 1 and scale 0."""

    scale: np.ndarray
    se: np.ndarray
    below_one: np.ndarray
    below_zero: np.ndarray


def _row(found: _Scales, i: int, rater: int, picks: int, n: int) -> RaterScale:
    alone = float(found.below_one[i])
    return RaterScale(
        rater=rater,
        picks=picks,
        scale=float(found.scale[i]),
        se=float(found.se[i]),
        p_alone=alone,
        p=min(1.0, n * alone),
        manner=_manner(found, i, n),
    )


def _manner(found: _Scales, i: int, n: int) -> Manner:
    if n * found.below_one[i] >= LEVEL:
        return "like the others"
    if n * found.below_zero[i] < LEVEL:
        return "against the others"
    return "at random" if found.scale[i] - 1.96 * found.se[i] <= 0 else "less sure"


def _scales(slates: Slates, u: np.ndarray, place: np.ndarray, g: int) -> _Scales:
    """One conditional logit per rater with the common utility as its only column, all at once by bracketed Newton."""
    per_row = slates.spread(place)
    unit = float(np.sqrt((slates.centred(u) ** 2).mean()))
    v = u / unit
    wanted = np.bincount(place, v[slates.rows], g)
    low, high, s = np.full(g, -REACH), np.full(g, REACH), np.full(g, unit)
    for _ in range(STEPS):
        mean, variance = _moments(slates, v, s[per_row], place, g)
        low, high = np.where(mean < wanted, s, low), np.where(mean < wanted, high, s)
        step = s + (wanted - mean) / np.maximum(variance, 1e-300)
        step = np.where((step > low) & (step < high), step, (low + high) / 2)
        moved, s = np.abs(step - s).max(), step
        if moved < 1e-9:
            break
    variance = _moments(slates, v, s[per_row], place, g)[1]
    tails = [_lower_tail(slates, v, s, at, variance, place, g) for at in (unit, 0.0)]
    return _Scales(s / unit, 1 / np.sqrt(np.maximum(variance, 1e-12)) / unit, *tails)


def _moments(
    slates: Slates, v: np.ndarray, scale: np.ndarray, place: np.ndarray, g: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each rater's sum of picked v."""
    p = np.exp(slates.log_probabilities(scale * v))
    mean = slates.total(p * v)
    variance = slates.total(p * v**2) - mean**2
    return np.bincount(place, mean, g), np.bincount(place, variance, g)


def _lower_tail(
    slates: Slates, v: np.ndarray, s: np.ndarray, at: float, variance: np.ndarray, place: np.ndarray, g: int
) -> np.ndarray:
    """(g,) chance of so small a scale or a smaller one, where the true one is `at`.

    The signed root of the likelihood ratio with the correction of Barndorff-Nielsen (1986), which holds in the far
    tail with a dozen picks, where a normal error doesn't.
    """
    best = slates.log_probabilities(s[slates.spread(place)] * v)[slates.rows]
    declared = slates.log_probabilities(at * v)[slates.rows]
    gained = np.bincount(place, best - declared, g)
    r = np.sign(s - at) * np.sqrt(2 * np.maximum(gained, 0))
    w = (s - at) * np.sqrt(variance)
    usable = (np.abs(r) > 0.05) & (np.abs(s) < 0.9 * REACH) & (w / np.where(r == 0, 1, r) > 0)
    ratio = np.where(usable, w / np.where(usable, r, 1), 1.0)
    corrected = np.where(usable, r + np.log(ratio) / np.where(usable, r, 1), r)
    return np.where(corrected > -5, ndtr(corrected), np.exp(log_ndtr(corrected)))


def _sums(values: np.ndarray, place: np.ndarray, g: int) -> np.ndarray:
    """(g, d) sums of (n, d) values by group."""
    return np.stack([np.bincount(place, column, g) for column in values.T], axis=1)


def _jackknife(each: np.ndarray, weights: np.ndarray) -> float:
    """The standard error of `sum(each) / sum(weights)` over raters."""
    g = len(each)
    without = (each.sum() - each) / np.maximum(weights.sum() - weights, 1)
    return float(np.sqrt((g - 1) / g * ((without - without.mean()) ** 2).sum()))


def _too_few(raters: int, columns: int) -> str:
    if not columns:
        return "There is no utility to agree on: no feature could be estimated."
    return f"{raters} rater(s) answered; this needs {LEAST_RATERS} with two picks or more."
