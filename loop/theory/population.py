"""The exact operator H^K on a finite support, for users who lapse or favour positions, and the loops that it drives."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from loop.policy import DataPolicy
from model.luce import LuceRule

NODE_STEP = 0.25  # in log u; the trapezoid's error falls as exp(-pi^2 / step), which is 1e-17 here
TAIL = 38.0  # exp(-38) = 3e-17 is what the ends of the range leave out
FARTHEST = 10_000.0  # below the best reward; samples that are worse yet are told apart no more
CHUNK = 400_000  # entries of support x nodes held at once; many more don't fit a processor's cache


def h(rewards: np.ndarray, p: np.ndarray, rule: LuceRule) -> np.ndarray:
    """(n,) or (n, B): H(x_i) under p, so that p * H is the law of the picked sample; its mean under p is 1.

    Args:
        rewards: (n,) r(x_i); only differences matter.
        p: (n,) masses that add up to 1, or (n, B) for B laws on the same support (bootstrap replicates).
        rule: by which the user picks.

    Raises:
        ValueError: rewards that aren't finite, or masses that are negative, not finite or not one for each reward.

    Source: Ferbach et al. 2024 (arXiv 2407.09499), Section 2.1, for the operator and its limit w / E[w]; the integral
    `H = K w int_0^inf exp(-w u) phi(u)^(K-1) du`, `phi(u) = sum_i p_i exp(-w_i u)`, was derived for this project. With
    a position bias b the integrand becomes `sum_j w e^b_j exp(-w e^b_j u) prod_{i != j} phi(e^b_i u)`.
    """
    if not np.isfinite(rewards).all():
        raise ValueError("rewards must be finite numbers; look at what the reward gives for these samples")
    if len(p) != len(rewards) or not (np.isfinite(p) & (p >= 0)).all():
        raise ValueError(f"p must hold a finite mass of 0 or more for each of the {len(rewards)} rewards")
    masses = p[:, None] if p.ndim == 1 else p
    levels, place = np.unique(rewards, return_inverse=True)
    order = np.argsort(place, kind="stable")
    gathered = masses[order]
    if len(levels) < len(rewards):  # equal rewards are one point of the support
        gathered = np.add.reduceat(gathered, np.searchsorted(place[order], np.arange(len(levels))), axis=0)
    attentive = h_without_lapses(np.maximum(levels - levels[-1], -FARTHEST), gathered, rule)
    values = (rule.lapse + (1 - rule.lapse) * attentive)[place]
    return values[:, 0] if p.ndim == 1 else values


def step(rewards: np.ndarray, p: np.ndarray, rule: LuceRule) -> np.ndarray:
    """(n,) or (n, B): the law of the picked sample, p * H, scaled to mass 1, as errors would grow K-fold a step."""
    picked = p * h(rewards, p, rule)
    return picked / picked.sum(axis=0)


def population_step(
    rewards: np.ndarray, p: np.ndarray, rules: Sequence[LuceRule], weights: Sequence[float]
) -> np.ndarray:
    """(n,) or (n, B): the law of the picked sample when rater types pick by their own rewards, `p sum_j a_j H_j`.

    Args:
        rewards: (types, n), each type's own.
        p: (n,) or (n, B) masses.
        rules: of each type.
        weights: a_j, of each type; they add up to 1.

    Source: heterogeneous curators, arXiv 2511.09002.
    """
    return sum(
        weight * step(own, p, rule) for own, rule, weight in zip(rewards, rules, weights, strict=True) if weight
    ) + np.zeros_like(p)


def h_without_lapses(r: np.ndarray, p: np.ndarray, rule: LuceRule) -> np.ndarray:
    """(n, B) H of sorted rewards r <= 0 under (n, B) masses, of users who never lapse."""
    if rule.k == 1:
        return np.ones_like(p)
    if rule.k == "inf":
        w = np.exp(r)[:, None]
        return w / (w * p).sum(axis=0)
    if rule.position_bias and len(set(rule.position_bias)) > 1:
        return h_with_bias(r, p, np.asarray(rule.position_bias))
    log_u = _nodes(r, rule.k)
    phi = laplace(r, p, log_u)
    return _transform(r, log_u, phi ** (rule.k - 1) * (rule.k * NODE_STEP))


def h_with_bias(r: np.ndarray, p: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """(n, B) the same for users who add a (K,) utility to whatever stands at each position of a random order."""
    bias = bias - bias.max()
    log_u = _nodes(r, len(bias), spread=float(np.ptp(bias)))
    phis = [laplace(r, p, log_u + b) for b in bias]
    total = np.zeros_like(p)
    for j, b in enumerate(bias):
        others = np.prod([phi for i, phi in enumerate(phis) if i != j], axis=0)
        total += _transform(r + b, log_u, others * NODE_STEP)
    return total


def _nodes(r: np.ndarray, k: int, spread: float = 0.0) -> np.ndarray:
    """(m,) nodes of log u, for each level from where exp(-w u) is still 1 for all K samples to where it is 0.

    Between levels far apart there are none.
    """
    below, above = TAIL + math.log(k), 4.0 + spread
    at = -r[::-1]
    cuts = np.flatnonzero(np.diff(at) > below + above) + 1
    groups = np.split(at, cuts)
    return np.concatenate([np.arange(group[0] - below, group[-1] + above, NODE_STEP) for group in groups])


def laplace(r: np.ndarray, p: np.ndarray, log_u: np.ndarray) -> np.ndarray:
    """(m, B) phi(u) = sum_i p_i exp(-w_i u) at (m,) log u, the Laplace transform of the weights w = exp(r)."""
    phi = np.zeros((len(log_u), p.shape[1]))
    for part in _chunks(len(r), len(log_u)):
        phi += np.exp(-np.exp(_log_wu(r[part], log_u))).T @ p[part]
    return phi


def _transform(r: np.ndarray, log_u: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """(n, B) sum over nodes of w_i u exp(-w_i u) inner(u), from (m, B) values of inner."""
    parts = []
    for part in _chunks(len(r), len(log_u)):
        log_wu = _log_wu(r[part], log_u)
        parts.append(np.exp(log_wu - np.exp(log_wu)) @ inner)
    return np.concatenate(parts)


def _log_wu(r: np.ndarray, log_u: np.ndarray) -> np.ndarray:
    """(n, m) log(w u), cut off at 7, from where on exp(-w u) is 0."""
    return np.minimum(r[:, None] + log_u[None], 7.0)


def _chunks(n: int, m: int) -> list[slice]:
    """Parts of n rows that with m nodes each hold at most `CHUNK` entries."""
    size = max(1, CHUNK // m)
    return [slice(start, start + size) for start in range(0, n, size)]


@dataclass(frozen=True, slots=True)
class Curators:
    """The users who pick: types with shares, each with its own reward and rule.

    Attributes:
        rules: of each type.
        weights: share of the picks by each type; they add up to 1.
        names: of the types.

    Raises:
        ValueError: weights that aren't shares, or not one per rule.
    """

    rules: tuple[LuceRule, ...]
    weights: tuple[float, ...] = (1.0,)
    names: tuple[str, ...] = field(default=("",))

    def __post_init__(self) -> None:
        shares = min(self.weights) >= 0 and abs(sum(self.weights) - 1) <= 1e-9  # neither holds of NaN
        if len(self.rules) != len(self.weights) or not shares:
            raise ValueError(f"the rater types' weights must be shares that add up to 1, not {self.weights}")

    @classmethod
    def alike(cls, rule: LuceRule) -> "Curators":
        """Users who all pick by one rule."""
        return cls((rule,))

    def pick(self, rewards: np.ndarray, p: np.ndarray) -> np.ndarray:
        """(n,) or (n, B) law of the picked sample, from (types, n) or (n,) rewards and (n,) or (n, B) masses."""
        return population_step(np.atleast_2d(rewards), p, self.rules, self.weights)

    def gains(self, rewards: np.ndarray, p: np.ndarray) -> np.ndarray:
        """(types, types) gain of E[w_g], w_g = exp(r_g), that the picks of each type j make: `a_j Cov_p(w_g, H_j)`.

        Rows are g. The diagonal is never negative (claim C1 of each type's own picks); what others pick may outweigh
        it, so E[w_g] need not rise. What can't fall is the mean of the tilt itself, `sum_j a_j H_j` of p.

        Args:
            rewards: (types, n), each type's own.
            p: (n,) masses.

        Source: derived from the law of arXiv 2511.09002, `p sum_j a_j H_j`.
        """
        w = np.exp(rewards)
        picked = [step(own, p, rule) for own, rule in zip(rewards, self.rules, strict=True)]
        return np.stack([a * (w @ law - w @ p) for a, law in zip(self.weights, picked, strict=True)], axis=1)


@dataclass(frozen=True, slots=True)
class Tilt:
    """The target of a learner by rewards: `p e^{tau r} / Z`.

    Attributes:
        tau: of reward-weighted learning; 1 / beta of DPO, which is there at its optimum.

    Source: Korbak et al. 2022 (arXiv 2205.11275) and Rafailov et al. 2023 (arXiv 2305.18290) for the law; at tau = 1 it
    is the K = infinity of Ferbach et al. 2024.
    """

    tau: float

    def pick(self, rewards: np.ndarray, p: np.ndarray) -> np.ndarray:
        """(n,) or (n, B) law.

        Args:
            rewards: (types, n) or (n,), whose first is the study's.
            p: (n,) or (n, B) masses.
        """
        return step(self.tau * np.atleast_2d(rewards)[0], p, LuceRule("inf"))


@dataclass(frozen=True, slots=True)
class BestOfK:
    """The target of best-of-K: `K p F^{K-1}`, F the distribution function of the reward; equal rewards share.

    Its divergence from p is at most `log K - (K-1)/K`.

    Source: Sessa et al. 2024 (BOND, arXiv 2407.14622).
    """

    k: int

    def pick(self, rewards: np.ndarray, p: np.ndarray) -> np.ndarray:
        """(n,) or (n, B) law; arguments as of `Tilt.pick`."""
        levels, place = np.unique(np.atleast_2d(rewards)[0], return_inverse=True)
        masses = p[:, None] if p.ndim == 1 else p
        at_level = np.zeros((len(levels), masses.shape[1]))
        np.add.at(at_level, place, masses)
        below = np.cumsum(at_level, axis=0)
        best = below**self.k - (below - at_level) ** self.k
        law = masses * np.divide(best, at_level, out=np.zeros_like(best), where=at_level > 0)[place]
        law /= law.sum(axis=0)
        return law[:, 0] if p.ndim == 1 else law


Target = Curators | Tilt | BestOfK
"""The law that the curated part of the next generation is meant to have: `pick` gives it."""


def pure_loop(rewards: np.ndarray, p0: np.ndarray, rule: LuceRule, steps: int) -> np.ndarray:
    """(steps + 1, n) laws p_0 .. p_steps of `p_{t+1} = p_t H^K_{p_t}` from (n,) rewards and (n,) masses.

    Source: Ferbach et al. 2024 (arXiv 2407.09499), equation (4).
    """
    return policy_loop(rewards, p0, p0, DataPolicy("replace"), Curators.alike(rule), steps)


def mixed_loop(
    rewards: np.ndarray, p0: np.ndarray, p_ref: np.ndarray, lam: float, rule: LuceRule, steps: int
) -> np.ndarray:
    """(steps + 1, n) laws of `p_{t+1} = p_ref / (1 + lam) + lam / (1 + lam) p_t H^K_{p_t}`.

    Source: Ferbach et al. 2024, equation (6).
    """
    return policy_loop(rewards, p0, p_ref, DataPolicy("mix", lam), Curators.alike(rule), steps)


def policy_loop(
    rewards: np.ndarray,
    p0: np.ndarray,
    p_ref: np.ndarray,
    policy: DataPolicy,
    curators: "Target",
    steps: int,
    n_real: int = 1,
    n_set: int | Sequence[int] = 1,
) -> np.ndarray:
    """(steps + 1, n) or (steps + 1, n, B): the loop under any data policy and any curators.

    Args:
        rewards: (n,) or (types, n).
        p0: (n,) or (n, B), generation 0.
        p_ref: (n,) or (n, B), the real data on the same support.
        policy: composes the training sets.
        curators: the users who pick.
        steps: generations after the first.
        n_real: size of the real data; it matters to the accumulating policies alone, and so does the next.
        n_set: picks of every generation, or of each.
    """
    sizes = [n_set] * steps if isinstance(n_set, int) else n_set
    laws, sets = [p0], []
    for t in range(steps):
        sets.append(curators.pick(rewards, laws[-1]))
        laws.append(blend(p_ref, sets, policy.shares(n_real, sizes[: t + 1])))
    return np.stack(laws)


def blend(p_ref: np.ndarray, sets: Sequence[np.ndarray], shares: tuple[float, tuple[float, ...]]) -> np.ndarray:
    """(n,) or (n, B): the law of a training set of mass 1, from the real data's and the sets' laws by their shares."""
    real_share, set_shares = shares
    law = real_share * p_ref + sum(share * set_ for share, set_ in zip(set_shares, sets, strict=True) if share)
    return law / law.sum(axis=0)


def mean(values: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Expectation of (n,) values under masses (..., n)."""
    return p @ values


def variance(values: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Variance of (n,) values under masses (..., n)."""
    return p @ values**2 - (p @ values) ** 2


def kl(p: np.ndarray, q: np.ndarray) -> float:
    """KL(p || q) of two (n,) laws; infinite where q lacks mass that p has."""
    inside = p > 0
    if (q[inside] <= 0).any():
        return float("inf")
    return float(max(0.0, (p[inside] * np.log(p[inside] / q[inside])).sum()))


def total_variation(p: np.ndarray, q: np.ndarray) -> float:
    """Half the sum of absolute differences of two (n,) laws."""
    return 0.5 * float(np.abs(p - q).sum())
