"""Learning a flow from whole slates: direct preference optimisation (DPO), against one loser or against all of them.

The parent is the reference. With `l(x)` the flow-matching surrogate of `-log p(x)`, the slate's items are scored by
`beta (l_parent(x) - l(x))`, the log-ratio of the two laws times beta, and the picked one is to win by Luce's rule. At
the optimum the new law is `p_parent exp(r / beta) / Z`, where picks follow Luce's rule with the reward r.

Source: Rafailov et al. 2023 (arXiv 2305.18290) and Wallace et al. 2023 (Diffusion-DPO, arXiv 2311.12908) for pairs; the
loss over whole slates and the weight of the surrogate were derived for this project.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from model.compute import autocast, device, processes, rank
from model.config import LearnerConfig, TrainConfig
from model.interfaces import PickedSlates, scaled
from model.sampling import Velocity

LATEST = 0.98  # t beyond which the weight t / (1 - t) has a few draws carry everything


def surrogate(velocity: Velocity, x: torch.Tensor, t: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
    """(m, j) estimates of `-log p(x)`, but for a constant of each slate, by the weighted flow-matching loss.

    `l = int_0^1 t / (1 - t) E|v(t, xt) - (x - x0)|^2 dt`, which is the evidence bound of a Gaussian path: half the
    derivative of its signal-to-noise ratio times the squared error of the denoiser. Without the weight, log-ratios come
    out wrong by tens of percent.

    Args:
        velocity: v(t, x) of a flow.
        x: (m, j, *shape) items of m slates.
        t: (m, draws) times in [0, `LATEST`]; the same for all items of a slate, and for both flows.
        x0: (m, draws, *shape) noise, drawn without regard to x; likewise.
    """
    (m, j), draws = x.shape[:2], t.shape[1]
    ones = [1] * (x.ndim - 2)
    moment = t.view(m, 1, draws, *ones)
    data, start = x.unsqueeze(2), x0.unsqueeze(1)
    xt, ut = torch.lerp(start, data, moment), data - start
    times = t.unsqueeze(1).expand(m, j, draws)
    vt = velocity(times.reshape(-1), xt.reshape(-1, *x.shape[2:])).float().view(xt.shape)
    error = (vt - ut).square().flatten(3).sum(3)
    return LATEST * (t / (1 - t)).unsqueeze(1).mul(error).mean(2)


def preference_loss(margins: torch.Tensor) -> torch.Tensor:
    """The mean of `-log softmax` of the picked item, which stands first in (m, j) margins; for pairs, -log sigmoid."""
    return cross_entropy(margins, torch.zeros(len(margins), dtype=torch.long, device=margins.device))


@dataclass(frozen=True, slots=True)
class SlateBatch:
    """One batch of slates, on the CPU.

    Attributes:
        items: (m, j, *shape), the picked one first.
        t: (m, draws) times.
        x0: (m, draws, *shape) noise.
        rng_state: of NumPy's generator after the batch was drawn.
    """

    items: torch.Tensor
    t: torch.Tensor
    x0: torch.Tensor
    rng_state: dict[str, Any]


@dataclass(frozen=True)
class Preferences:
    """The objective of learning from slates, for `model.training.train`.

    Attributes:
        slates: that were picked from.
        reference: v(t, x) of the parent.
        learner: `dpo` (the picked item against one other, drawn anew each time) or `luce_dpo` (against all).
        train: the recipe.
    """

    slates: PickedSlates
    reference: nn.Module
    learner: LearnerConfig
    train: TrainConfig

    @cached_property
    def items(self) -> torch.Tensor:
        """(n, k, *shape) of all slates: images as uint8 pixels, a quarter of their size as float32."""
        x = self.slates.read(np.arange(len(self.slates)))
        return ((x + 1) * 127.5).round().to(torch.uint8) if x.ndim == 5 else x

    @property
    def shown(self) -> int:
        """Items of a slate that count at once."""
        return 2 if self.learner.kind == "dpo" else self.slates.k

    def batches(self, steps: int, rng: np.random.Generator) -> Iterator[SlateBatch]:
        """`steps` batches of as many slates as make about twice `train.batch_size` evaluations."""
        draws, k, shape = self.learner.draws, self.slates.k, self.items.shape[2:]
        m = max(processes(), 2 * self.train.batch_size // (self.shown * draws))
        for _ in range(steps):
            index = rng.integers(len(self.slates), size=m)
            x, won = scaled(self.items[torch.from_numpy(index)]), self.slates.won[index]
            # the picked position first, then the others in a random order
            keys = rng.random((m, k))
            keys[np.arange(m), won] = -1.0
            order = torch.from_numpy(np.argsort(keys, axis=1)[:, : self.shown])
            items = x[torch.arange(m)[:, None], order]
            strata = (rng.permuted(np.tile(np.arange(draws), (m, 1)), axis=1) + rng.random((m, draws))) / draws
            t = torch.from_numpy((LATEST * strata).astype(np.float32))
            x0 = torch.from_numpy(rng.standard_normal((m, draws, *shape), dtype=np.float32))
            yield SlateBatch(items, t, x0, dict(rng.bit_generator.state))

    def backward(
        self, velocity: Velocity, batch: SlateBatch, precision: str, optimiser: torch.optim.Optimizer, pieces: int
    ) -> tuple[torch.Tensor, int]:
        """Leaves the gradient of the batch's mean loss in the parameters; arguments and result as of flow matching."""
        optimiser.zero_grad(set_to_none=True)
        own = (x.tensor_split(processes())[rank()].to(device()) for x in (batch.items, batch.t, batch.x0))
        n, total = len(batch.t) / processes(), torch.zeros((), device=device())
        for items, t, x0 in zip(*(x.tensor_split(pieces) for x in own), strict=True):
            if not len(t):
                continue
            with autocast(precision):
                with torch.no_grad():
                    parent = surrogate(self.reference, items, t, x0)
                now = surrogate(velocity, items, t, x0)
            loss = preference_loss(self.learner.beta * (parent - now)) * (len(t) / n)
            loss.backward()
            total += loss.detach()
        return total, pieces
