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
from model.config import Conditions, NetworkConfig, SamplingConfig, TrainConfig
from model.interfaces import OnStep, TrainingData
from model.sampling import noise

MOST_ROWS = 200_000
MOST_NUMBERS = 16_000_000  # 64 MB


@dataclass(frozen=True)
class Resampler:
    """Draws from stored rows of its training data, each sample by its own seed.

    Attributes:
        rows: (m, *shape); empty before `fit`.
        conditions: (m,) int64 of the rows; None in a study without conditions.
    """

    shape: tuple[int, ...]
    rows: torch.Tensor
    conditions: torch.Tensor | None = None
    seed: int = 0
    parent: str | None = None
    sha256: str | None = None

    @classmethod
    def build(
        cls,
        shape: tuple[int, ...],
        network: NetworkConfig,
        train: TrainConfig,
        sampling: SamplingConfig,
        conditions: Conditions | None = None,
    ) -> Self:
        """An empty resampler; it has no settings."""
        return cls(shape, torch.empty(0, *shape))

    def sample(self, seeds: np.ndarray, conditions: np.ndarray | None = None) -> torch.Tensor:
        """(n, *shape) rows picked uniformly among those of the condition, from (n,) int64 seeds.

        Raises:
            ValueError: there are no rows of a condition.
        """
        uniform = ndtr(noise(seeds, (1,))[:, 0].double().numpy())
        if conditions is None or self.conditions is None:
            index = np.minimum((uniform * len(self.rows)).astype(np.int64), len(self.rows) - 1)
            return self.rows[torch.from_numpy(index)]
        own = self.conditions.numpy()
        order = np.argsort(own, kind="stable")
        starts, ends = (np.searchsorted(own[order], conditions, side) for side in ("left", "right"))
        if (starts == ends).any():
            raise ValueError(f"no row of condition {conditions[starts == ends][0]} was ever trained on")
        index = order[np.minimum(starts + (uniform * (ends - starts)).astype(np.int64), ends - 1)]
        return self.rows[torch.from_numpy(index)]

    def fit(self, training_set: TrainingData, parent: Self | None, seed: int, on_step: OnStep | None = None) -> Self:
        """Draws so many rows of the data that their own sampling error hardly counts."""
        n = max(1, min(MOST_ROWS, MOST_NUMBERS // math.prod(self.shape)))
        drawn = training_set.draw(n, np.random.default_rng(seed))
        if on_step:
            on_step(1, 1)
        facts = {"seed": seed, "parent": parent and parent.sha256, "sha256": None}
        return replace(self, rows=drawn.x, conditions=drawn.conditions, **facts)

    def save(self, path: Path) -> str:
        """Writes the rows as a checkpoint and returns its sha256."""
        config, tensors = {"shape": list(self.shape)}, {"rows": self.rows}
        if self.conditions is not None:
            tensors["conditions"] = self.conditions
        content = checkpoint.Checkpoint("resampler", tensors, config, self.seed, self.parent)
        return checkpoint.save(path, content)

    @classmethod
    def load(cls, path: Path, train: TrainConfig, sampling: SamplingConfig) -> Self:
        """Reads a checkpoint that `save` wrote; errors as in `model.checkpoint.load`."""
        stored = checkpoint.load(path)
        if stored.kind != "resampler":
            raise checkpoint.MissingCheckpointError(f"{path} holds a {stored.kind}, not a resampler.")
        rows, conditions = stored.tensors["rows"], stored.tensors.get("conditions")
        return cls(tuple(stored.config["shape"]), rows, conditions, stored.seed, stored.parent, stored.sha256)
