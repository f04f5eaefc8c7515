"""Luce's choice rule over disjoint slates: `P(pick k) = exp(r_k) / sum_j exp(r_j)`.

Rewards already carry their scale gamma; no temperature is hidden here. A global softmax over all samples without
replacement, or a cut of the best, would be another process than the theorem's.
"""

import numpy as np
from scipy.special import softmax


def probabilities(rewards: np.ndarray) -> np.ndarray:
    """(n, K) the probability of each pick, from (n, K) rewards.

    Source: Luce 1959; Ferbach et al. 2024 (arXiv 2407.09499), Section 2.1.
    """
    return softmax(_checked(rewards), axis=1)


def pick(rewards: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) the picked position in each of n slates, from (n, K) rewards, by the Gumbel-max identity.

    Adding independent standard Gumbel noise to log-weights and taking the largest draws exactly from `probabilities`.
    """
    rewards = _checked(rewards)
    return (rewards + rng.gumbel(size=rewards.shape)).argmax(axis=1)


def pick_from_all(rewards: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) indices drawn with probability `exp(r_i) / sum_j exp(r_j)` over all samples: the limit K = inf.

    Args:
        rewards: (m,) of all the samples that may be picked; m should be several times n, since draws may repeat.
        n: number of picks.
        rng: the source of randomness.

    Source: Ferbach et al. 2024 (`H^K -> w / E[w]`).
    """
    return rng.choice(len(rewards), size=n, p=softmax(_checked(rewards[None])[0]))


def _checked(rewards: np.ndarray) -> np.ndarray:
    rewards = np.asarray(rewards, dtype=np.float64)
    if rewards.ndim != 2 or rewards.shape[1] < 1:
        raise ValueError(f"rewards must be (slates, K) with K of at least 1, not of shape {rewards.shape}")
    if not np.isfinite(rewards).all():
        raise ValueError("rewards must be finite; check the reward function on these samples")
    return rewards
