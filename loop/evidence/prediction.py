"""The next generation's E[w], E[r] and class shares, from a plain sample of rewards, with bootstrap intervals.

The law of the reward under p_{t+1} follows from that under p_t: H^K depends on a sample through its reward alone.
So what holds for points holds for images, and nothing but rewards and labels is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.records import Evaluated
from loop.policies import DataPolicy
from loop.theory.population import Curators, policy_loop

REPLICATES = 200
START_REPLICATES = 50  # many steps over real and generated support: each replicate costs a loop


@dataclass(frozen=True, slots=True)
class Moments:
    """Means of functions of a sample under B + 1 laws: the first is the law itself, the others bootstrap replicates.

    Attributes:
        values: (functions, B + 1): E[w], E[w^2], E[r], E[r^2], then the share of each class.
    """

    values: np.ndarray

    @property
    def mean_w(self) -> np.ndarray:
        """(B + 1,)."""
        return self.values[0]

    @property
    def var_w(self) -> np.ndarray:
        """(B + 1,)."""
        return np.maximum(self.values[1] - self.values[0] ** 2, 0.0)

    @property
    def mean_reward(self) -> np.ndarray:
        """(B + 1,)."""
        return self.values[2]

    @property
    def shares(self) -> np.ndarray:
        """(classes, B + 1)."""
        return self.values[4:]


def functions(found: Evaluated, classes: int) -> np.ndarray:
    """(4 + classes, n) w, w^2, r, r^2 and the indicator of each class."""
    r = found.rewards[0]
    w = np.exp(r)
    return np.concatenate([np.stack([w, w**2, r, r**2]), np.eye(classes)[found.labels].T])


def replicate_masses(n: int, replicates: int, seed: int = 0) -> np.ndarray:
    """(n, replicates + 1) masses: 1/n in the first column, multinomial resamples in the others.

    The same n gives the same resamples. Generations are measured on the same seeds, so resampling them together keeps
    the correlation that this gives them.
    """
    rng = np.random.default_rng([seed, n])
    masses = np.empty((n, replicates + 1))
    masses[:, 0] = 1 / n
    for b in range(replicates):
        masses[:, b + 1] = np.bincount(rng.integers(n, size=n), minlength=n) / n
    return masses


def measured(found: Evaluated, masses: np.ndarray, classes: int) -> Moments:
    """The moments of a generation as it was measured."""
    return Moments(functions(found, classes) @ masses)


def picked(found: Evaluated, masses: np.ndarray, curators: Curators, classes: int) -> Moments:
    """The moments of what the curators pick from a generation, by the exact operator.

    Args:
        found: what the generation was measured on.
        masses: (n, B + 1).
        curators: who picks.
        classes: how many there are.
    """
    return Moments(functions(found, classes) @ curators.pick(_operative(found), masses))


def blend(real: Moments | None, sets: Sequence[Moments], shares: tuple[float, Sequence[float]]) -> Moments:
    """The moments of a training set, and so of an ideal next generation, from its parts and their shares."""
    real_share, set_shares = shares
    total = sum(share * set_.values for share, set_ in zip(set_shares, sets, strict=True) if share)
    if real_share:
        if real is None:
            raise ValueError("the real data's rewards weren't kept; they are part of what is trained on")
        total = total + real_share * real.values
    return Moments(np.asarray(total))


def from_start(
    first: Evaluated,
    real: Evaluated | None,
    policy: DataPolicy,
    curators: Curators,
    sizes: tuple[int, int],
    steps: int,
    classes: int,
    replicates: int = START_REPLICATES,
) -> list[Moments]:
    """The moments of generations 0 .. steps, predicted from generation 0 alone by iterating the exact operator.

    Args:
        first: generation 0.
        real: the real data; needed when the policy uses them.
        policy: what trains a generation.
        curators: who picks.
        sizes: real data, and picks a generation.
        steps: generations after the first.
        classes: how many there are.
        replicates: of the bootstrap over generation 0's samples.
    """
    masses = replicate_masses(len(first.labels), replicates)
    rewards, values = _operative(first), functions(first, classes)
    p_ref = np.zeros_like(masses)
    if policy.uses_real:
        if real is None:
            raise ValueError("the real data's rewards weren't kept; they are part of what is trained on")
        n = len(real.labels)
        rewards = np.concatenate([rewards, _operative(real)], axis=1)
        values = np.concatenate([values, functions(real, classes)], axis=1)
        p_ref = np.concatenate([p_ref, np.full((n, masses.shape[1]), 1 / n)])
        masses = np.concatenate([masses, np.zeros((n, masses.shape[1]))])
    laws = policy_loop(rewards, masses, p_ref, policy, curators, steps, *sizes)
    return [Moments(values @ law) for law in laws]


def _operative(found: Evaluated) -> np.ndarray:
    """(types, n): the study's reward alone where all users pick by it."""
    return found.rewards[1:] if len(found.rewards) > 1 else found.rewards
