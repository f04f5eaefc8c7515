"""The interfaces that a user's own generator or reward has to meet; the flow and the built-in rewards meet them too.

Tensors that pass through them are on the CPU, whatever the device that the work is done on (`model.compute.device`):
your generator moves the data that it draws to its device, and its samples back. Seeds and conditions are NumPy arrays.

Name yours in study.toml by its import path: `network.kind = "my_module:Mine"`, `reward.kind = "my_module:liking"`.
Two whole ones are in examples/: own_parts.py learns from the training set's draws, own_learner.py from whole slates.
"""

import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch

from model.config import Conditions, NetworkConfig, SamplingConfig, TrainConfig

OnStep = Callable[[int, int], None]
"""Called now and then in long work with (done, total); it may raise to stop the work."""
Report = Callable[[str, int, int], None]
"""Called now and then in long work of several phases with (phase, done, total)."""


@dataclass(frozen=True, slots=True)
class Samples:
    """n samples, and the condition of each.

    Attributes:
        x: (n, *shape) on the CPU: points in the data's coordinates and images with channels first in [-1, 1] as
            float32, texts as int64 tokens.
        conditions: (n,) int64 indices into `model.config.Conditions.names`; None in a study without conditions.
    """

    x: torch.Tensor
    conditions: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, slots=True)
class Rows:
    """A part of a training set, as it lies in memory.

    Attributes:
        x: (n, *shape), images as uint8 pixels, which take a quarter of the room; points as float32, texts as int64.
        conditions: (n,) int64; None in a study without conditions.
        weights: (n,) float64 > 0, how often each row is drawn, relative to the others; None where all are alike.
    """

    x: torch.Tensor
    conditions: torch.Tensor | None = None
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: np.ndarray) -> Samples:
        """The samples of (m,) rows, as a generator sees them."""
        rows = self.subset(index)
        return Samples(scaled(rows.x), rows.conditions)

    def subset(self, index: np.ndarray) -> "Rows":
        """A part of (m,) of its rows."""
        rows = torch.from_numpy(index)
        conditions = None if self.conditions is None else self.conditions[rows]
        return Rows(self.x[rows], conditions, None if self.weights is None else self.weights[index])

    def draw(self, n: int, rng: np.random.Generator) -> Samples:
        """Draws n samples with replacement by the rows' weights: rows alone are a training set, too."""
        return self.take(self.draw_rows(n, rng))

    @classmethod
    def joined(cls, parts: Sequence["Rows"], shares: Sequence[float] = ()) -> "Rows":
        """One part of several, with as many rows as all of them.

        Args:
            parts: at least one; conditions go with all of them or with none.
            shares: of each in what is drawn; without them no row has a weight.
        """
        weights = None
        if shares:
            own = [np.ones(len(part)) if part.weights is None else part.weights for part in parts]
            weights = np.concatenate([share * row / row.sum() for share, row in zip(shares, own, strict=True)])
        conditions = [part.conditions for part in parts if part.conditions is not None]
        return cls(torch.cat([part.x for part in parts]), torch.cat(conditions) if conditions else None, weights)

    def draw_rows(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """(n,) int64 numbers of rows, drawn with replacement by their weights."""
        if self.weights is None:
            return rng.integers(len(self.x), size=n)
        edges = np.cumsum(self.weights)
        return np.minimum(np.searchsorted(edges, rng.random(n) * edges[-1], side="right"), len(edges) - 1)


class PickedSlates(Protocol):
    """The slates that a curated set was picked from, whole, with who won; images are read as they are asked for."""

    @property
    def k(self) -> int:
        """Samples in each slate."""
        ...

    @property
    def won(self) -> np.ndarray:
        """(n,) int64 positions of the picked samples."""
        ...

    @property
    def conditions(self) -> np.ndarray | None:
        """(n,) int64, under which all samples of a slate were drawn; None in a study without conditions."""
        ...

    @property
    def kinds(self) -> np.ndarray:
        """(n,) kinds of the raters: human, sim (simulated users) or proxy."""
        ...

    @property
    def generations(self) -> np.ndarray:
        """(n,) int64, that drew the samples."""
        ...

    def __len__(self) -> int: ...

    def read(self, index: np.ndarray) -> torch.Tensor:
        """(m, k, *shape) float32 on the CPU: the samples of (m,) slates, in display order.

        Raises:
            ValueError: the study didn't store their images.
        """
        ...


class TrainingData(Protocol):
    """A distribution to draw from."""

    def draw(self, n: int, rng: np.random.Generator) -> Samples:
        """Draws n samples with replacement."""
        ...


class TrainingSet(TrainingData, Protocol):
    """The data that a generator is fitted on.

    `draw` mixes real and curated samples in the shares of the study's data policy: a generator that learns from its
    draws alone follows Algorithm 1. Other learners use the parts.
    """

    @property
    def real(self) -> Rows:
        """The real data; empty where the data policy leaves them out."""
        ...

    @property
    def curated(self) -> Rows:
        """The picked samples; empty for generation 0."""
        ...

    @property
    def real_share(self) -> float:
        """Share of the real data in what is drawn."""
        ...

    @property
    def shares(self) -> tuple[float, ...]:
        """Share in what is drawn of the real data, then of each generation's curated set, oldest first."""
        ...

    @property
    def slates(self) -> PickedSlates | None:
        """The slates that the latest curated set was picked from; None for generation 0, and where K is infinite."""
        ...


class Generator(Protocol):
    """Anything that can be sampled, fitted and saved.

    The loop calls `build(...).fit(training_set, None, seed)` for generation 0 and `parent.fit(training_set, parent,
    seed)` for each later one, with None for the parent where `train.restart` is set. It saves what comes back, and
    draws from what `load` reads, which gets neither shape nor [network]: what it needs of them, `save` has to write.
    """

    @classmethod
    def build(
        cls,
        shape: tuple[int, ...],
        network: NetworkConfig,
        train: TrainConfig,
        sampling: SamplingConfig,
        conditions: Conditions | None = None,
    ) -> Self:
        """An untrained generator of samples of a shape; `study.toml`'s tables say the rest.

        Args:
            shape: of one sample.
            network: what it is.
            train: how it is fitted.
            sampling: how it is sampled.
            conditions: the study's, which `save` has to remember if `sample` needs more of them than their indices;
                None in a study without, and then it isn't passed.

        In a study of texts a `build` with a parameter `vocabulary` gets the vocabulary as plain values, whose `size` is
        the number of tokens (see `data.text.vocabulary_from`); samples are then (n, length) int64 tokens.

        Raises:
            ValueError: it can't make samples of this shape, or under conditions.
        """
        ...

    def sample(self, seeds: np.ndarray, conditions: np.ndarray | None = None) -> torch.Tensor:
        """(n, *shape) float32 (texts: int64 tokens) on the CPU from (n,) seeds; a sample depends on its own alone.

        n may be all that an evaluation needs, thousands: what takes memory is done in batches, say of
        `sampling.batch_size`.

        Args:
            seeds: non-negative.
            conditions: (n,) int64; None in a study without.
        """
        ...

    def fit(self, training_set: TrainingSet, parent: Self | None, seed: int, on_step: OnStep | None = None) -> Self:
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
    """A user's own reward; of texts, `x` is a list of n strings.

    One with a parameter `conditions` gets, in a study with conditions, a list of n names, None for samples of none.
    """

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(n,) finite rewards r(x), on the CPU as the (n, *shape) samples are, any scale already in them."""
        ...


def has_parameter(method: Any, name: str) -> bool:
    """True if a method has a parameter of this name, or takes any."""
    parameters = inspect.signature(method).parameters.values()
    return any(parameter.name == name or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


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


def scaled(images: torch.Tensor) -> torch.Tensor:
    """Float32 in [-1, 1] from uint8 pixels; float data pass as they are."""
    return images.float() / 127.5 - 1 if images.dtype == torch.uint8 else images
