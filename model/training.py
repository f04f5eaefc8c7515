"""The training step: torchcfm's loss on exactly paired minibatches, the next of which is made while this one trains."""

import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torchcfm.conditional_flow_matching import ConditionalFlowMatcher

from model.augment import augment, mirrored
from model.compiled import Compute
from model.config import TrainConfig
from model.coupling import pair
from model.devices import device
from model.interfaces import OnStep, TrainingData
from model.keeping import Keeper, Kept
from model.prefetch import ahead
from model.schedule import ema_decay, learning_rate

REPORT_STEPS = 20


class NonFiniteLossError(RuntimeError):
    """Training diverged; nothing of it is kept."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One training batch on the device, and where the random numbers that made it ended.

    Attributes:
        t: (n,) times in [0, 1].
        x0: (n, *shape) noise.
        x1: (n, *shape) data, in the order that pairs them with x0.
        rng_state: of NumPy's generator after it.
    """

    t: torch.Tensor
    x0: torch.Tensor
    x1: torch.Tensor
    rng_state: dict[str, Any]


def batches(
    shape: tuple[int, ...],
    train: TrainConfig,
    data: TrainingData,
    steps: int,
    pretraining: bool,
    rng: np.random.Generator,
) -> Iterator[Batch]:
    """`steps` batches, exactly paired; t is spread evenly over [0, 1] to lower the loss's variance."""
    n, images = train.batch_size, len(shape) == 3
    for _ in range(steps):
        x1 = data.draw(n, rng).to(device())
        if images and pretraining and train.augment > 0:
            x1 = augment(x1, train.augment, rng)
        if images and train.flip:
            x1 = mirrored(x1, rng)
        x0 = torch.from_numpy(rng.standard_normal((n, *shape), dtype=np.float32)).to(device())
        t = torch.from_numpy(((rng.permutation(n) + rng.random(n)) / n).astype(np.float32)).to(device())
        yield Batch(t, x0, pair(x0, x1, train.pair_size), rng.bit_generator.state)


class Trainer:
    """Trains one network in place and keeps the running average of its weights.

    Args:
        network: to train, on the device.
        train: the recipe.
        compute: in which arithmetic, compiled or not.
        steps: in all.
        lr: the highest learning rate.
    """

    def __init__(self, network: nn.Module, train: TrainConfig, compute: Compute, steps: int, lr: float):
        self.network, self.train, self.steps = network, train, steps
        self.average = copy.deepcopy(network).requires_grad_(False)
        self._field = compute.field(network, images=3 * steps * train.batch_size)  # backward costs twice the forward
        self._compute, self._parts = compute, 1
        self._matcher = ConditionalFlowMatcher(sigma=0.0)
        self._optimiser = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=train.weight_decay, fused=True)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser, lambda step: learning_rate(step, steps, train.warmup_steps)
        )
        self._trained: list[torch.Tensor] = list(network.parameters())
        self._averaged: list[torch.Tensor] = list(self.average.parameters())

    def run(
        self, data: TrainingData, shape: tuple[int, ...], pretraining: bool, rng: np.random.Generator,
        on_step: OnStep | None, keeper: Keeper | None,
    ) -> nn.Module:  # fmt: skip
        """Trains to the end, from where the keeper left off, and returns the averaged network.

        Raises:
            NonFiniteLossError: training diverged.
        """
        done = self._resume(keeper, rng)
        self.network.train()
        made = batches(shape, self.train, data, self.steps - done, pretraining, rng)
        for step, batch in enumerate(ahead(made), start=done + 1):
            loss = self._step(batch, step)
            if step % REPORT_STEPS == 0 or step == self.steps:
                if not torch.isfinite(loss):
                    raise NonFiniteLossError(
                        f"The loss is {loss.item()} at step {step}; lower the learning rate in [train]."
                    )
                if on_step:
                    on_step(step, self.steps)
                if keeper and keeper.is_due():
                    self._copy_buffers()
                    keeper.keep(self._state(step, batch.rng_state), self.average)
        self._copy_buffers()
        return self.average.eval()

    def _step(self, batch: Batch, step: int) -> torch.Tensor:
        self._optimiser.zero_grad(set_to_none=True)
        try:
            loss = self._gradient(batch)
        except torch.OutOfMemoryError:
            if self._parts >= len(batch.t):
                raise
            self._parts *= 2
            warnings.warn(
                f"The device has too little memory for a batch of {len(batch.t)}: going on in {self._parts} parts.",
                stacklevel=2,
            )
            return self._step(batch, step)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.train.grad_clip)
        self._optimiser.step()
        self._schedule.step()
        with torch.no_grad():
            weight = 1 - ema_decay(step, self.train.ema_decay)
            torch._foreach_lerp_(self._averaged, self._trained, weight)  # pyright: ignore[reportPrivateImportUsage]
        return loss

    def _gradient(self, batch: Batch) -> torch.Tensor:
        """Adds the gradient of torchcfm's loss over the batch, part by part, and returns the loss."""
        total = torch.zeros((), device=batch.t.device)
        size = -(-len(batch.t) // self._parts)
        for t, x0, x1 in zip(batch.t.split(size), batch.x0.split(size), batch.x1.split(size), strict=True):
            t, xt, ut, *_ = self._matcher.sample_location_and_conditional_flow(x0, x1, t)
            with self._compute.autocast():
                vt = self._field(t, xt)
            loss = (vt.float() - ut).square().mean() * (len(t) / len(batch.t))
            loss.backward()
            total += loss.detach()
        return total

    def _copy_buffers(self) -> None:
        for kept, latest in zip(self.average.buffers(), self.network.buffers(), strict=True):
            kept.copy_(latest)

    def _state(self, step: int, rng_state: dict[str, Any]) -> Kept:
        return Kept(
            step=step,
            network=self.network.state_dict(),
            average=self.average.state_dict(),
            optimiser=self._optimiser.state_dict(),
            rng_state=rng_state,
            torch_rng=torch.get_rng_state(),
            device_rng=torch.cuda.get_rng_state() if device().type == "cuda" else None,
        )

    def _resume(self, keeper: Keeper | None, rng: np.random.Generator) -> int:
        kept = keeper.kept() if keeper else None
        if kept is None:
            return 0
        self.network.load_state_dict(kept.network)
        self.average.load_state_dict(kept.average)
        self._optimiser.load_state_dict(kept.optimiser)
        for _ in range(kept.step):
            self._schedule.step()
        rng.bit_generator.state = kept.rng_state
        torch.set_rng_state(kept.torch_rng)
        if kept.device_rng is not None and device().type == "cuda":
            torch.cuda.set_rng_state(kept.device_rng)
        return kept.step
