"""Agreement between raters; raters who pick at random, and raters whose tastes differ from the others'."""

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from scipy.special import log_ndtr, logsumexp, ndtr, stdtrit
from scipy.stats import chi2, ncx2

from loop.analysis.assumptions import LEVEL, POWER, AssumptionTest, Effect, cannot_tell, verdict, words
from loop.analysis.log import Slates

LEAST_VARIANCE = 1.0  # of a rater's summed score, in picks; columns that he or she hardly saw say nothing
DROPPED = 1e-9  # share of the largest eigenvalue under which columns follow from each other
STRENGTHS = np.geomspace(2e-4, 8.0, 80)  # squared length of a taste's mean score per pick
USUAL = np.geomspace(2e-3, 4.0, 32)
SPREADS = np.array([0.15, 0.3, 0.5, 0.75, 1.1])  # of log strength between raters
SHARES = np.array([0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7])  # of raters without a taste
SURE = 0.5  # chance of naming a rater at random from which on naming none says something
AGREE, RANDOM, ODD = "disagreement between raters", "raters at random", "tastes unlike the others'"
LEAST_RATERS, LEAST_PICKS = 4, 8
SHUFFLES = 999
SHUFFLED = 20_000_000  # numbers to add up in all shuffles; more picks get fewer shuffles
STEPS, REACH = 60, 40.0
Manner = Literal["like the others", "less sure", "other tastes", "at random", "unclear"]
OWN = 0.01  # chance of as much taste at random, under which a rater's own picks show one


@dataclass(frozen=True, slots=True)
class OwnTastes:
    """Of g raters, by their own picks.

    Attributes:
        statistic: (g,) squared length of the summed score at utilities of 0, in units of its variance at random.
        df: (g,) its degrees of freedom; at random it is nearly chi-square.
        p: (g,) chance of as much taste or more by picks at random.
        p_usual: (g,) chance of as little or less by a rater with a taste, of any direction, as strong as the others'.
        power: chance that a rater of median picks who picks at random would be named.
    """

    statistic: np.ndarray
    df: np.ndarray
    p: np.ndarray
    p_usual: np.ndarray
    power: float


def own_tastes(slates: Slates, x: np.ndarray, place: np.ndarray, g: int) -> OwnTastes:
    """Tests each rater's picks for any taste, and for less taste than is usual.

    The statistic is the score test that a rater's own utilities are all 0. Where a rater with m picks has a taste it is
    nearly noncentral chi-square with noncentrality m times a strength. Strengths are taken as lognormal between
    raters, some of whom may have none; the lognormal's parameters and that share are averaged over their posterior
    given the *other* raters, so that no one is judged by a yardstick that he or she had a hand in.

    Args:
        slates: n of them.
        x: (rows, d) columns about samples.
        place: (n,) which of the raters answered each.
        g: raters.

    Source: score test, Rao 1948; two groups and an empirical prior, Efron 2008.
    """
    sums, covariance = _scores(slates, x, place, g)
    values, vectors = np.linalg.eigh(covariance)
    seen = values >= LEAST_VARIANCE
    along = np.einsum("gdj,gd->gj", vectors, sums)
    statistic = (np.where(seen, along, 0.0) ** 2 / np.where(seen, values, 1.0)).sum(axis=1)
    df = seen.sum(axis=1)
    picks = np.where(df > 0, np.where(seen, values, 0.0).sum(axis=1) / np.maximum(df, 1), 0.0)
    weights, posterior = _strengths(statistic, df, picks)
    p_usual = np.array([
        float(ncx2.cdf(statistic[i], df[i], picks[i] * STRENGTHS) @ (posterior[i] @ weights)) if df[i] else 1.0
        for i in range(g)
    ])  # fmt: skip
    p = np.where(df > 0, chi2.sf(statistic, np.maximum(df, 1)), 1.0)
    return OwnTastes(statistic, df, p, p_usual, _power(df, picks, posterior.mean(axis=0) @ weights))


def _scores(slates: Slates, x: np.ndarray, place: np.ndarray, g: int) -> tuple[np.ndarray, np.ndarray]:
    """(g, d') sums of each rater's scores at utilities of 0, whitened by all slates, and (g, d', d') covariances."""
    z = slates.centred(x)
    share = 1 / slates.spread(slates.sizes)
    values, vectors = np.linalg.eigh(z.T @ (share[:, None] * z) / len(slates))
    kept = values > DROPPED * values.max(initial=0.0)
    white = z @ (vectors[:, kept] / np.sqrt(values[kept]))
    d, rater = white.shape[1], slates.spread(place)
    sums, covariance = np.zeros((g, d)), np.zeros((g, d, d))
    for i in range(d):
        sums[:, i] = np.bincount(place, white[slates.rows, i], g)
        for j in range(i + 1):
            covariance[:, i, j] = covariance[:, j, i] = np.bincount(rater, share * white[:, i] * white[:, j], g)
    return sums, covariance


def _strengths(statistic: np.ndarray, df: np.ndarray, picks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(h, strengths) laws of a strength, and the (g, h) probability of each given all raters but one."""
    distance = (np.log(STRENGTHS) - np.log(USUAL)[:, None, None]) / SPREADS[None, :, None]
    laws = np.exp(-(distance**2) / 2).reshape(-1, len(STRENGTHS))
    laws /= laws.sum(axis=1, keepdims=True)
    judged = df > 0
    scale = np.maximum(df, 1)[:, None]
    tasteful = ncx2.pdf(np.maximum(statistic, 1e-9)[:, None], scale, picks[:, None] * STRENGTHS) @ laws.T
    tasteless = chi2.pdf(np.maximum(statistic, 1e-9), scale[:, 0])
    mixed = (1 - SHARES)[:, None] * tasteful[:, None, :] + SHARES[:, None] * tasteless[:, None, None]
    logs = np.where(judged[:, None], np.log(np.maximum(mixed.reshape(len(df), -1), 1e-300)), 0.0)
    others = logs.sum(axis=0) - logs
    posterior = np.exp(others - logsumexp(others, axis=1, keepdims=True))
    return np.tile(laws, (len(SHARES), 1)), posterior


def _power(df: np.ndarray, picks: np.ndarray, law: np.ndarray) -> float:
    """The chance that a rater at random, of median picks, is named among so many raters."""
    judged = df > 0
    if not judged.any():
        return 0.0
    d, m = int(np.median(df[judged])), float(np.median(picks[judged]))
    statistics = chi2.ppf(np.linspace(0.005, 1 - LEVEL, 190), d)
    tails = ncx2.cdf(statistics[:, None], d, m * STRENGTHS) @ law
    named = tails * judged.sum() < LEVEL
    return float(chi2.cdf(statistics[named][-1], d)) if named.any() else 0.0


@dataclass(frozen=True, slots=True)
class RaterScale:
    """The strength with which one rater follows the common utilities, and the evidence of a taste in the rater's picks.

    Attributes:
        rater: id.
        picks: counted.
        scale: factor on the common utilities; 1 is like the others, 0 is no relation to them, below 0 the opposite.
        se: its standard error.
        p_alone: chance that a rater like the others follows them as little.
        p: the same times the number of raters, at most 1.
        p_own: chance of picks with as much taste of any kind by someone who picks at random.
        p_usual: chance of picks with as little taste of any kind by someone whose taste is as strong as the others'.
        manner: 'at random' where p_usual times the number of raters is under 5% and p_own isn't; of those who follow
            the common utilities less than the others, 'less sure' where they follow them somewhat, else 'other
            tastes' where p_own is under 1%, else 'unclear'.
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


def disagreement(slates: Slates, scores: np.ndarray, bread: np.ndarray, rng: np.random.Generator) -> AssumptionTest:
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
    return AssumptionTest(
        AGREE,
        verdict(p),
        len(slates),
        p,
        (effect,),
        f"Picks of one rater are alike beyond the common utilities with correlation {icc:.3f} (95% "
        f"{effect.low:.3f} to {effect.high:.3f}) {words(p)}: {g} raters with {m:.0f} picks each are worth "
        f"{1 / max(1 + (m - 1) * icc, 1e-9):.0%} of as many independent picks.",
        {"raters": g, "picks_per_rater": m, "shuffles": shuffles, "design_effect": 1 + (m - 1) * icc},
    )


def rater_findings(
    slates: Slates, x: np.ndarray, utilities: np.ndarray, informative: bool
) -> tuple[AssumptionTest, AssumptionTest, list[RaterScale]]:
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


def _at_random(n: int, judged: list[RaterScale], power: float) -> AssumptionTest:
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
    return AssumptionTest(RANDOM, verdict_, n, p, (), f"{said}.", figures)


def _differing(n: int, judged: list[RaterScale]) -> AssumptionTest:
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
    return AssumptionTest(ODD, verdict(p), n, p, (effect,), f"{said} {words(p)}{note}.", figures)


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
