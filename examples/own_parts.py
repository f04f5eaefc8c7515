"""A reward and a generator of one's own, named in study.toml by module and name (docs/howto-contributor.md).

The command that runs a study with them is there; for want of a better generator, two moons become one cloud.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch

from model import checkpoint
from model.config import NetworkConfig, SamplingConfig, TrainConfig
from model.interfaces import OnStep, TrainingData
from model.sampling import noise

ROWS = 20_000  # that mean and covariance are taken over


def to_the_right(x: torch.Tensor) -> torch.Tensor:
    """(n,) r(x) of (n, 2) points: the first coordinate, no more than 2 of it; its scale is in it."""
    return 2.0 * x[:, 0].clamp(max=2.0)


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian with the mean and covariance of what it was fitted to, for samples of any shape.

    Attributes:
        mean: (*shape).
        root: (d, d) lower triangle whose square is the covariance; d numbers make a sample.
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
        cls, shape: tuple[int, ...], network: NetworkConfig, train: TrainConfig, sampling: SamplingConfig
    ) -> Self:
        """A standard normal, before `fit`; it has no settings."""
        return cls(torch.zeros(shape), torch.eye(int(np.prod(shape))))

    def sample(self, seeds: np.ndarray) -> torch.Tensor:
        """(n, *shape) float32 from (n,) int64 seeds: `noise` gives each sample its own."""
        x0 = noise(seeds, self.mean.shape).flatten(1)
        products = (x0[:, None] * self.root).sum(-1)  # row by row, so that no bit depends on the rest of the batch
        return products.reshape(-1, *self.mean.shape) + self.mean

    def fit(self, data: TrainingData, parent: Self | None, seed: int, on_step: OnStep | None = None) -> Self:
        """A new Gaussian; of its parent it only keeps the name, for there is nothing to start from.

        The data come on the CPU, and so does the work here; what is large would go to `model.compute.device()`.
        """
        x = data.draw(ROWS, np.random.default_rng(seed)).flatten(1)
        root = torch.linalg.cholesky(torch.cov(x.T) + 1e-4 * torch.eye(x.shape[1]))
        mean = x.mean(0).reshape(self.mean.shape)
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
