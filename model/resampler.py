"""The control: a "generator" that copies its training set, so that only the loop's own errors are left.

What a study loses with it is sampling error (a finite number of picks); what a flow loses beyond is learning error.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from scipy.special import ndtr

from model import checkpoint
from model.config import NetworkConfig, SamplingConfig, TrainConfig
from model.interfaces import OnStep, TrainingData
from model.sampling import noise

MOST_ROWS = 200_000
MOST_NUMBERS = 16_000_000  # 64 MB


@dataclass(frozen=True)
class Resampler:
    """Draws from stored rows of its training data, each sample by its own seed.

    Attributes:
        rows: (m, *shape); empty before `fit`.
    """

    shape: tuple[int, ...]
    rows: torch.Tensor
    seed: int = 0
    parent: str | None = None
    sha256: str | None = None

    @classmethod
    def build(
        cls, shape: tuple[int, ...], network: NetworkConfig, train: TrainConfig, sampling: SamplingConfig
    ) -> Self:
        """An empty resampler; it has no settings."""
        return cls(shape, torch.empty(0, *shape))

    def sample(self, seeds: np.ndarray) -> torch.Tensor:
        """(n, *shape) rows picked uniformly, from (n,) int64 seeds."""
        uniform = ndtr(noise(seeds, (1,))[:, 0].double().numpy())
        index = np.minimum((uniform * len(self.rows)).astype(np.int64), len(self.rows) - 1)
        return self.rows[torch.from_numpy(index)]

    def fit(self, data: TrainingData, parent: Self | None, seed: int, on_step: OnStep | None = None) -> Self:
        """Draws so many rows of the data that their own sampling error hardly counts."""
        n = max(1, min(MOST_ROWS, MOST_NUMBERS // math.prod(self.shape)))
        rows = data.draw(n, np.random.default_rng(seed))
        if on_step:
            on_step(1, 1)
        return replace(self, rows=rows, seed=seed, parent=parent and parent.sha256, sha256=None)

    def save(self, path: Path) -> str:
        """Writes the rows as a checkpoint and returns its sha256."""
        config = {"shape": list(self.shape)}
        content = checkpoint.Checkpoint("resampler", {"rows": self.rows}, config, self.seed, self.parent)
        return checkpoint.save(path, content)

    @classmethod
    def load(cls, path: Path, train: TrainConfig, sampling: SamplingConfig) -> Self:
        """Reads a checkpoint that `save` wrote; errors as in `model.checkpoint.load`."""
        stored = checkpoint.load(path)
        if stored.kind != "resampler":
            raise checkpoint.MissingCheckpointError(f"{path} holds a {stored.kind}, not a resampler.")
        return cls(tuple(stored.config["shape"]), stored.tensors["rows"], stored.seed, stored.parent, stored.sha256)
