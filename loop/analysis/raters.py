"""Tests that compare raters: agreement, picks at random, and tastes unlike the others'.

Every test speaks of tastes that the given columns can express; a taste for something else looks like chance.
"""

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from scipy.special import log_ndtr, logsumexp, ndtr, stdtrit
from scipy.stats import chi2, ncx2

from loop.analysis.assumptions import DETECTABLE, LEVEL, AssumptionTest, Effect, in_brackets, undecided, verdict_of
from loop.analysis.log import Slates

AGREE, RANDOM, ODD = "disagreement between raters", "raters at random", "tastes unlike the others'"
LEAST_RATERS, LEAST_PICKS = 4, 8
LEAST_VARIANCE = 1.0  # of a rater's summed score, in picks; columns that the rater hardly saw say nothing
DROPPED = 1e-9  # share of the largest eigenvalue under which columns follow from each other
STRENGTHS = np.geomspace(2e-4, 8.0, 80)  # squared length of a taste's mean score per pick
USUAL = np.geomspace(2e-3, 4.0, 32)  # candidates for the median strength
SPREADS = np.array([0.15, 0.3, 0.5, 0.75, 1.1])  # candidates for the standard deviation of log strength
SHARES = np.array([0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7])  # candidates for the share of raters without a taste
ENOUGH_POWER = 0.5  # of naming a rater at random, from which on naming none says something
OWN = 0.01  # p-value of picks at random under which a rater's own picks show a taste
SHUFFLES = 999
SHUFFLED = 20_000_000  # numbers to add up in all shuffles; more picks get fewer shuffles
STEPS, REACH = 60, 40.0  # of the fit of each rater's scale: iterations, and the largest |scale|
NAMED = 6  # raters that a sentence names
Manner = Literal["like the others", "less sure", "other tastes", "at random", "unclear"]


def sums_by_rater(values: np.ndarray, rater: np.ndarray, g: int) -> np.ndarray:
    """(g, d) sums of (n, d) values over the slates of each of g raters, from the (n,) index of each slate's rater."""
    if not values.shape[1]:  # no feature varies within slates
        return np.zeros((g, 0))
    return np.stack([np.bincount(rater, column, g) for column in values.T], axis=1)


def disagreement(slates: Slates, scores: np.ndarray, inverse: np.ndarray, rng: np.random.Generator) -> AssumptionTest:
    """Tests that picks are exchangeable between raters: tastes of their own would make one rater's picks alike.

    The effect is the intraclass correlation of the picks' scores, whitened and scaled to mean square 1: with `S_g` the
    sum of rater g's scores and `m_g` its picks, `sum_g (|S_g|^2 - sum |s|^2) / sum_g m_g (m_g - 1)`. It is 0 where
    tastes are common; m picks of a rater are worth `m / (1 + (m - 1) icc)` independent ones. Its 95% interval is the
    jackknife's over raters, with Student's t. The p-value is the share of shuffles of picks between raters with at
    least as much correlation; it is exact whatever the utilities are, because slates are given out at random.

    Args:
        slates: n of them.
        scores: (n, d) gradients of each pick's log-probability.
        inverse: (d, d) inverse information, by which scores are whitened.
        rng: shuffles.
    """
    raters, rater, counts = np.unique(slates.raters, return_inverse=True, return_counts=True)
    g, d = len(raters), scores.shape[1]
    pairs = counts * (counts - 1.0)
    if not d:
        return undecided(AGREE, len(slates), "There is no utility to agree on: no feature could be estimated.")
    if g < LEAST_RATERS or not pairs.any():
        reason = f"{g} rater(s) answered; this needs {LEAST_RATERS} with two picks or more."
        return undecided(AGREE, len(slates), reason)
    white = scores @ np.linalg.cholesky(inverse)
    white /= np.sqrt((white**2).sum(axis=1).mean())
    squares = (sums_by_rater(white, rater, g) ** 2).sum(axis=1)
    alike = squares - np.bincount(rater, (white**2).sum(axis=1), g)
    icc = alike.sum() / pairs.sum()
    shuffles = int(np.clip(SHUFFLED / white.size, 99, SHUFFLES))
    shuffled = [(sums_by_rater(white, rng.permutation(rater), g) ** 2).sum() for _ in range(shuffles)]
    p = (1 + sum(value >= squares.sum() for value in shuffled)) / (1 + shuffles)
    without = (alike.sum() - alike) / np.maximum(pairs.sum() - pairs, 1)  # the correlation without each rater
    se = float(np.sqrt((g - 1) / g * ((without - without.mean()) ** 2).sum()))
    half = float(stdtrit(g - 1, 0.975)) * se
    detectable = DETECTABLE * float(np.std(shuffled) / pairs.sum())
    effect = Effect("intraclass correlation of picks", icc, icc - half, icc + half, detectable)
    m = float((counts**2).sum() / counts.sum())
    return AssumptionTest(
        AGREE,
        verdict_of(p),
        len(slates),
        p,
        (effect,),
        f"Picks of one rater are alike beyond the common utilities with correlation {icc:.3f} (95% "
        f"{effect.low:.3f} to {effect.high:.3f}) {in_brackets(p)}: {g} raters with {m:.0f} picks each are worth "
        f"{1 / max(1 + (m - 1) * icc, 1e-9):.0%} of as many independent picks.",
        {"raters": g, "picks_per_rater": m, "shuffles": shuffles, "design_effect": 1 + (m - 1) * icc},
    )


@dataclass(frozen=True, slots=True)
class OwnTastes:
    """The evidence of a taste of any kind in each of g raters' own picks.

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


def own_tastes(slates: Slates, x: np.ndarray, rater: np.ndarray, g: int) -> OwnTastes:
    """Tests each rater's picks for any taste, and for less taste than is usual.

    The statistic is the score test that a rater's own utilities are all 0, `T = S' V^-1 S` with S the summed score and
    V its covariance at random, in the directions that the rater saw enough of. At random T is nearly chi-square; where
    a rater with m picks has a taste it is nearly noncentral chi-square with noncentrality m times a strength. Strengths
    are taken as lognormal between raters, some of whom may have none; the lognormal's parameters and that share are
    averaged over their posterior given the *other* raters, so that nobody's own picks enter the law that they are
    held against.

    Args:
        slates: n of them.
        x: (rows, d) columns about samples.
        rater: (n,) index of each slate's rater, 0 to g - 1.
        g: raters.

    Source: score test, Rao 1948; two groups and an empirical prior, Efron 2008.
    """
    sums, covariance = whitened_scores(slates, x, rater, g)
    values, vectors = np.linalg.eigh(covariance)
    seen = values >= LEAST_VARIANCE
    along = np.einsum("gdj,gd->gj", vectors, sums)
    statistic = (np.where(seen, along, 0.0) ** 2 / np.where(seen, values, 1.0)).sum(axis=1)
    df = seen.sum(axis=1)
    picks = np.where(df > 0, np.where(seen, values, 0.0).sum(axis=1) / np.maximum(df, 1), 0.0)
    laws, posterior = strength_laws(statistic, df, picks)
    p_usual = np.array([
        float(ncx2.cdf(statistic[i], df[i], picks[i] * STRENGTHS) @ (posterior[i] @ laws)) if df[i] else 1.0
        for i in range(g)
    ])  # fmt: skip
    p = np.where(df > 0, chi2.sf(statistic, np.maximum(df, 1)), 1.0)
    return OwnTastes(statistic, df, p, p_usual, naming_power(df, picks, posterior.mean(axis=0) @ laws))


def whitened_scores(slates: Slates, x: np.ndarray, rater: np.ndarray, g: int) -> tuple[np.ndarray, np.ndarray]:
    """Each rater's summed score at utilities of 0, with its covariance under picks at random.

    Columns are whitened by all slates: a pick's score has mean 0 and covariance I on the average over slates.

    Returns:
        (g, d') sums and (g, d', d') covariances, d' the number of columns that don't follow from others.
    """
    z = slates.centred(x)
    share = 1 / slates.per_sample(slates.sizes)
    values, vectors = np.linalg.eigh(z.T @ (share[:, None] * z) / len(slates))
    independent = values > DROPPED * values.max(initial=0.0)
    white = z @ (vectors[:, independent] / np.sqrt(values[independent]))
    d, rater_of_row = white.shape[1], slates.per_sample(rater)
    sums, covariance = np.zeros((g, d)), np.zeros((g, d, d))
    for i in range(d):
        sums[:, i] = np.bincount(rater, white[slates.rows, i], g)
        for j in range(i + 1):
            product = np.bincount(rater_of_row, share * white[:, i] * white[:, j], g)
            covariance[:, i, j] = covariance[:, j, i] = product
    return sums, covariance


def strength_laws(statistic: np.ndarray, df: np.ndarray, picks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Candidate laws of the strength of a taste, and the probability of each given all raters but one.

    A candidate is a median of `USUAL`, a spread of `SPREADS`, and a share of raters without a taste of `SHARES`; all
    are equally likely a priori.

    Args:
        statistic: (g,) of the score test.
        df: (g,) its degrees of freedom; 0 for raters that say nothing.
        picks: (g,) effective picks of each rater.

    Returns:
        (h, strengths) probabilities of `STRENGTHS` under each candidate for a rater with a taste, and the (g, h)
        posterior for each rater from the others.
    """
    distance = (np.log(STRENGTHS) - np.log(USUAL)[:, None, None]) / SPREADS[None, :, None]
    laws = np.exp(-(distance**2) / 2).reshape(-1, len(STRENGTHS))
    laws /= laws.sum(axis=1, keepdims=True)
    informative = df > 0
    scale = np.maximum(df, 1)[:, None]
    tasteful = ncx2.pdf(np.maximum(statistic, 1e-9)[:, None], scale, picks[:, None] * STRENGTHS) @ laws.T
    tasteless = chi2.pdf(np.maximum(statistic, 1e-9), scale[:, 0])
    mixed = (1 - SHARES)[:, None] * tasteful[:, None, :] + SHARES[:, None] * tasteless[:, None, None]
    logs = np.where(informative[:, None], np.log(np.maximum(mixed.reshape(len(df), -1), 1e-300)), 0.0)
    others = logs.sum(axis=0) - logs
    posterior = np.exp(others - logsumexp(others, axis=1, keepdims=True))
    return np.tile(laws, (len(SHARES), 1)), posterior


def naming_power(df: np.ndarray, picks: np.ndarray, law: np.ndarray) -> float:
    """The chance that a rater at random, of median picks, is named among so many raters.

    Named is whose p_usual times the number of raters is under `LEVEL` while p isn't.

    Args:
        df: (g,) degrees of freedom; 0 for raters that say nothing.
        picks: (g,) effective picks.
        law: (strengths,) probabilities of `STRENGTHS`.
    """
    informative = df > 0
    if not informative.any():
        return 0.0
    d, m = int(np.median(df[informative])), float(np.median(picks[informative]))
    statistics = chi2.ppf(np.linspace(0.005, 1 - LEVEL, 190), d)
    tails = ncx2.cdf(statistics[:, None], d, m * STRENGTHS) @ law
    named = tails * informative.sum() < LEVEL
    return float(chi2.cdf(statistics[named][-1], d)) if named.any() else 0.0


@dataclass(frozen=True, slots=True)
class Scales:
    """A factor on the common utilities for each of g raters.

    Attributes:
        scale: (g,) the most likely.
        se: (g,) standard errors, by the curvature.
        below_one: (g,) p-values of a factor of 1 against smaller ones.
    """

    scale: np.ndarray
    se: np.ndarray
    below_one: np.ndarray


def rater_scales(slates: Slates, utilities: np.ndarray, rater: np.ndarray, g: int) -> Scales:
    """One conditional logit per rater with the common utility as its only column, all at once by bracketed Newton.

    Args:
        slates: n of them.
        utilities: (rows,) fitted to all raters together.
        rater: (n,) index of each slate's rater, 0 to g - 1.
        g: raters.
    """
    row = slates.per_sample(rater)
    unit = float(np.sqrt((slates.centred(utilities) ** 2).mean()))
    v = utilities / unit
    observed = np.bincount(rater, v[slates.rows], g)
    low, high, s = np.full(g, -REACH), np.full(g, REACH), np.full(g, unit)
    for _ in range(STEPS):
        mean, variance = mean_and_variance(slates, v, s[row], rater, g)
        low, high = np.where(mean < observed, s, low), np.where(mean < observed, high, s)
        step = s + (observed - mean) / np.maximum(variance, 1e-300)
        step = np.where((step > low) & (step < high), step, (low + high) / 2)
        moved, s = np.abs(step - s).max(), step
        if moved < 1e-9:
            break
    variance = mean_and_variance(slates, v, s[row], rater, g)[1]
    below_one = lower_tail(slates, v, s, unit, variance, rater, g)
    return Scales(s / unit, 1 / np.sqrt(np.maximum(variance, 1e-12)) / unit, below_one)


def mean_and_variance(
    slates: Slates, v: np.ndarray, scale: np.ndarray, rater: np.ndarray, g: int
) -> tuple[np.ndarray, np.ndarray]:
    """(g,) means and variances of each rater's sum of the picked samples' v, at utilities `scale * v` of (rows,)."""
    p = np.exp(slates.log_probabilities(scale * v))
    mean = slates.total(p * v)
    variance = slates.total(p * v**2) - mean**2
    return np.bincount(rater, mean, g), np.bincount(rater, variance, g)


def lower_tail(
    slates: Slates, v: np.ndarray, best: np.ndarray, true: float, variance: np.ndarray, rater: np.ndarray, g: int
) -> np.ndarray:
    """(g,) the chance of an estimated factor on v as small as `best` or smaller, where the true one is `true`.

    `Phi(r + log(w / r) / r)` with r the signed root of the likelihood ratio and w Wald's statistic: it holds in the far
    tail with a dozen picks, where a normal error doesn't.

    Args:
        slates: n of them.
        v: (rows,) the column.
        best: (g,) most likely factors.
        true: the factor under the hypothesis.
        variance: (g,) information at `best`.
        rater: (n,) index of each slate's rater, 0 to g - 1.
        g: raters.

    Source: Barndorff-Nielsen 1986, "Inference on full or partial parameters based on the standardized signed log
    likelihood ratio".
    """
    at_best = slates.log_probabilities(best[slates.per_sample(rater)] * v)[slates.rows]
    at_true = slates.log_probabilities(true * v)[slates.rows]
    gained = np.bincount(rater, at_best - at_true, g)
    r = np.sign(best - true) * np.sqrt(2 * np.maximum(gained, 0))
    w = (best - true) * np.sqrt(variance)
    usable = (np.abs(r) > 0.05) & (np.abs(best) < 0.9 * REACH) & (w / np.where(r == 0, 1, r) > 0)
    ratio = np.where(usable, w / np.where(usable, r, 1), 1.0)
    corrected = np.where(usable, r + np.log(ratio) / np.where(usable, r, 1), r)
    return np.where(corrected > -5, ndtr(corrected), np.exp(log_ndtr(corrected)))


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
        manner: see `manner_of`.
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


def manner_of(scales: Scales, tastes: OwnTastes, i: int, n: int, informative: bool) -> Manner:
    """The manner in which rater i of n picks.

    'at random' where p_usual times the number of raters is under 5% and p isn't. Of those whose scale is below 1
    (below_one times the number of raters is under 5%) 'less sure' where its 95% interval lies above 0, else 'other
    tastes' where p is under 1%, else 'unclear'. Scales count only if the utilities explain picks (`informative`).
    """
    if n * tastes.p_usual[i] < LEVEL <= tastes.p[i]:
        return "at random"
    if not informative or n * scales.below_one[i] >= LEVEL:
        return "like the others"
    if scales.scale[i] - 1.96 * scales.se[i] > 0:
        return "less sure"
    return "other tastes" if tastes.p[i] < OWN else "unclear"


def rater_tests(
    slates: Slates, x: np.ndarray, utilities: np.ndarray, informative: bool
) -> tuple[AssumptionTest, AssumptionTest, list[RaterScale]]:
    """Looks for raters whose picks carry no taste at all, and raters who follow the common utilities too little.

    Args:
        slates: n of them.
        x: (rows, d) the columns that tastes may lie in.
        utilities: (rows,) fitted to all raters together.
        informative: True if the utilities explain picks at all; if they don't, nobody can stray from them.

    Returns:
        The test for picks at random, the one for tastes that differ, each with a p-value corrected for the number of
        raters (Bonferroni), and every rater's figures, those who follow the utilities least first.
    """
    distinct, counts = np.unique(slates.raters, return_counts=True)
    g = int((counts >= LEAST_PICKS).sum())
    if g < LEAST_RATERS or not x.shape[1]:
        reason = f"This needs {LEAST_RATERS} raters of {LEAST_PICKS} picks or more, and a feature of the samples."
        return undecided(RANDOM, len(slates), reason), undecided(ODD, len(slates), reason), []
    chosen, rows = slates.subset(np.isin(slates.raters, distinct[counts >= LEAST_PICKS]))
    ids, rater, picks = np.unique(chosen.raters, return_inverse=True, return_counts=True)
    scales, tastes = rater_scales(chosen, utilities[rows], rater, g), own_tastes(chosen, x[rows], rater, g)
    raters = [
        RaterScale(
            rater=int(ids[i]),
            picks=int(picks[i]),
            scale=float(scales.scale[i]),
            se=float(scales.se[i]),
            p_alone=float(scales.below_one[i]),
            p=min(1.0, g * float(scales.below_one[i])),
            p_own=float(tastes.p[i]),
            p_usual=float(tastes.p_usual[i]),
            manner=manner_of(scales, tastes, i, g, informative),
        )
        for i in range(g)
    ]
    raters.sort(key=lambda row: (row.p_alone, row.p_usual))
    if informative:
        differing = tastes_test(len(slates), raters)
    else:
        differing = undecided(ODD, len(slates), "The utilities explain nobody's picks, so nobody strays from them.")
    return randomness_test(len(slates), raters, tastes.power), differing, raters


def randomness_test(n: int, raters: list[RaterScale], power: float) -> AssumptionTest:
    """The test for raters at random, from all raters' figures.

    The p-value is the smallest p_usual of raters whose own picks show no taste, times the number of raters. Naming
    nobody is a finding only where a rater at random would have been named with a probability of `ENOUGH_POWER`.

    Args:
        n: picks.
        raters: their figures.
        power: chance that a rater of median picks who picks at random would be named.
    """
    named = [row for row in raters if row.manner == "at random"]
    p = min(1.0, len(raters) * min((row.p_usual for row in raters if row.p_own >= LEVEL), default=1.0))
    chance = f"someone of median picks who picks at random would have been named with probability {power:.0%}"
    if named:
        verdict, names = "found", "; ".join(f"rater {row.rater} ({row.picks} picks)" for row in named[:NAMED])
        more = f"; and {len(named) - NAMED} more" if len(named) > NAMED else ""
        sentence = (
            f"{len(named)} of {len(raters)} raters picked as if at random: {names}{more}. Their picks show no taste of "
            f"any kind that these features could show, where a taste as strong as the others' would have shown "
            f"{in_brackets(p)}; a taste for something else can't be told from chance."
        )
    elif power >= ENOUGH_POWER:
        verdict, sentence = "not found", f"None of {len(raters)} raters is seen to pick at random; {chance}."
    else:
        verdict, sentence = "can't tell", f"The picks can't show who picks at random: {chance}."
    figures = {
        "tested": len(raters),
        "power": power,
        "named": [asdict(row) for row in named],
        "least_taste": asdict(min(raters, key=lambda row: row.p_usual)),
    }
    return AssumptionTest(RANDOM, verdict, n, p, (), sentence, figures)


def tastes_test(n: int, raters: list[RaterScale]) -> AssumptionTest:
    """The test for raters who follow the common utilities less than the others do.

    The p-value is the smallest one that a rater's scale is 1, times the number of raters.

    Args:
        n: picks.
        raters: their figures, the smallest p first.
    """
    odd, p = [row for row in raters if row.p < LEVEL], raters[0].p
    lowest = min(raters, key=lambda row: row.scale)
    effect = Effect(
        f"scale of rater {lowest.rater}, the lowest (1: like the others, 0: no relation, below 0: the opposite)",
        lowest.scale,
        lowest.scale - 1.96 * lowest.se,
        lowest.scale + 1.96 * lowest.se,
    )
    if odd:
        names = "; ".join(
            f"rater {row.rater} {row.manner} ({row.picks} picks, scale {row.scale:.2f})" for row in odd[:NAMED]
        )
        more = f"; and {len(odd) - NAMED} more" if len(odd) > NAMED else ""
        sentence = (
            f"{len(odd)} of {len(raters)} raters follow the common utilities less than the others do: {names}{more} "
            f"{in_brackets(p)}. A minority's taste is a taste: that is no reason to leave anyone out."
        )
    else:
        sentence = (
            f"None of {len(raters)} raters follows the common utilities less than the others do {in_brackets(p)}."
        )
    figures = {"tested": len(raters), "odd": [asdict(row) for row in odd]}
    return AssumptionTest(ODD, verdict_of(p), n, p, (effect,), sentence, figures)
