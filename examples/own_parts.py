"""A reward and a generator of one's own, named in study.toml by module and name (docs/howto-contributor.md).

The command that runs a study with them is there; for want of a better generator, two moons become one cloud.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch

from model import checkpoint
from model.config import Conditions, NetworkConfig, SamplingConfig, TrainConfig
from model.interfaces import OnStep, TrainingSet
from model.sampling import noise

ROWS = 20_000  # that mean and covariance are taken over


def to_the_right(x: torch.Tensor) -> torch.Tensor:
    """(n,) r(x) of (n, 2) points: the first coordinate, no more than 2 of it; its scale is in it."""
    return 2.0 * x[:, 0].clamp(max=2.0)


@dataclass(frozen=True)
class Gaussian:
    """Under each condition a Gaussian with the mean and covariance of what it was fitted to; for samples of any shape.

    Attributes:
        mean: (conditions, *shape); a single row in a study without conditions.
        root: (conditions, d, d) lower triangles whose squares are the covariances; d numbers make a sample.
        seed: that fitted it.
        parent: sha256 of the parent's checkpoint.
        sha256: of its own checkpoint, once loaded.
    """

    mean: torch.Tensor
    root: torch.Tensor
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
        """Standard normals, before `fit`; it has no settings."""
        n = len(conditions) if conditions else 1
        return cls(torch.zeros(n, *shape), torch.eye(int(np.prod(shape))).repeat(n, 1, 1))

    def sample(self, seeds: np.ndarray, conditions: np.ndarray | None = None) -> torch.Tensor:
        """(n, *shape) float32 from (n,) int64 seeds: `noise` gives each sample its own."""
        row = torch.from_numpy(np.zeros_like(seeds) if conditions is None else conditions)
        x0 = noise(seeds, self.mean.shape[1:]).flatten(1)
        products = (x0[:, None] * self.root[row]).sum(-1)  # row by row, so that no bit depends on the rest of the batch
        return products.reshape(-1, *self.mean.shape[1:]) + self.mean[row]

    def fit(self, training_set: TrainingSet, parent: Self | None, seed: int, on_step: OnStep | None = None) -> Self:
        """New Gaussians; of its parent it only keeps the name, for there is nothing to start from.

        The data come on the CPU, and so does the work here; what is large would go to `model.compute.device()`.
        """
        drawn = training_set.draw(ROWS, np.random.default_rng(seed))
        x = drawn.x.flatten(1)
        conditions = torch.zeros(len(x), dtype=torch.int64) if drawn.conditions is None else drawn.conditions
        mean, root = self.mean.clone(), self.root.clone()
        for condition in conditions.unique():
            own = x[conditions == condition]
            mean[condition] = own.mean(0).reshape(mean.shape[1:])
            root[condition] = torch.linalg.cholesky(torch.cov(own.T) + 1e-4 * torch.eye(own.shape[1]))
        return replace(self, mean=mean, root=root, seed=seed, parent=parent and parent.sha256, sha256=None)

    def save(self, path: Path) -> str:
        """Writes a checkpoint and returns its sha256."""
        tensors = {"mean": self.mean, "root": self.root}
        return checkpoint.save(path, checkpoint.Checkpoint("gaussian", tensors, {}, self.seed, self.parent))

    @classmethod
    def load(cls, path: Path, train: TrainConfig, sampling: SamplingConfig) -> Self:
        """Reads a checkpoint that `save` wrote; errors as in `model.checkpoint.load`."""
        saved = checkpoint.load(path)
        return cls(saved.tensors["mean"], saved.tensors["root"], saved.seed, saved.parent, saved.sha256)
