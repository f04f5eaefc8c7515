"""Do a rater's own picks show a taste of any kind, and would they have shown one of the strength that is usual here?

A rater *at random* is one whose picks carry no taste that the features can show. That others like something else proves
nothing: a minority's picks carry a taste of their own. So each rater is judged by his or her own picks alone, in all
directions of the features alike, and the others only say how strong tastes are.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from scipy.stats import chi2, ncx2

from loop.choice.finding import LEVEL
from loop.choice.slates import Slates

LEAST_VARIANCE = 1.0  # of a rater's summed score, in picks; columns that he or she hardly saw say nothing
DROPPED = 1e-9  # share of the largest eigenvalue under which columns follow from each other
STRENGTHS = np.geomspace(2e-4, 8.0, 80)  # squared length of a taste's mean score per pick
USUAL = np.geomspace(2e-3, 4.0, 32)
SPREADS = np.array([0.15, 0.3, 0.5, 0.75, 1.1])  # of log strength between raters
SHARES = np.array([0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7])  # of raters without a taste
SURE = 0.5  # chance of naming a rater at random from which on naming none says something


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
