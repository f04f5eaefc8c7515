"""Do raters agree, is there one who picks at random, and are there some whose tastes differ from the others'?"""

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from scipy.special import log_ndtr, ndtr, stdtrit

from loop.choice.finding import LEVEL, POWER, Effect, Finding, cannot_tell, verdict, words
from loop.choice.slates import Slates
from loop.choice.tastes import SURE, OwnTastes, own_tastes

AGREE, RANDOM, ODD = "disagreement between raters", "raters at random", "tastes unlike the others'"
LEAST_RATERS, LEAST_PICKS = 4, 8
SHUFFLES = 999
SHUFFLED = 20_000_000  # numbers to add up in all shuffles; more picks get fewer shuffles
STEPS, REACH = 60, 40.0

Manner = Literal["like the others", "less sure", "other tastes", "at random", "unclear"]
OWN = 0.01  # chance of as much taste at random, under which a rater's own picks show one


@dataclass(frozen=True, slots=True)
class RaterScale:
    """How strongly one rater follows the common utilities, and whether his or her own picks show a taste.

    Attributes:
        rater: id.
        picks: counted.
        scale: factor on the common utilities; 1 is like the others, 0 is no relation to them, below 0 the opposite.
        se: its standard error.
        p_alone: chance that a rater like the others follows them as little.
        p: the same times the number of raters, at most 1.
        p_own: chance of picks with as much taste of any kind by someone who picks at random.
        p_usual: chance of picks with as little taste of any kind by someone whose taste is as strong as the others'.
        manner: 'at random' where p_usual times the number of raters is under 5 % and p_own isn't; of those who follow
            the common utilities less than the others, 'less sure' where they follow them somewhat, else 'other
            tastes' where p_own is under 1 %, else 'unclear'.
    """

    rater: int
    picks: int
    scale: float
    se: float
    p_alone: float
    p: float
    p_own: float
    p_usual: float
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


def rater_findings(
    slates: Slates, x: np.ndarray, utilities: np.ndarray, informative: bool
) -> tuple[Finding, Finding, list[RaterScale]]:
    """Finds raters whose picks carry no taste at all, and raters who follow the common utilities less than the others.

    Args:
        slates: n of them.
        x: (rows, d) the columns that tastes may lie in.
        utilities: (rows,) fitted to all raters together.
        informative: whether the utilities explain picks at all; if they don't, nobody can stray from them.

    Returns:
        The finding about picks at random, the one about tastes that differ, each with a p-value corrected for the
        number of raters (Bonferroni), and every rater's figures.
    """
    everyone, counts = np.unique(slates.raters, return_counts=True)
    n = int((counts >= LEAST_PICKS).sum())
    if n < LEAST_RATERS or not x.shape[1]:
        why = f"This needs {LEAST_RATERS} raters of {LEAST_PICKS} picks or more, and a feature of the samples."
        return cannot_tell(RANDOM, len(slates), why), cannot_tell(ODD, len(slates), why), []
    chosen, rows = slates.keep(np.isin(slates.raters, everyone[counts >= LEAST_PICKS]))
    raters, place, picks = np.unique(chosen.raters, return_inverse=True, return_counts=True)
    scales, tastes = _scales(chosen, utilities[rows], place, n), own_tastes(chosen, x[rows], place, n)
    judged = [
        RaterScale(
            rater=int(raters[i]),
            picks=int(picks[i]),
            scale=float(scales.scale[i]),
            se=float(scales.se[i]),
            p_alone=float(scales.below_one[i]),
            p=min(1.0, n * float(scales.below_one[i])),
            p_own=float(tastes.p[i]),
            p_usual=float(tastes.p_usual[i]),
            manner=_manner(scales, tastes, i, n, informative),
        )
        for i in range(n)
    ]
    judged.sort(key=lambda row: (row.p_alone, row.p_usual))
    if informative:
        differing = _differing(len(slates), judged)
    else:
        why = "The utilities explain nobody's picks, so nobody strays from them."
        differing = cannot_tell(ODD, len(slates), why)
    return _at_random(len(slates), judged, tastes.power), differing, judged


def _at_random(n: int, judged: list[RaterScale], power: float) -> Finding:
    named = [row for row in judged if row.manner == "at random"]
    p = min(1.0, len(judged) * min((row.p_usual for row in judged if row.p_own >= LEVEL), default=1.0))
    chance = f"someone of median picks who picks at random would have been named with probability {power:.0%}"
    if named:
        verdict_, who = "found", "; ".join(f"rater {row.rater} ({row.picks} picks)" for row in named[:6])
        more = f"; and {len(named) - 6} more" if len(named) > 6 else ""
        said = (
            f"{len(named)} of {len(judged)} raters picked as if at random: {who}{more}. Their picks show no taste of "
            f"any kind that these features could show, where a taste as strong as the others' would have shown "
            f"{words(p)}; a taste for something else can't be told from chance"
        )
    elif power >= SURE:
        verdict_, said = "not found", f"None of {len(judged)} raters is seen to pick at random; {chance}"
    else:
        verdict_, said = "can't tell", f"The picks can't show who picks at random: {chance}"
    least = min(judged, key=lambda row: row.p_usual)
    figures = {
        "tested": len(judged),
        "power": power,
        "named": [asdict(row) for row in named],
        "least_taste": asdict(least),
    }
    return Finding(RANDOM, verdict_, n, p, (), f"{said}.", figures)


def _differing(n: int, judged: list[RaterScale]) -> Finding:
    odd = [row for row in judged if row.p < LEVEL]
    named = "; ".join(f"rater {row.rater} {row.manner} ({row.picks} picks, scale {row.scale:.2f})" for row in odd[:6])
    more = f"; and {len(odd) - 6} more" if len(odd) > 6 else ""
    lowest = min(judged, key=lambda row: row.scale)
    effect = Effect(
        f"scale of rater {lowest.rater}, the lowest (1: like the others, 0: no relation, below 0: the opposite)",
        lowest.scale,
        lowest.scale - 1.96 * lowest.se,
        lowest.scale + 1.96 * lowest.se,
    )
    p = judged[0].p
    if odd:
        said = f"{len(odd)} of {len(judged)} raters follow the common utilities less than the others do: {named}{more}"
    else:
        said = f"None of {len(judged)} raters follows the common utilities less than the others do"
    note = ". A minority's taste is a taste: that is no reason to leave anyone out" if odd else ""
    figures = {"tested": len(judged), "odd": [asdict(row) for row in odd]}
    return Finding(ODD, verdict(p), n, p, (effect,), f"{said} {words(p)}{note}.", figures)


@dataclass(frozen=True, slots=True)
class _Scales:
    """By rater: the scale, its standard error, and the lower-tail p-value of scale 1."""

    scale: np.ndarray
    se: np.ndarray
    below_one: np.ndarray


def _manner(scales: _Scales, tastes: OwnTastes, i: int, n: int, informative: bool) -> Manner:
    if n * tastes.p_usual[i] < LEVEL <= tastes.p[i]:
        return "at random"
    if not informative or n * scales.below_one[i] >= LEVEL:
        return "like the others"
    if scales.scale[i] - 1.96 * scales.se[i] > 0:
        return "less sure"
    return "other tastes" if tastes.p[i] < OWN else "unclear"


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
    below_one = _lower_tail(slates, v, s, unit, variance, place, g)
    return _Scales(s / unit, 1 / np.sqrt(np.maximum(variance, 1e-12)) / unit, below_one)


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
