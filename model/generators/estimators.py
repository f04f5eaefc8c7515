"""Density estimators for points: a kernel density and a Gaussian, without a network.

What retraining does to them has closed forms. A Gaussian fitted to N of its own samples again and again loses the share
1/N of its variance each time; a kernel density gains the square of its bandwidth. Both are fitted to so many draws of
the training set that their own sampling error hardly counts, as the control of `model.generators.resampler` is.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from scipy.special import ndtr

from model import checkpoint
from model.config import NetworkConfig, SamplingConfig, TrainConfig
from model.generators.resampler import MOST_ROWS
from model.interfaces import OnStep, TrainingData
from model.sampling import noise


@dataclass(frozen=True)
class Gaussian:
    """The normal law with the mean and the biased covariance of its training set.

    Attributes:
        mean: (d,) float64.
        covariance: (d, d) float64.
    """

    shape: tuple[int, ...]
    mean: torch.Tensor
    covariance: torch.Tensor
    seed: int = 0
    parent: str | None = None
    sha256: str | None = None

    @classmethod
    def build(
        cls, shape: tuple[int, ...], network: NetworkConfig, train: TrainConfig, sampling: SamplingConfig
    ) -> Self:
        """The standard normal.

        Raises:
            ValueError: the samples aren't points.
        """
        d = dimension(shape, "gaussian")
        return cls(shape, torch.zeros(d, dtype=torch.float64), torch.eye(d, dtype=torch.float64))

    def sample(self, seeds: np.ndarray, conditions: np.ndarray | None = None) -> torch.Tensor:
        """(n, d) float32 from (n,) int64 seeds."""
        values, vectors = torch.linalg.eigh(self.covariance)  # of a law on a line or a point too
        root = vectors * values.clamp(min=0).sqrt()
        return (self.mean + noise(seeds, self.shape).double() @ root.T).float()

    def fit(self, training_set: TrainingData, parent: Self | None, seed: int, on_step: OnStep | None = None) -> Self:
        """The moments of draws from the training set; the parent's play no part."""
        x = training_set.draw(MOST_ROWS, np.random.default_rng(seed)).x.double()
        off = x - x.mean(0)
        if on_step:
            on_step(1, 1)
        facts = {"seed": seed, "parent": parent and parent.sha256, "sha256": None}
        return replace(self, mean=x.mean(0), covariance=off.T @ off / len(x), **facts)

    def save(self, path: Path) -> str:
        """Writes the moments as a checkpoint and returns its sha256."""
        tensors = {"mean": self.mean, "covariance": self.covariance}
        content = checkpoint.Checkpoint("gaussian", tensors, {"shape": list(self.shape)}, self.seed, self.parent)
        return checkpoint.save(path, content)

    @classmethod
    def load(cls, path: Path, train: TrainConfig, sampling: SamplingConfig) -> Self:
        """Reads a checkpoint that `save` wrote; errors as in `model.checkpoint.load`."""
        stored = checkpoint.load_kind(path, "gaussian")
        moments = stored.tensors["mean"], stored.tensors["covariance"]
        return cls(tuple(stored.config["shape"]), *moments, stored.seed, stored.parent, stored.sha256)


@dataclass(frozen=True)
class KernelDensity:
    """The rows of its training set, each with normal noise about it.

    Attributes:
        rows: (m, d) float32; empty before `fit`.
        bandwidth: standard deviation of the noise, in every coordinate.
    """

    shape: tuple[int, ...]
    rows: torch.Tensor
    bandwidth: float
    seed: int = 0
    parent: str | None = None
    sha256: str | None = None

    @classmethod
    def build(
        cls, shape: tuple[int, ...], network: NetworkConfig, train: TrainConfig, sampling: SamplingConfig
    ) -> Self:
        """One without rows.

        Raises:
            ValueError: the samples aren't points.
        """
        return cls(shape, torch.empty(0, dimension(shape, "kde")), network.bandwidth)

    def sample(self, seeds: np.ndarray, conditions: np.ndarray | None = None) -> torch.Tensor:
        """(n, d) float32 from (n,) int64 seeds, each of which picks a row and the noise about it."""
        z = noise(seeds, (1 + self.rows.shape[1],))
        index = (ndtr(z[:, 0].double().numpy()) * len(self.rows)).astype(np.int64)
        return self.rows[torch.from_numpy(np.minimum(index, len(self.rows) - 1))] + self.bandwidth * z[:, 1:]

    def fit(self, training_set: TrainingData, parent: Self | None, seed: int, on_step: OnStep | None = None) -> Self:
        """Draws rows of the training set; the parent's play no part."""
        rows = training_set.draw(MOST_ROWS, np.random.default_rng(seed)).x
        if on_step:
            on_step(1, 1)
        return replace(self, rows=rows, seed=seed, parent=parent and parent.sha256, sha256=None)

    def save(self, path: Path) -> str:
        """Writes the rows as a checkpoint and returns its sha256."""
        config = {"shape": list(self.shape), "bandwidth": self.bandwidth}
        content = checkpoint.Checkpoint("kde", {"rows": self.rows}, config, self.seed, self.parent)
        return checkpoint.save(path, content)

    @classmethod
    def load(cls, path: Path, train: TrainConfig, sampling: SamplingConfig) -> Self:
        """Reads a checkpoint that `save` wrote; errors as in `model.checkpoint.load`."""
        stored = checkpoint.load_kind(path, "kde")
        shape, bandwidth = tuple(stored.config["shape"]), stored.config["bandwidth"]
        return cls(shape, stored.tensors["rows"], bandwidth, stored.seed, stored.parent, stored.sha256)


def dimension(shape: tuple[int, ...], kind: str) -> int:
    """The number of coordinates of a point.

    Raises:
        ValueError: the samples aren't points.
    """
    if len(shape) != 1:
        raise ValueError(f"network.kind '{kind}' is for points; for images use unet, digits or vae")
    return shape[0]
