"""Luce's choice rule over disjoint slates: `P(pick k) = exp(r_k) / sum_j exp(r_j)`; and users who follow it.

Rewards already carry their scale gamma; no temperature is hidden here. A global softmax over all samples without
replacement, or a cut of the best, would be another process than the theorem's. Simulated users draw by `LuceRule`, and
the exact operator predicts by it (`loop.theory.population`). Two further judgements rest on the same weights: the worst
of what the best has left (`LuceRule.draw_worst`), and ties between two (`RaoKupperRule`).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import expit, log_expit, log_softmax, softmax

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

    def worst_probabilities(self, rewards: np.ndarray, best: np.ndarray) -> np.ndarray:
        """(n, K) the probability that each is picked as the worst once (n,) best ones are; 0 at those.

        `P(j | i best) = e^-r_j / sum_(k != i) e^-r_k` with the bias of positions in r, but for lapses, which are a
        second click's own: `P(i best, j worst)` is the product of the two.

        Raises:
            ValueError: slates of fewer than 3, where the worst is what the best has left.

        Source: Marley and Louviere 2005, "Some probabilistic models of best, worst, and best-worst choices": the
        sequential best-worst choice with one utility for both.
        """
        rows, k = np.arange(len(best)), np.shape(rewards)[1]
        if k < 3:
            raise ValueError(f"a worst one is picked from slates of 3 or more, not of {k}")
        disliked = -checked(self.utilities(rewards))
        disliked[rows, best] = -np.inf
        p = self.lapse / (k - 1) + (1 - self.lapse) * softmax(disliked, axis=1)
        p[rows, best] = 0.0
        return p

    def draw_worst(self, rewards: np.ndarray, best: np.ndarray, rng: np.random.Generator) -> Choice:
        """The worst of each of n slates once (n,) best ones are picked, from (n, K) rewards, by that law."""
        rows, (n, k) = np.arange(len(best)), np.shape(rewards)
        lapsed = self._lapses(n, rng)
        disliked = rng.gumbel(size=(n, k)) - np.where(lapsed[:, None], 0.0, checked(self.utilities(rewards)))
        disliked[rows, best] = -np.inf
        return Choice(disliked.argmax(axis=1), lapsed)

    def utilities(self, rewards: np.ndarray) -> np.ndarray:
        """(n, K) the rewards with the bias of their positions."""
        return rewards + np.asarray(self.position_bias or 0.0)

    def _lapses(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return rng.random(n) < self.lapse if self.lapse else np.zeros(n, dtype=bool)


@dataclass(frozen=True, slots=True)
class RaoKupperRule:
    """The rule by which a user picks one of two samples, or says that both are as good.

    `P(i beats j) = w_i / (w_i + theta w_j)` and `P(tie) = (theta^2 - 1) P(i beats j) P(j beats i)` with w = exp(r). A
    lapse picks one of the two at random.

    Attributes:
        theta: 1 or more; 1 knows no ties. At equal rewards `(theta - 1) / (theta + 1)` of the answers are ties.
        lapse: probability of a pick at random.
        position_bias: (2,) utility added to whatever stands at each position; empty for none.

    Raises:
        ValueError: values outside their range.

    Source: Rao and Kupper 1967, "Ties in paired-comparison experiments: a generalization of the Bradley-Terry model".
    """

    theta: float
    lapse: float = 0.0
    position_bias: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.theta < np.inf:
            raise ValueError(f"theta must be 1 or more, and finite, not {self.theta}")
        LuceRule(2, self.lapse, self.position_bias)  # which checks the rest

    def probabilities(self, rewards: np.ndarray) -> np.ndarray:
        """(n, 3) the probability of the first, of the second and of a tie, lapses among them, from (n, 2) rewards."""
        first, second = self._wins(rewards)
        attentive = np.stack([first, second, (self.theta**2 - 1) * first * second], axis=1)
        return self.lapse * np.array([0.5, 0.5, 0.0]) + (1 - self.lapse) * attentive

    def log_probability(self, rewards: np.ndarray, answers: np.ndarray) -> np.ndarray:
        """(n,) the log-probability of (n,) answers (0: the first, 1: the second, 2: a tie), from (n, 2) rewards."""
        if self.lapse or self.theta == 1:
            with np.errstate(divide="ignore"):  # a tie where there are none
                return np.log(self.probabilities(rewards)[np.arange(len(answers)), answers])
        gap, threshold = self._gaps(rewards), np.log(self.theta)
        first, second = log_expit(gap - threshold), log_expit(-gap - threshold)
        return np.stack([first, second, np.log(self.theta**2 - 1) + first + second])[answers, np.arange(len(answers))]

    def draw(self, rewards: np.ndarray, rng: np.random.Generator) -> tuple[Choice, np.ndarray]:
        """An answer to each of n pairs, from (n, 2) rewards: a position, and (n,) marks of ties."""
        n = len(rewards)
        lapsed = rng.random(n) < self.lapse if self.lapse else np.zeros(n, dtype=bool)
        (first, second), u = self._wins(rewards), rng.random(n)
        picked = np.where(u < first, 0, 1)
        tied = (u >= first) & (u < 1 - second) & ~lapsed
        picked[lapsed] = rng.integers(2, size=int(lapsed.sum()))
        return Choice(picked, lapsed), tied

    def _gaps(self, rewards: np.ndarray) -> np.ndarray:
        """(n,) utility of the first less that of the second."""
        utilities = checked(rewards + np.asarray(self.position_bias or 0.0))
        if utilities.shape[1] != 2:
            raise ValueError(f"ties are between two samples, not {utilities.shape[1]}")
        return utilities[:, 0] - utilities[:, 1]

    def _wins(self, rewards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        gap, threshold = self._gaps(rewards), np.log(self.theta)
        return expit(gap - threshold), expit(-gap - threshold)


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
    """(rows, ...) the log-probability of each sample in its slate, for slates of any K, one after another.

    Args:
        utilities: (rows, ...) of all samples, slate by slate.
        sizes: (n,) K of each slate; they add up to the number of rows.
    """
    starts = np.cumsum(sizes) - sizes
    shifted = utilities - np.repeat(np.maximum.reduceat(utilities, starts), sizes, axis=0)
    return shifted - np.repeat(np.log(np.add.reduceat(np.exp(shifted), starts)), sizes, axis=0)


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
