"""Training sets of many repetitions side by side: how much each row of each set weighs, as the data policy composes."""

from collections.abc import Sequence

import numpy as np

from loop.policies import DataPolicy


def compositions(
    policy: DataPolicy, n_real: int, sizes: Sequence[int], repetitions: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(repetitions, 1 + sets) rows, and shares that add up to 1, of the real data (first) and of each set.

    A policy without chance gives (1, 1 + sets), the same for all.

    Args:
        policy: composes.
        n_real: real data.
        sizes: rows of each generation's set, oldest first.
        repetitions: of the loop.
        rng: for a policy that draws rows.
    """
    made = [policy.compose(n_real, sizes, rng) for _ in range(repetitions if policy.is_random else 1)]
    rows = np.array([(one.real, *one.sets) for one in made])
    shares = np.array([(one.real_share, *one.set_shares) for one in made])
    return rows, shares


def weights(
    policy: DataPolicy, n_real: int, sizes: Sequence[int], repetitions: int, rng: np.random.Generator
) -> list[np.ndarray | None]:
    """Weight of every row: for the real data and for each set (repetitions or 1, rows), or None where none is used.

    A repetition's weights add up to 1 over all sets; arguments as `compositions`.
    """
    rows, shares = compositions(policy, n_real, sizes, repetitions, rng)
    out: list[np.ndarray | None] = []
    for taken, share, size in zip(rows.T, shares.T, (n_real, *sizes), strict=True):
        each = np.divide(share, taken, out=np.zeros(len(taken)), where=taken > 0)
        out.append(each[:, None] * _chosen(taken, size, rng) if taken.any() else None)
    return out


def _chosen(taken: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """(repetitions, size) of 1 for `taken` rows each, at random, and 0 for the others."""
    if (taken == size).all():
        return np.ones((len(taken), size))
    order = rng.random((len(taken), size)).argsort(axis=1)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(size)[None], axis=1)
    return (ranks < taken[:, None]).astype(float)
