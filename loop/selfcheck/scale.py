"""The factor beta on the rewards that explains the picks best: 1 as declared, 10 for a hidden temperature of 0.1.

`P(pick j) = lapse / K + (1 - lapse) softmax_j(beta r + bias)`. Users who always take the best send beta to infinity;
the test that beta is 1 (`loop.selfcheck.score`) holds there as well.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, minimize_scalar
from scipy.special import logsumexp

from loop.selfcheck.rule import Rule
from loop.selfcheck.score import score_shifts, score_test
from loop.selfcheck.tables import Choices
from loop.selfcheck.verdicts import Finding, by_chi_square

LIMIT = 1e3  # of |beta|; beyond it stands for infinity
GRID = np.concatenate([[-LIMIT, -30, -3, 0, 0.3, 0.7], [1, 1.5, 3, 10, 30, 100, LIMIT]])
HALF_CHI2_95 = 1.9207  # half the 95 % point of chi-square with one degree of freedom


@dataclass(frozen=True, slots=True)
class Scale:
    """Maximum-likelihood beta with its 95 % likelihood interval; infinite where the likelihood has no maximum."""

    beta: float
    low: float
    high: float


def scale(blocks: Sequence[Choices], rule: Rule, t: int | None) -> Finding:
    """Estimates beta and tests that it is 1."""
    n = sum(map(len, blocks))
    compared = f"The rewards' scale behind {n:,} simulated picks"
    test = score_test(blocks, rule)
    if test is None:
        return Finding("scale", t, n, compared, "the samples in a slate don't differ enough to tell")
    found = estimate(blocks, rule)
    best = np.concatenate([b.rewards[np.arange(len(b)), b.picked] == b.rewards.max(axis=1) for b in blocks]).mean()
    by_scale, by_lapse = score_shifts(blocks, rule)
    excluded = found.low > 1 or found.high < 1
    return Finding(
        "scale",
        t,
        n,
        compared,
        _told(found),
        _meaning(found, float(best)),
        p=test[1],
        figures={"beta": found.beta, "low": found.low, "high": found.high, "z": test[0], "best_share": float(best)},
        detectable=(
            by_chi_square("scale", "a factor on the rewards off by {}", lambda size: (size * by_scale) ** 2, 1),
            by_chi_square("lapse", "a lapse of {} more", lambda size: (size * by_lapse) ** 2, 1, most=1 - rule.lapse),
        ),
        passed="The 95 % interval leaves out 1, as those of one honest check in twenty do." if excluded else "",
    )


def estimate(blocks: Sequence[Choices], rule: Rule) -> Scale:
    """The maximum of the likelihood over |beta| <= `LIMIT`; at its ends it counts as infinite."""
    likelihood = _likelihood(blocks, rule)
    values = [likelihood(beta) for beta in GRID]
    at = int(np.argmax(values))
    if at in (0, len(GRID) - 1):
        beta, top = math.copysign(math.inf, GRID[at]), values[at]
    else:
        bounds = np.arcsinh(GRID[[at - 1, at + 1]])
        found = minimize_scalar(lambda v: -likelihood(math.sinh(v)), bounds=bounds, method="bounded")
        beta, top = float(np.sinh(found.x)), float(-found.fun)
    inner = float(np.clip(beta, -LIMIT, LIMIT))
    target = top - HALF_CHI2_95
    return Scale(beta, _edge(likelihood, target, inner, -LIMIT), _edge(likelihood, target, inner, LIMIT))


def _likelihood(blocks: Sequence[Choices], rule: Rule) -> Callable[[float], float]:
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
                total -= float(np.sum(logsumexp(exponent, axis=1)))
        return total

    return value


def _edge(likelihood: Callable[[float], float], target: float, inner: float, end: float) -> float:
    """Where the likelihood falls to the target between its maximum and an end; infinite if it doesn't."""
    if inner == end or likelihood(end) >= target:
        return math.copysign(math.inf, end)
    found = brentq(lambda v: likelihood(math.sinh(v)) - target, math.asinh(inner), math.asinh(end), xtol=1e-4)
    return math.sinh(float(found))  # pyright: ignore[reportArgumentType]


def _told(found: Scale) -> str:
    if math.isinf(found.low) and math.isinf(found.high):
        return "the rewards in a slate differ too little to tell the factor on them"
    return (
        f"factor {_number(found.beta)} on the declared rewards (95 % {_number(found.low)} to {_number(found.high)}; "
        "1 is as declared)"
    )


def _meaning(found: Scale, best: float) -> str:
    if best == 1:
        return (
            "Every pick is the best of its slate: the users take the maximum (a cut of the best, top-k or argmax) and "
            "don't pick by Luce's rule."
        )
    if found.beta > 1:
        return (
            f"The users are surer than declared, as if a hidden temperature of {_number(1 / found.beta)} divided the "
            f"rewards; the best of the slate got {best:.1%} of the picks."
        )
    if found.beta > 0:
        return (
            "The picks follow the recorded rewards less than declared: undeclared lapses, a hidden temperature above "
            "1, or users who go by another reward."
        )
    return "The picks don't follow the recorded rewards at all, or go against them: another reward is at work."


def _number(value: float) -> str:
    return ("-" if value < 0 else "") + "infinite" if math.isinf(value) else f"{value:.3g}"
