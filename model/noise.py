"""Every sample has a seed of its own: its noise is the same whatever the batch, the order or the process."""

from collections.abc import Sequence

import numpy as np
import torch


def derive_seed(*path: int) -> int:
    """A seed in [0, 2^63) from a path such as (study seed, generation, purpose)."""
    return int(np.random.SeedSequence(path).generate_state(1, np.uint64)[0] >> np.uint64(1))


def derive_seeds(n: int, *path: int) -> np.ndarray:
    """(n,) int64 seeds in [0, 2^63), from a path as above."""
    return (np.random.SeedSequence(path).generate_state(n, np.uint64) >> np.uint64(1)).astype(np.int64)


def noise(seeds: np.ndarray, shape: Sequence[int]) -> torch.Tensor:
    """Standard normal noise x0, (n, *shape) float32: row i depends on `seeds[i]` alone.

    Args:
        seeds: (n,) non-negative integers.
        shape: of one sample.
    """
    x0 = np.empty((len(seeds), *shape), dtype=np.float32)
    for row, seed in zip(x0, seeds, strict=True):
        # Philox is counter-based: its first numbers are as good as later ones for any key, with no warm-up.
        np.random.Generator(np.random.Philox(key=int(seed))).standard_normal(out=row, dtype=np.float32)
    return torch.from_numpy(x0)
