"""The test that the rewards act at their declared scale, exact enough for few picks and far tails."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import logsumexp, ndtr

from loop.selfcheck.rule import Rule
from loop.selfcheck.tables import Choices

LEAST_INFORMATION = 1e-18  # about beta; below it the rewards of a slate are equal but for rounding
FAR = 1e9  # of the tilt, in units of one standard deviation of the score


def score_test(blocks: Sequence[Choices], rule: Rule) -> tuple[float, float] | None:
    """(z, two-sided p) of beta = 1; None when the rewards tell too little.

    The score `U = sum d log P(pick) / d beta` has mean 0 and a known cumulant function under the rule, so its tail is
    taken by the saddlepoint (Barndorff-Nielsen's r*), which holds where a normal law wouldn't: few picks, or rewards so
    far apart that hardly any pick is open. At the end of U's range the tail is the probability of that one outcome.

    Source: Daniels 1987, "Tail probability approximations"; Barndorff-Nielsen 1986, "Inference on full or partial
    parameters based on the standardized signed log likelihood ratio".
    """
    terms = [_score_terms(block, rule) for block in blocks]
    information = _cumulants(terms, 0.0)[2]
    if information < LEAST_INFORMATION:
        return None
    terms = [(log_p, slope / math.sqrt(information)) for log_p, slope in terms]
    z = sum(float(s[np.arange(len(b)), b.picked].sum()) for b, (_, s) in zip(blocks, terms, strict=True))
    if abs(z) < 0.02:
        return z, float(2 * ndtr(-abs(z)))
    theta, (cumulant, _, curvature), inside = _saddlepoint(terms, z)
    w = math.sqrt(max(2 * (theta * z - cumulant), 0.0))
    if not inside:
        return z, min(1.0, 2 * math.exp(-w * w / 2))
    v = abs(theta) * math.sqrt(curvature)
    return z, float(2 * ndtr(-abs(w + math.log(v / w) / w)))


def score_shifts(blocks: Sequence[Choices], rule: Rule) -> tuple[float, float]:
    """By how many standard deviations the score moves per unit of beta, and per share of picks that are lapses."""
    terms = [_score_terms(block, rule) for block in blocks]
    sd = math.sqrt(_cumulants(terms, 0.0)[2])
    lapse = sum(float((rule.by_lapse(b.rewards) * s).sum()) for b, (_, s) in zip(blocks, terms, strict=True))
    return sd, lapse / sd


def _score_terms(block: Choices, rule: Rule) -> tuple[np.ndarray, np.ndarray]:
    """(n, K) log P and (n, K) d log P / d beta at beta = 1."""
    p = rule.luce(block.rewards)
    total = rule.lapse / p.shape[1] + (1 - rule.lapse) * p
    slope = block.rewards - (p * block.rewards).sum(axis=1, keepdims=True)
    if rule.lapse:
        slope = slope * ((1 - rule.lapse) * p / total)
        return np.log(total), slope
    utilities = block.rewards + np.asarray(rule.bias or 0.0)
    return utilities - logsumexp(utilities, axis=1, keepdims=True), slope


def _cumulants(terms: Sequence[tuple[np.ndarray, np.ndarray]], theta: float) -> tuple[float, float, float]:
    """The cumulant function of the score at theta, with its first two derivatives."""
    value = mean = variance = 0.0
    for log_p, slope in terms:
        exponent = log_p + theta * slope
        top = exponent.max(axis=1, keepdims=True)
        weight = np.exp(exponent - top)
        total = weight.sum(axis=1, keepdims=True)
        weight /= total
        first = (weight * slope).sum(axis=1)
        value += float((np.log(total) + top).sum())
        mean += float(first.sum())
        variance += float((weight * slope**2).sum() - (first**2).sum())
    return value, mean, variance


def _saddlepoint(
    terms: Sequence[tuple[np.ndarray, np.ndarray]], z: float
) -> tuple[float, tuple[float, float, float], bool]:
    """Theta where the tilted mean is z, the cumulants there, and whether z lies inside the range of the score.

    Newton's method kept inside a bracket, from theta = 0 where mean and variance are 0 and 1.
    """
    low, high = (0.0, FAR) if z > 0 else (-FAR, 0.0)
    theta, found, gap = 0.0, (0.0, 0.0, 1.0), z
    for _ in range(60):
        step = theta + gap / found[2] if found[2] > 0 else math.inf
        theta = step if low < step < high else _between(low, high)
        found = _cumulants(terms, theta)
        gap = z - found[1]
        low, high = (theta, high) if gap > 0 else (low, theta)
        if abs(gap) < 1e-6 or high - low < 1e-9 * max(1.0, abs(theta)):
            break
    # picks at the end of the range are met by no finite theta: the tilted law has no variance left
    return theta, found, found[2] > 1e-6


def _between(low: float, high: float) -> float:
    return math.sinh((math.asinh(low) + math.asinh(high)) / 2)
