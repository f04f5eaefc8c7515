"""Checks of the picks against the declared rule: their frequencies, their scale, and the limit K = inf.

Each gives a `Finding`; its p-value is the probability of a statistic as extreme or more in an honest study, whose users
pick by the declared rule on the recorded rewards.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq, minimize_scalar
from scipy.special import logsumexp, ndtr

from loop.selfcheck.rule import (
    LEAST_VARIANCE,
    AnsweredSlates,
    BinCounts,
    DeclaredRule,
    TieRule,
    chi_square,
    count_by_bin,
    noncentrality,
)
from loop.selfcheck.verdicts import Finding, by_chi_square

BINS = 10
LEAST_INFORMATION = 1e-18  # about beta; below it the rewards of a slate are equal but for rounding
FAR = 1e9  # of the tilt, in units of one standard deviation of the score
LIMIT = 1e3  # of |beta|; beyond it stands for infinity
GRID = np.concatenate([[-LIMIT, -30, -3, 0, 0.3, 0.7], [1, 1.5, 3, 10, 30, 100, LIMIT]])
HALF_CHI2_95 = 1.9207  # half the 95% point of chi-square with one degree of freedom
LEAST_EFFECTIVE = 200  # fresh samples that carry the weight, as if all weighed the same
LEAST_WITHIN = 50  # of them, within each condition


def frequencies(blocks: Sequence[AnsweredSlates], rule: DeclaredRule, t: int | None) -> Finding:
    """Picks counted by the probability that the rule gave to what was picked.

    A chi-square of the counts in bins of probability, with their exact covariance (`rule.chi_square`).
    """
    weighed = [(block, rule.probabilities(block.rewards)) for block in blocks]
    edges = equal_variance_edges(np.concatenate([p.ravel() for _, p in weighed]))
    counts = count_by_bin(weighed, lambda p: np.searchsorted(edges, p, side="right"), len(edges) + 1)
    test = chi_square(counts.observed - counts.expected, counts.covariance)
    n = int(counts.observed.sum())
    compared = f"{n:,} simulated picks counted by the probability that the declared rule gave them"
    if not test.df:
        return Finding("pick frequencies", t, n, compared, "too few to compare")
    worst = counts.worst
    declared, observed = (float(c[worst] / max(counts.items[worst], 1)) for c in (counts.expected, counts.observed))

    def by(factor: float, lapse: float) -> float:
        """The noncentrality where users have this factor on the rewards and so many more lapses."""
        shift = np.zeros(len(counts.observed))
        for block, p in weighed:
            bins = np.searchsorted(edges, p, side="right")
            faulty = replace(rule, lapse=rule.lapse + lapse).probabilities(factor * block.rewards)
            shift += np.bincount(bins.ravel(), (faulty - p).ravel(), len(shift))
        return noncentrality(shift, counts.covariance)

    return Finding(
        "pick frequencies",
        t,
        n,
        compared,
        f"chi-square {test.value:.1f} on {test.df} degrees of freedom; the largest gap is at samples of probability "
        f"{declared:.3f}, picked with frequency {observed:.3f}",
        "The picks don't follow the declared rule (Luce's, on the recorded rewards); 'scale' and 'positions' say how.",
        p=test.p,
        figures={**counts.figures(test), "worst_bin": worst, "declared": declared, "observed": observed},
        detectable=(
            by_chi_square("scale", "a factor on the rewards off by {}", lambda size: by(1 + size, 0.0), test.df),
            by_chi_square("lapse", "a lapse of {} more", lambda size: by(1.0, size), test.df, most=1 - rule.lapse),
        ),
    )


def equal_variance_edges(p: np.ndarray) -> np.ndarray:
    """(B - 1,) probabilities between bins in each of which the number of picks varies about as much."""
    p = np.sort(p)
    variance = np.cumsum(p * (1 - p))
    bins = int(np.clip(variance[-1] / (2 * LEAST_VARIANCE), 2, BINS))
    places = np.searchsorted(variance, variance[-1] * np.arange(1, bins) / bins)
    return np.unique(p[places])


def positions(blocks: Sequence[AnsweredSlates], rule: DeclaredRule, t: int | None) -> Finding:
    """Picks counted by position, ties beside them: a chi-square with their exact covariance (`rule.chi_square`)."""
    weighed = [(block, rule.probabilities(block.rewards)) for block in blocks]
    k = max(p.shape[1] for _, p in weighed)
    counts = count_by_bin(weighed, lambda p: np.broadcast_to(np.arange(p.shape[1]), p.shape), k)
    test = chi_square(counts.observed - counts.expected, counts.covariance)
    n = int(counts.observed.sum())
    compared = f"{n:,} simulated picks counted by position"
    if not test.df:
        return Finding("positions", t, n, compared, "too few to compare")
    worst = counts.worst
    declared, observed = counts.expected[worst] / n, counts.observed[worst] / n
    by_bias = bias_noncentrality(blocks, rule, counts)
    tie = worst == blocks[0].rewards.shape[1] and isinstance(rule, TieRule)
    answer = "ties" if tie else f"position {worst + 1} of {k - isinstance(rule, TieRule)}"
    wrong = "Ties are" if tie else f"Position {worst + 1} is"
    return Finding(
        "positions",
        t,
        n,
        compared,
        f"chi-square {test.value:.1f} on {test.df} degrees of freedom; {answer} got "
        f"{observed:.1%}, expected {declared:.1%}",
        f"{wrong} {'favoured' if observed > declared else 'avoided'} whatever stands there, and the declared rule "
        f"doesn't say so (curation.{'tie_theta' if tie else 'position_bias'}).",
        p=test.p,
        figures={**counts.figures(test), "worst_position": worst, "declared": declared, "observed": observed},
        detectable=(by_chi_square("position_bias", "a position bias of {}", by_bias, test.df),),
    )


def bias_noncentrality(
    blocks: Sequence[AnsweredSlates], rule: DeclaredRule, counts: BinCounts
) -> Callable[[float], float]:
    """The noncentrality that a position bias gives by its size, at the position where it shows least."""

    def by(size: float, position: int) -> float:
        shift = np.zeros(len(counts.observed))
        for block in blocks:
            k = block.rewards.shape[1]
            if position < k:
                added = np.where(np.arange(k) == position, size, 0.0) + np.asarray(rule.bias or 0.0)
                faulty = replace(rule, bias=tuple(added)).probabilities(block.rewards)
                shift[: faulty.shape[1]] += (faulty - rule.probabilities(block.rewards)).sum(axis=0)
        return noncentrality(shift, counts.covariance)

    weakest = min(range(len(counts.observed)), key=lambda position: by(0.01, position))
    return lambda size: by(size, weakest)


class Cumulants(NamedTuple):
    """The cumulant function of a score at some theta, with its first two derivatives: the tilted mean and variance."""

    value: float
    mean: float
    variance: float


@dataclass(frozen=True, slots=True)
class ScoreLaw:
    """The law under the rule of the score `U = sum over slates of d log P(pick) / d beta`.

    beta is a factor on the rewards, 1 under the rule. U has mean 0. Picks are independent, so its cumulant function is
    the sum over slates of `log sum_j P_j exp(theta s_j)`, s_j the slope of log P_j.

    Attributes:
        terms: of each block, (n, K) log P and (n, K) d log P / d beta, at beta = 1.
    """

    terms: Sequence[tuple[np.ndarray, np.ndarray]]

    @classmethod
    def of(cls, blocks: Sequence[AnsweredSlates], rule: DeclaredRule) -> "ScoreLaw":
        """The law for the slates of some blocks."""
        terms = []
        for block in blocks:
            p = rule.luce(block.rewards)
            slope = block.rewards - (p * block.rewards).sum(axis=1, keepdims=True)
            if rule.lapse:
                total = rule.lapse / p.shape[1] + (1 - rule.lapse) * p
                terms.append((np.log(total), slope * ((1 - rule.lapse) * p / total)))
            else:
                utilities = block.rewards + np.asarray(rule.bias or 0.0)
                terms.append((utilities - logsumexp(utilities, axis=1, keepdims=True), slope))
        return cls(terms)

    def in_units(self, unit: float) -> "ScoreLaw":
        """The law of U / unit."""
        return ScoreLaw([(log_p, slope / unit) for log_p, slope in self.terms])

    def observed(self, blocks: Sequence[AnsweredSlates]) -> float:
        """The score of the blocks' picks."""
        slopes = (slope for _, slope in self.terms)
        return sum(float(s[np.arange(len(b)), b.picked].sum()) for b, s in zip(blocks, slopes, strict=True))

    def cumulants(self, theta: float) -> Cumulants:
        """The cumulants of the law tilted by exp(theta U)."""
        value = mean = variance = 0.0
        for log_p, slope in self.terms:
            exponent = log_p + theta * slope
            top = exponent.max(axis=1, keepdims=True)
            weight = np.exp(exponent - top)
            total = weight.sum(axis=1, keepdims=True)
            weight /= total
            first = (weight * slope).sum(axis=1)
            value += float((np.log(total) + top).sum())
            mean += float(first.sum())
            variance += float((weight * slope**2).sum() - (first**2).sum())
        return Cumulants(value, mean, variance)

    def saddlepoint(self, z: float) -> tuple[float, Cumulants]:
        """The theta at which the tilted mean is z, of a law with variance 1, and the cumulants there.

        Newton's method kept inside a bracket, from theta = 0 where mean and variance are 0 and 1. A z at the end of
        U's range is met by no finite theta; then the tilted law has no variance left.
        """
        low, high = (0.0, FAR) if z > 0 else (-FAR, 0.0)
        theta, tilted, gap = 0.0, Cumulants(0.0, 0.0, 1.0), z
        for _ in range(60):
            step = theta + gap / tilted.variance if tilted.variance > 0 else math.inf
            theta = step if low < step < high else math.sinh((math.asinh(low) + math.asinh(high)) / 2)
            tilted = self.cumulants(theta)
            gap = z - tilted.mean
            low, high = (theta, high) if gap > 0 else (low, theta)
            if abs(gap) < 1e-6 or high - low < 1e-9 * max(1.0, abs(theta)):
                break
        return theta, tilted


def score_test(blocks: Sequence[AnsweredSlates], rule: DeclaredRule) -> tuple[float, float] | None:
    """(z, two-sided p) of beta = 1; None when the rewards tell too little.

    z is the score in standard deviations. Its tail is taken by the saddlepoint, `Phi(w + log(v / w) / w)` with
    `w = sqrt(2 (theta z - K(theta)))` and `v = theta sqrt(K''(theta))`, which holds where a normal law wouldn't: few
    picks, or rewards so far apart that hardly any pick is open. At the end of the score's range the tail is the
    probability of that one outcome, `exp(-w^2 / 2)`.

    Source: Daniels 1987, "Tail probability approximations"; Barndorff-Nielsen 1986, "Inference on full or partial
    parameters based on the standardized signed log likelihood ratio" (r*).
    """
    law = ScoreLaw.of(blocks, rule)
    information = law.cumulants(0.0).variance
    if information < LEAST_INFORMATION:
        return None
    law = law.in_units(math.sqrt(information))
    z = law.observed(blocks)
    if abs(z) < 0.02:
        return z, float(2 * ndtr(-abs(z)))
    theta, tilted = law.saddlepoint(z)
    w = math.sqrt(max(2 * (theta * z - tilted.value), 0.0))
    if tilted.variance <= 1e-6:
        return z, min(1.0, 2 * math.exp(-w * w / 2))
    v = abs(theta) * math.sqrt(tilted.variance)
    return z, float(2 * ndtr(-abs(w + math.log(v / w) / w)))


def score_shifts(blocks: Sequence[AnsweredSlates], rule: DeclaredRule) -> tuple[float, float]:
    """Standard deviations by which the score moves per unit of beta, and per share of picks that are lapses."""
    law = ScoreLaw.of(blocks, rule)
    sd = math.sqrt(law.cumulants(0.0).variance)
    slopes = (slope for _, slope in law.terms)
    lapse = sum(float((rule.by_lapse(b.rewards) * s).sum()) for b, s in zip(blocks, slopes, strict=True))
    return sd, lapse / sd


def _number(value: float) -> str:
    return ("-" if value < 0 else "") + "infinite" if math.isinf(value) else f"{value:.3g}"


@dataclass(frozen=True, slots=True)
class ScaleEstimate:
    """Maximum-likelihood beta with its 95% likelihood interval; infinite where the likelihood has no maximum."""

    beta: float
    low: float
    high: float

    @property
    def sentence(self) -> str:
        """The estimate in words, to follow a colon."""
        if math.isinf(self.low) and math.isinf(self.high):
            return "the rewards in a slate differ too little to tell the factor on them"
        return (
            f"factor {_number(self.beta)} on the declared rewards (95% {_number(self.low)} to {_number(self.high)}; "
            "1 is as declared)"
        )

    def meaning(self, best_share: float) -> str:
        """The meaning of a factor other than 1, given the share of picks that are the best of their slate."""
        if best_share == 1:
            return (
                "Every pick is the best of its slate: the users take the maximum (a cut of the best, top-k or argmax) "
                "and don't pick by Luce's rule."
            )
        if self.beta > 1:
            return (
                f"The users are surer than declared, as if a hidden temperature of {_number(1 / self.beta)} divided "
                f"the rewards; the best of the slate got {best_share:.1%} of the picks."
            )
        if self.beta > 0:
            return (
                "The picks follow the recorded rewards less than declared: undeclared lapses, a hidden temperature "
                "above 1, or users who go by another reward."
            )
        return "The picks don't follow the recorded rewards at all, or go against them: another reward is at work."


def scale(blocks: Sequence[AnsweredSlates], rule: DeclaredRule, t: int | None) -> Finding:
    """Estimates beta, the factor on the rewards behind the picks, and tests that it is 1 (`score_test`)."""
    n = sum(map(len, blocks))
    compared = f"The rewards' scale behind {n:,} simulated picks"
    test = score_test(blocks, rule)
    if test is None:
        return Finding("scale", t, n, compared, "the samples in a slate don't differ enough to tell")
    z, p = test
    fitted = estimate(blocks, rule)
    best = np.concatenate([b.rewards[np.arange(len(b)), b.picked] == b.rewards.max(axis=1) for b in blocks]).mean()
    by_scale, by_lapse = score_shifts(blocks, rule)
    excluded = fitted.low > 1 or fitted.high < 1
    return Finding(
        "scale",
        t,
        n,
        compared,
        fitted.sentence,
        fitted.meaning(float(best)),
        p=p,
        figures={"beta": fitted.beta, "low": fitted.low, "high": fitted.high, "z": z, "best_share": float(best)},
        detectable=(
            by_chi_square("scale", "a factor on the rewards off by {}", lambda size: (size * by_scale) ** 2, 1),
            by_chi_square("lapse", "a lapse of {} more", lambda size: (size * by_lapse) ** 2, 1, most=1 - rule.lapse),
        ),
        passed="The 95% interval leaves out 1, as those of one honest check in twenty do." if excluded else "",
    )


def estimate(blocks: Sequence[AnsweredSlates], rule: DeclaredRule) -> ScaleEstimate:
    """The maximum of the likelihood over |beta| <= `LIMIT`; at its ends it counts as infinite.

    The interval holds the beta whose log-likelihood is within half the 95% point of chi-square on 1 of the maximum.
    """
    likelihood = log_likelihood(blocks, rule)
    values = [likelihood(beta) for beta in GRID]
    at = int(np.argmax(values))
    if at in (0, len(GRID) - 1):
        beta, top = math.copysign(math.inf, GRID[at]), values[at]
    else:
        bounds = np.arcsinh(GRID[[at - 1, at + 1]])
        peak = minimize_scalar(lambda v: -likelihood(math.sinh(v)), bounds=bounds, method="bounded")
        beta, top = float(np.sinh(peak.x)), float(-peak.fun)
    inner = float(np.clip(beta, -LIMIT, LIMIT))
    low, high = (likelihood_bound(likelihood, top - HALF_CHI2_95, inner, end) for end in (-LIMIT, LIMIT))
    return ScaleEstimate(beta, low, high)


def log_likelihood(blocks: Sequence[AnsweredSlates], rule: DeclaredRule) -> Callable[[float], float]:
    """The log-likelihood of all picks as a function of beta."""
    bias = np.asarray(rule.bias or 0.0)
    gaps = [b.rewards - b.rewards[np.arange(len(b)), b.picked][:, None] for b in blocks]
    shifts = [bias - np.broadcast_to(bias, b.rewards.shape)[np.arange(len(b)), b.picked][:, None] for b in blocks]

    def value(beta: float) -> float:
        total = 0.0
        for gap, shift in zip(gaps, shifts, strict=True):
            exponent = beta * gap + shift
            if rule.lapse:
                p = 1 / np.exp(np.minimum(exponent, 600)).sum(axis=1)
                total += float(np.log(rule.lapse / gap.shape[1] + (1 - rule.lapse) * p).sum())
            else:
                total -= float(np.sum(np.asarray(logsumexp(exponent, axis=1))))
        return total

    return value


def likelihood_bound(likelihood: Callable[[float], float], target: float, inner: float, end: float) -> float:
    """The point between a likelihood's maximum and an end at which it falls to the target; infinite if it doesn't."""
    if inner == end or likelihood(end) >= target:
        return math.copysign(math.inf, end)
    root = brentq(lambda v: likelihood(math.sinh(v)) - target, math.asinh(inner), math.asinh(end), xtol=1e-4)
    return math.sinh(float(root))  # pyright: ignore[reportArgumentType]


def weighed_draws(
    picked: np.ndarray,
    fresh: np.ndarray,
    lapse: float,
    per_pick: float,
    t: int | None,
    under: tuple[np.ndarray, np.ndarray] | None = None,
) -> Finding:
    """Rewards of what was picked against those of fresh samples, weighed by lapse + (1 - lapse) exp(r) / E[exp(r)].

    A chi-square of the picks in bins of equal weight; the covariance of their counts is that of independent picks from
    a finite pool, plus that of the fresh samples' weights (delta method). Under conditions users pick from all samples
    of one: weights and bins are each condition's own, and counts and covariances add up.

    Args:
        picked: (n,) rewards by which the users judged.
        fresh: (m,) rewards of fresh samples, by the same judgement.
        lapse: share of picks made at random.
        per_pick: samples in the pool for each pick.
        t: the generation.
        under: (n,) and (m,) conditions; None in a study without.
    """
    groups = [(picked, fresh)]
    if under is not None:
        groups = [(picked[under[0] == name], fresh[under[1] == name]) for name in np.unique(under[0])]
    n, m = len(picked), len(fresh)
    compared = f"Rewards of {n:,} picks from all samples against {m:,} fresh ones weighed by exp(r)"
    compared += "" if under is None else ", within each condition"
    bins, parts = int(min(BINS, n // (2 * LEAST_VARIANCE))), []
    for own, others in groups:
        weights = luce_weights(others, lapse) if len(others) else np.zeros(0)
        carried = len(others) / float((weights**2).mean()) if len(others) else 0.0
        parts.append((own, others, weights, min(carried, carried * len(own) * per_pick / max(1, len(others)))))
    effective = sum(part[3] for part in parts)
    if effective < LEAST_EFFECTIVE or min(part[3] for part in parts) < LEAST_WITHIN or bins < 2:
        return Finding("weighed draws", t, n, compared, f"too few to compare ({effective:.0f} carry the weight)")
    observed, expected, covariance = np.zeros(bins), np.zeros(bins), np.zeros((bins, bins))
    by_scale, by_lapse, mean_expected = np.zeros(bins), np.zeros(bins), 0.0
    for own, others, weights, _ in parts:
        order, share = np.argsort(others), len(own) / n
        cumulated = np.cumsum(weights[order])
        edges = np.unique(others[order][np.searchsorted(cumulated, cumulated[-1] * np.arange(1, bins) / bins)])
        inside = np.searchsorted(edges, others, side="right")[:, None] == np.arange(bins)
        law = (weights[:, None] * inside).mean(axis=0)
        spread = weights[:, None] * (inside - law)
        noise = (1 / per_pick + len(own) / len(others)) * spread.T @ spread / len(others)
        covariance += len(own) * (np.diag(law) - np.outer(law, law) + noise)
        expected += len(own) * law
        observed += np.bincount(np.searchsorted(edges, own, side="right"), minlength=bins)
        luce = luce_weights(others, 0.0)
        by_scale += len(own) * (((1 - lapse) * luce * (others - float((luce * others).mean())))[:, None] * inside).mean(
            axis=0
        )
        by_lapse += len(own) * ((1 - luce)[:, None] * inside).mean(axis=0)
        mean_expected += share * float((weights * others).mean())
    test = chi_square(observed - expected, covariance)
    if not test.df:
        return Finding("weighed draws", t, n, compared, "the samples don't differ enough to tell")
    units = noncentrality(by_scale, covariance), noncentrality(by_lapse, covariance)
    return Finding(
        "weighed draws",
        t,
        n,
        compared,
        f"chi-square {test.value:.1f} on {test.df} degrees of freedom; mean reward {picked.mean():.3f}, expected "
        f"{mean_expected:.3f}",
        "The picks aren't draws by weight exp(r): "
        + (
            "they go further than declared, as in a cut of the best (top-k) or with a hidden temperature."
            if picked.mean() > mean_expected
            else "they go less far than declared, or by another reward."
        ),
        p=test.p,
        figures={
            "chi_square": test.value,
            "df": test.df,
            "mean_picked": float(picked.mean()),
            "mean_expected": mean_expected,
            "effective_fresh": effective,
        },
        detectable=(
            by_chi_square("scale", "a factor on the rewards off by {}", lambda size: size**2 * units[0], test.df),
            by_chi_square("lapse", "a lapse of {} more", lambda size: size**2 * units[1], test.df, most=1 - lapse),
        ),
    )


def luce_weights(fresh: np.ndarray, lapse: float) -> np.ndarray:
    """(m,) weights `lapse + (1 - lapse) exp(r) / mean exp(r)` of (m,) rewards; their mean is 1."""
    w = np.exp(fresh - fresh.max())
    return lapse + (1 - lapse) * w / w.mean()
