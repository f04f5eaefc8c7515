"""A generator of one's own that learns from whole slates and who won, not from the picked samples alone.

It draws points near stored ones. After each round it fits a utility to the slates, and stores the points that come out
when its own are drawn again in proportion to exp(utility), with real ones beside them as the data policy says.
docs/howto-contributor.md has the command that runs a study with it.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from model import checkpoint
from model.config import Conditions, NetworkConfig, SamplingConfig, TrainConfig
from model.interfaces import OnStep, PickedSlates, TrainingSet
from model.sampling import noise

ROWS = 5_000
SLATES = 2_000  # at the most, which are read at once
BANDWIDTH = 0.1
RIDGE = 0.01


def features(x: torch.Tensor) -> torch.Tensor:
    """(..., 4) what a utility of (..., 2) points may depend on: the coordinates and their squares."""
    return torch.cat([x, x.square()], dim=-1)


def fitted_utility(slates: PickedSlates, rng: np.random.Generator) -> torch.Tensor:
    """(4,) the weights of the features that make the picks most probable under Luce's rule, with a small ridge."""
    index = rng.choice(len(slates), size=min(SLATES, len(slates)), replace=False)
    shown, won = features(slates.read(index)), torch.from_numpy(slates.won[index])
    weights = torch.zeros(shown.shape[-1], requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=50)

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = cross_entropy(shown @ weights, won) + RIDGE * weights.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return weights.detach()


@dataclass(frozen=True)
class Tilted:
    """Points near stored ones, which each round tilts towards what was picked.

    Attributes:
        rows: (m, 2); empty before `fit`.
        seed: that fitted it.
        parent: sha256 of the parent's checkpoint.
        sha256: of its own checkpoint, once loaded.
    """

    rows: torch.Tensor
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
        """An empty one.

        Raises:
            ValueError: samples that aren't points, or conditions.
        """
        if shape != (2,) or conditions:
            raise ValueError("own_learner:Tilted is for points, without conditions")
        return cls(torch.empty(0, 2))

    def sample(self, seeds: np.ndarray, conditions: np.ndarray | None = None) -> torch.Tensor:
        """(n, 2) float32 from (n,) int64 seeds: each seed has a row, and a step away from it."""
        x0 = noise(seeds, (3,))
        row = (torch.special.ndtr(x0[:, 0].double()) * len(self.rows)).long().clamp(max=len(self.rows) - 1)
        return self.rows[row] + BANDWIDTH * x0[:, 1:]

    def fit(self, training_set: TrainingSet, parent: Self | None, seed: int, on_step: OnStep | None = None) -> Self:
        """Real points when parent is None; else the parent's, drawn again by their utility, beside real ones."""
        rng, real = np.random.default_rng(seed), training_set.real
        if parent is None:
            rows = real.take(real.draw_rows(ROWS, rng)).x
        else:
            assert training_set.slates is not None, "K is infinite: there are no slates"
            utility = features(parent.rows) @ fitted_utility(training_set.slates, rng)
            n_real = round(training_set.real_share * ROWS)
            chosen = rng.choice(len(parent.rows), size=ROWS - n_real, p=torch.softmax(utility.double(), 0).numpy())
            rows = torch.cat([real.take(real.draw_rows(n_real, rng)).x, parent.rows[torch.from_numpy(chosen)]])
        return replace(self, rows=rows, seed=seed, parent=parent and parent.sha256, sha256=None)

    def save(self, path: Path) -> str:
        """Writes a checkpoint and returns its sha256."""
        return checkpoint.save(path, checkpoint.Checkpoint("tilted", {"rows": self.rows}, {}, self.seed, self.parent))

    @classmethod
    def load(cls, path: Path, train: TrainConfig, sampling: SamplingConfig) -> Self:
        """Reads a checkpoint that `save` wrote; errors as in `model.checkpoint.load`."""
        saved = checkpoint.load(path)
        return cls(saved.tensors["rows"], saved.seed, saved.parent, saved.sha256)
