"""Learning a flow from whole slates: direct preference optimisation (DPO), against one loser or against all of them.

The reference has the parent's law. With `l(x)` the flow-matching surrogate of `-log p(x)`, the slate's items are scored
by `beta (l_reference(x) - l(x))`, beta times the log-ratio of the two laws, and the picked one is to win by Luce's
rule. At the optimum the new law is `p_parent exp(r / beta) / Z`, where picks follow Luce's rule with the reward r.

That needs two things which the loss alone doesn't give, and without which half of the gain was lost on points
(docs/learners.md). `l` is a log-likelihood for the field of noise and data that are paired independently alone: so the
reference is the parent, fitted to such pairs of its own samples first. And a field may lower `l` where it is the field
of no law at all: so flow matching on the parent's samples, weighted by the ratio of the laws `exp(l_reference - l)`, an
anchor, holds it to the law that its own `l` stands for. The field of `p_parent exp(r / beta) / Z` minimises both.

Source: Rafailov et al. 2023 (arXiv 2305.18290) and Wallace et al. 2023 (Diffusion-DPO, arXiv 2311.12908) for pairs; the
loss over whole slates, the weight of the surrogate and the anchor were derived for this project.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from model.compute import autocast, device, processes, rank
from model.config import LearnerConfig, TrainConfig
from model.interfaces import PickedSlates, Rows, TrainingData, scaled
from model.sampling import Velocity

EVALUATIONS = 2  # a step, of the network: so many times train.batch_size for slates, and as many for the anchor
LATEST = 0.98  # t beyond which the weight t / (1 - t) has a few draws carry everything


def squared_errors(
    velocity: Velocity, x: torch.Tensor, t: torch.Tensor, x0: torch.Tensor, *y: torch.Tensor
) -> torch.Tensor:
    """(m, j, draws) squared errors `|v(t, xt) - (x - x0)|^2` of a velocity field; arguments as of `surrogate`."""
    (m, j), draws = x.shape[:2], t.shape[1]
    moment = t.view(m, 1, draws, *[1] * (x.ndim - 2))
    data, start = x.unsqueeze(2), x0.unsqueeze(1)
    xt, ut = torch.lerp(start, data, moment), data - start
    times = t.unsqueeze(1).expand(m, j, draws)
    under = (of.repeat_interleave(j * draws) for of in y)
    vt = velocity(times.reshape(-1), xt.reshape(-1, *x.shape[2:]), *under).float().view(xt.shape)
    return (vt - ut).square().flatten(3).sum(3)


def surrogate(
    velocity: Velocity, x: torch.Tensor, t: torch.Tensor, x0: torch.Tensor, *y: torch.Tensor, earliest: float = 0.0
) -> torch.Tensor:
    """(m, j) estimates of `-log p(x)`, but for a constant of each slate, by the weighted flow-matching loss.

    `l = int_0^1 t / (1 - t) E|v(t, xt) - (x - x0)|^2 dt`, which is the evidence bound of a Gaussian path: half the
    derivative of its signal-to-noise ratio times the squared error of the denoiser. Without the weight, log-ratios come
    out wrong by tens of percent.

    Args:
        velocity: v(t, x) of a flow.
        x: (m, j, *shape) items of m slates.
        t: (m, draws) times, even in [earliest, `LATEST`]; the same for all items of a slate, and for both flows.
        x0: (m, draws, *shape) noise, drawn without regard to x; likewise.
        y: (m,) int64 conditions of the slates; nothing in a study without.
        earliest: t at which the flow begins; before it nothing of x is seen.
    """
    errors = squared_errors(velocity, x, t, x0, *y)
    return (LATEST - earliest) * (t / (1 - t)).unsqueeze(1).mul(errors).mean(2)


def anchor_loss(errors: torch.Tensor, reference: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """The mean squared error on the reference's samples, each weighted by the ratio of the laws, `exp(l_ref - l)`.

    The ratio is estimated from every other draw of time and noise, and weights the errors of the rest: estimated from
    the same draws, it would favour errors that happen to be small. Ratios are relative to their mean over the batch.

    Args:
        errors: (n, draws) squared errors of the flow on n samples, with at least two draws.
        reference: (n, draws) those of the reference, at the same draws.
        t: (n, draws) times.
    """
    with torch.no_grad():
        ratios = LATEST * t / (1 - t) * (reference - errors)
        weights = len(t) * torch.stack([ratios[:, other::2].mean(1) for other in (1, 0)], dim=1).softmax(0)
    halves = torch.stack([errors[:, half::2].mean(1) for half in (0, 1)], dim=1)
    return (weights * halves).mean()


def slates_of(training_set: TrainingData, learner: LearnerConfig) -> PickedSlates:
    """The slates of a training set.

    Raises:
        ValueError: it has none.
    """
    slates = getattr(training_set, "slates", None)
    if slates is None:
        raise ValueError(f"learner.kind '{learner.kind}' learns from slates, and there are none here.")
    return slates


def preference_loss(margins: torch.Tensor) -> torch.Tensor:
    """The mean of `-log softmax` of the picked item, which stands first in (m, j) margins; for pairs, -log sigmoid."""
    return cross_entropy(margins, torch.zeros(len(margins), dtype=torch.long, device=margins.device))


@contextmanager
def exchanged(weights: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> Iterator[None]:
    """While the block runs, the parameters have the other values; nothing is copied."""

    def exchange() -> None:
        for name, weight in weights.items():
            weight.data, others[name] = others[name], weight.data

    exchange()
    try:
        yield
    finally:
        exchange()


@dataclass(frozen=True, slots=True)
class SlateBatch:
    """One batch of slates, on the CPU.

    Attributes:
        items: (m, j, *shape), the picked one first.
        t: (m, draws) times.
        x0: (m, draws, *shape) noise.
        rng_state: of NumPy's generator after the batch was drawn.
        y: (m,) int64 conditions of the slates; empty in a study without.
        anchor: samples of the parent (n, 1, *shape), with t, x0 and y as above; empty without an anchor.
    """

    items: torch.Tensor
    t: torch.Tensor
    x0: torch.Tensor
    rng_state: dict[str, Any]
    y: tuple[torch.Tensor, ...] = ()
    anchor: tuple[torch.Tensor, ...] = ()


@dataclass(frozen=True)
class Preferences:
    """The objective of learning from slates, for `model.training.train`.

    Attributes:
        slates: that were picked from.
        reference: v(t, x) of a flow with the parent's law.
        learner: `dpo` (the picked item against one other, drawn anew each time) or `luce_dpo` (against all).
        train: the recipe.
        samples: of the parent, for the anchor; None without one.
        earliest: t at which the flow begins.
        latent: shape of what the flow works on; empty where it is the samples themselves.
        encode: gives it, (n, *latent) of (n, *shape) samples.
    """

    slates: PickedSlates
    reference: Velocity
    learner: LearnerConfig
    train: TrainConfig
    samples: Rows | None = None
    earliest: float = 0.0
    latent: tuple[int, ...] = ()
    encode: Callable[[torch.Tensor], torch.Tensor] | None = None

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
        """`steps` batches of slates and of samples, either for `EVALUATIONS` times `train.batch_size` evaluations."""
        draws, k, shape = self.learner.draws, self.slates.k, self.latent or self.items.shape[2:]
        m = max(processes(), EVALUATIONS * self.train.batch_size // (self.shown * draws))
        n = max(processes(), EVALUATIONS * self.train.batch_size // draws)
        for _ in range(steps):
            index = rng.integers(len(self.slates), size=m)
            x, won = scaled(self.items[torch.from_numpy(index)]), self.slates.won[index]
            # the picked position first, then the others in a random order
            keys = rng.random((m, k))
            keys[np.arange(m), won] = -1.0
            order = torch.from_numpy(np.argsort(keys, axis=1)[:, : self.shown])
            items = x[torch.arange(m)[:, None], order]
            of, anchor = self.slates.conditions, ()
            t, x0 = self.draw(m, shape, rng)
            y = () if of is None else (torch.from_numpy(of[index]),)
            if self.samples is not None:
                drawn = self.samples.draw(n, rng)
                under = () if drawn.conditions is None else (drawn.conditions,)
                anchor = drawn.x.unsqueeze(1), *self.draw(n, shape, rng), *under
            yield SlateBatch(items, t, x0, dict(rng.bit_generator.state), y, anchor)

    def draw(self, n: int, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, draws) times, spread evenly over each row, and (n, draws, *shape) noise."""
        draws = self.learner.draws
        strata = (rng.permuted(np.tile(np.arange(draws), (n, 1)), axis=1) + rng.random((n, draws))) / draws
        t = torch.from_numpy((self.earliest + (LATEST - self.earliest) * strata).astype(np.float32))
        return t, torch.from_numpy(rng.standard_normal((n, draws, *shape), dtype=np.float32))

    def backward(
        self, velocity: Velocity, batch: SlateBatch, precision: str, optimiser: torch.optim.Optimizer, pieces: int
    ) -> tuple[torch.Tensor, int]:
        """Leaves the gradient of the batch's mean loss in the parameters; arguments and result as of flow matching."""
        optimiser.zero_grad(set_to_none=True)
        own = (x.tensor_split(processes())[rank()].to(device()) for x in (batch.items, batch.t, batch.x0, *batch.y))
        n, total, encode = len(batch.t) / processes(), torch.zeros((), device=device()), self.encode
        for items, t, x0, *y in zip(*(x.tensor_split(pieces) for x in own), strict=True):
            if not len(t):
                continue
            with autocast(precision):
                if encode is not None:
                    items = encode(items.flatten(0, 1)).unflatten(0, items.shape[:2])
                with torch.no_grad():
                    parent = surrogate(self.reference, items, t, x0, *y, earliest=self.earliest)
                now = surrogate(velocity, items, t, x0, *y, earliest=self.earliest)
            loss = preference_loss(self.learner.beta * (parent - now)) * (len(t) / n)
            loss.backward()
            total += loss.detach()
        own = (x.tensor_split(processes())[rank()].to(device()) for x in batch.anchor)
        for x, t, x0, *y in zip(*(x.tensor_split(pieces) for x in own), strict=True):
            if not len(t):
                continue
            with autocast(precision):
                with torch.no_grad():
                    reference = squared_errors(self.reference, x, t, x0, *y)[:, 0]
                errors = squared_errors(velocity, x, t, x0, *y)[:, 0]
            share = len(t) * processes() / len(batch.anchor[0])
            loss = self.learner.anchor * share * anchor_loss(errors, reference, t) / x[0].numel()
            loss.backward()
            total += loss.detach()
        return total, pieces
