"""The loop at the level of whole distributions: what an ideal generator and endless picks would do, step by step.

A law is a vector of masses on a finite support given by its rewards; (n, B) holds B laws side by side.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from loop.policies import DataPolicy
from loop.theory.operator import ChoiceRule, population_step


@dataclass(frozen=True, slots=True)
class Curators:
    """Who picks: rater types with shares, each with its own reward and rule.

    Attributes:
        weights: share of the picks by each type; they add up to 1.
        rules: how each type picks.

    Raises:
        ValueError: weights that aren't shares, or not one per rule.
    """

    rules: tuple[ChoiceRule, ...]
    weights: tuple[float, ...] = (1.0,)
    names: tuple[str, ...] = field(default=("",))

    def __post_init__(self) -> None:
        shares = min(self.weights) >= 0 and abs(sum(self.weights) - 1) <= 1e-9  # neither holds of NaN
        if len(self.rules) != len(self.weights) or not shares:
            raise ValueError(f"the rater types' weights must be shares that add up to 1, not {self.weights}")

    @classmethod
    def alike(cls, rule: ChoiceRule) -> "Curators":
        """Users who all pick by one rule."""
        return cls((rule,))

    def pick(self, rewards: np.ndarray, p: np.ndarray) -> np.ndarray:
        """(n,) or (n, B) law of the picked sample, from (types, n) or (n,) rewards and (n,) or (n, B) masses."""
        return population_step(np.atleast_2d(rewards), p, self.rules, self.weights)


def pure_loop(rewards: np.ndarray, p0: np.ndarray, rule: ChoiceRule, steps: int) -> np.ndarray:
    """(steps + 1, n) laws p_0 .. p_steps of `p_{t+1} = p_t H^K_{p_t}` from (n,) rewards and (n,) masses.

    Source: Ferbach et al. 2024 (arXiv 2407.09499), equation (4).
    """
    return policy_loop(rewards, p0, p0, DataPolicy("replace"), Curators.alike(rule), steps)


def mixed_loop(
    rewards: np.ndarray, p0: np.ndarray, p_ref: np.ndarray, lam: float, rule: ChoiceRule, steps: int
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
    curators: Curators,
    steps: int,
    n_real: int = 1,
    n_set: int | Sequence[int] = 1,
) -> np.ndarray:
    """(steps + 1, n) or (steps + 1, n, B): the loop under any data policy and any curators.

    Args:
        rewards: (n,) or (types, n).
        p0: (n,) or (n, B), generation 0.
        p_ref: (n,) or (n, B), the real data on the same support.
        policy: what trains each generation.
        curators: who picks.
        steps: generations after the first.
        n_real: real data, and
        n_set: picks a generation, or of each; they matter to the accumulating policies alone.
    """
    sizes = [n_set] * steps if isinstance(n_set, int) else n_set
    laws, sets = [p0], []
    for t in range(steps):
        sets.append(curators.pick(rewards, laws[-1]))
        laws.append(blend(p_ref, sets, policy.shares(n_real, sizes[: t + 1])))
    return np.stack(laws)


def blend(p_ref: np.ndarray, sets: Sequence[np.ndarray], shares: tuple[float, tuple[float, ...]]) -> np.ndarray:
    """The law of a training set: real data and the generations' sets by their shares; its mass is 1 exactly."""
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
