"""The interfaces that a user's own generator or reward has to meet; the flow and the built-in rewards meet them too.

Tensors that pass through them are on the CPU, whatever the device that the work is done on (`model.compute.device`):
your generator moves the data that it draws to its device, and its samples back.

Name yours in study.toml by its import path: `network.kind = "my_module:Mine"`, `reward.kind = "my_module:liking"`.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch

from model.config import NetworkConfig, SamplingConfig, TrainConfig

OnStep = Callable[[int, int], None]
"""Called now and then in long work with (done, total); it may raise to stop the work."""
Report = Callable[[str, int, int], None]
"""Called now and then in long work of several phases with (phase, done, total)."""


class TrainingData(Protocol):
    """A distribution to draw from, which a generator is fitted on."""

    def draw(self, n: int, rng: np.random.Generator) -> torch.Tensor:
        """(n, *shape) float32 on the CPU: points in the data's coordinates, images with channels first in [-1, 1]."""
        ...


class Generator(Protocol):
    """Anything that can be sampled, fitted and saved."""

    @classmethod
    def build(
        cls, shape: tuple[int, ...], network: NetworkConfig, train: TrainConfig, sampling: SamplingConfig
    ) -> Self:
        """An untrained generator of samples of a shape; `study.toml`'s tables say the rest."""
        ...

    def sample(self, seeds: np.ndarray) -> torch.Tensor:
        """(n, *shape) float32 on the CPU from (n,) int64 seeds; a sample depends on its own seed alone."""
        ...

    def fit(self, data: TrainingData, parent: Self | None, seed: int, on_step: OnStep | None = None) -> Self:
        """A new generator: pretrained when parent is None, else warm-started from it. Same inputs, same weights."""
        ...

    def save(self, path: Path) -> str:
        """Writes a checkpoint (see `model.checkpoint`) and returns its sha256."""
        ...

    @classmethod
    def load(cls, path: Path, train: TrainConfig, sampling: SamplingConfig) -> Self:
        """Reads a checkpoint that `save` wrote."""
        ...


class Reward(Protocol):
    """A user's own reward."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(n,) finite rewards r(x), on the CPU as the (n, *shape) samples are, any scale already in them."""
        ...


def import_named(name: str, setting: str) -> Any:
    """The object that 'module:name' stands for.

    Raises:
        ValueError: it isn't such a name, or can't be imported; `setting` is named.
    """
    module, colon, attribute = name.partition(":")
    try:
        if not colon:
            raise ValueError
        return getattr(importlib.import_module(module), attribute)
    except (ValueError, ImportError, AttributeError) as error:
        raise ValueError(f"{setting} is '{name}', which is neither built in nor importable as 'module:name'") from error
