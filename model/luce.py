"""Luce's choice rule over disjoint slates: `P(pick k) = exp(r_k) / sum_j exp(r_j)`; and users who follow it.

Rewards already carry their scale gamma; no temperature is hidden here. A global softmax over all samples without
replacement, or a cut of the best, would be another process than the theorem's. Simulated users draw by `LuceRule`, and
the exact operator predicts by it (`loop.theory.population`).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import log_softmax, softmax

K = int | Literal["inf"]


@dataclass(frozen=True, slots=True)
class Choice:
    """The picks of n users.

    Attributes:
        picked: (n,) positions in the slates, or indices among all samples where K = inf.
        lapsed: (n,) whether a pick was made at random.
    """

    picked: np.ndarray
    lapsed: np.ndarray


@dataclass(frozen=True, slots=True)
class LuceRule:
    """The rule by which a user picks one of K samples.

    Attributes:
        k: samples in a slate; 1 is no choice at all, 'inf' draws from all samples by weight.
        lapse: probability of a pick at random, whatever the samples.
        position_bias: (K,) utility added to whatever stands at each position; empty for none.

    Raises:
        ValueError: values outside their range, or a bias that doesn't have K entries.
    """

    k: K = 2
    lapse: float = 0.0
    position_bias: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_k(self.k)
        if not 0 <= self.lapse <= 1:
            raise ValueError(f"lapse is a probability; it can't be {self.lapse}")
        if self.position_bias and len(self.position_bias) != self.k:
            raise ValueError(f"position_bias has {len(self.position_bias)} entries for K = {self.k}")
        if not np.isfinite(self.position_bias).all():
            raise ValueError(f"position_bias must hold finite numbers, not {list(self.position_bias)}")

    def probabilities(self, rewards: np.ndarray) -> np.ndarray:
        """(n, K) the probability of each pick, lapses among them, from (n, K) rewards."""
        return self.lapse / np.shape(rewards)[1] + (1 - self.lapse) * probabilities(self.utilities(rewards))

    def log_probability(self, rewards: np.ndarray, picked: np.ndarray) -> np.ndarray:
        """(n,) the log-probability of (n,) picked positions, from (n, K) rewards."""
        if self.lapse:
            return np.log(self.probabilities(rewards)[np.arange(len(picked)), picked])
        return log_softmax(checked(self.utilities(rewards)), axis=1)[np.arange(len(picked)), picked]

    def draw(self, rewards: np.ndarray, rng: np.random.Generator) -> Choice:
        """One pick from each of n slates, from (n, K) rewards; each slate may be judged by a user of its own."""
        n, k = np.shape(rewards)
        lapsed = self._lapses(n, rng)
        picked = pick(self.utilities(rewards), rng)
        picked[lapsed] = rng.integers(k, size=int(lapsed.sum()))
        return Choice(picked, lapsed)

    def draw_from_all(self, rewards: np.ndarray, users: np.ndarray, rng: np.random.Generator) -> Choice:
        """N picks from all m samples, which is the limit K = inf.

        Args:
            rewards: (types, m) by each type of user.
            users: (n,) the type of each.
            rng: the source of randomness.
        """
        lapsed, picked = self._lapses(len(users), rng), np.empty(len(users), dtype=np.int64)
        for type_ in np.unique(users):
            of_type = users == type_
            picked[of_type] = pick_from_all(rewards[type_], int(of_type.sum()), rng)
        picked[lapsed] = rng.integers(rewards.shape[1], size=int(lapsed.sum()))
        return Choice(picked, lapsed)

    def utilities(self, rewards: np.ndarray) -> np.ndarray:
        """(n, K) the rewards with the bias of their positions."""
        return rewards + np.asarray(self.position_bias or 0.0)

    def _lapses(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return rng.random(n) < self.lapse if self.lapse else np.zeros(n, dtype=bool)


def check_k(k: K) -> None:
    """Raises ValueError unless K is a whole number of at least 1, or 'inf'."""
    whole = isinstance(k, int | np.integer) and not isinstance(k, bool) and k >= 1
    if not whole and not (isinstance(k, str) and k == "inf"):
        raise ValueError(f'K must be a whole number, 1 or more, or "inf"; it can\'t be {k!r}')


def probabilities(rewards: np.ndarray) -> np.ndarray:
    """(n, K) the probability of each pick, from (n, K) rewards.

    Source: Luce 1959; Ferbach et al. 2024 (arXiv 2407.09499), Section 2.1.
    """
    return softmax(checked(rewards), axis=1)


def log_probabilities(utilities: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(rows,) the log-probability of each sample in its slate, for slates of any K, one after another.

    Args:
        utilities: (rows,) of all samples, slate by slate.
        sizes: (n,) K of each slate; they add up to the number of rows.
    """
    starts = np.cumsum(sizes) - sizes
    shifted = utilities - np.repeat(np.maximum.reduceat(utilities, starts), sizes)
    return shifted - np.repeat(np.log(np.add.reduceat(np.exp(shifted), starts)), sizes)


def pick(rewards: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) the picked position in each of n slates, from (n, K) rewards, by the Gumbel-max identity.

    Adding independent standard Gumbel noise to log-weights and taking the largest draws exactly from `probabilities`.
    """
    rewards = checked(rewards)
    return (rewards + rng.gumbel(size=rewards.shape)).argmax(axis=1)


def pick_from_all(rewards: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) indices drawn with probability `exp(r_i) / sum_j exp(r_j)` over all samples: the limit K = inf.

    Args:
        rewards: (m,) of all the samples that may be picked; m should be several times n, since draws may repeat.
        n: number of picks.
        rng: the source of randomness.

    Source: Ferbach et al. 2024 (`H^K -> w / E[w]`).
    """
    return rng.choice(len(rewards), size=n, p=softmax(checked(rewards[None])[0]))


def checked(rewards: np.ndarray) -> np.ndarray:
    """(n, K) rewards as float64.

    Raises:
        ValueError: another shape, or a reward that isn't finite.
    """
    rewards = np.asarray(rewards, dtype=np.float64)
    if rewards.ndim != 2 or rewards.shape[1] < 1:
        raise ValueError(f"rewards must be (slates, K) with K of at least 1, not of shape {rewards.shape}")
    if not np.isfinite(rewards).all():
        raise ValueError("rewards must be finite; check the reward function on these samples")
    return rewards
