"""Training: exactly paired minibatches, the next of which is made while this one is learnt from, and the average."""

import copy
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from model.augment import augment, mirrored
from model.config import TrainConfig
from model.coupling import pair
from model.devices import device
from model.flat import Flat
from model.interfaces import OnStep, TrainingData
from model.keeping import Keeper, Kept, holding_interrupts, rng_states
from model.learner import Batch, Learner, Plan
from model.prefetch import ahead
from model.schedule import ema_decay
from model.team import Team

REPORT_STEPS = 20


class NonFiniteLossError(RuntimeError):
    """Training diverged; nothing of it is kept."""


@dataclass(frozen=True, slots=True)
class Made:
    """One training batch, and where the random numbers that made it ended."""

    batch: Batch
    rng_state: dict[str, Any]  # of NumPy's generator after it


def batches(
    shape: tuple[int, ...],
    train: TrainConfig,
    data: TrainingData,
    steps: int,
    pretraining: bool,
    rng: np.random.Generator,
) -> Iterator[Made]:
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
        yield Made(Batch(t, x0, pair(x0, x1, train.pair_size)), dict(rng.bit_generator.state))


class Trainer:
    """Trains one network in place and keeps the running average of its weights.

    Args:
        network: to train, on the device.
        plan: what it is, and how it is trained.
    """

    def __init__(self, network: nn.Module, plan: Plan):
        self.network, self.plan = network, plan
        self.average = copy.deepcopy(network).requires_grad_(False)
        self._learner = Learner(network, plan)
        self._averaged = Flat(self.average).weights.data

    def run(
        self, data: TrainingData, pretraining: bool, rng: np.random.Generator,
        on_step: OnStep | None, keeper: Keeper | None,
    ) -> nn.Module:  # fmt: skip
        """Trains to the end, from where the keeper left off, and returns the averaged network.

        Raises:
            NonFiniteLossError: training diverged.
        """
        done, steps = self._resume(keeper, rng), self.plan.steps
        every = batches(self.plan.shape, self.plan.train, data, steps - done, pretraining, rng)
        try:
            self._learn(ahead(every), done, on_step, keeper)
        finally:
            self._learner.end()
        self._copy_buffers()
        return self.average.eval()

    def _learn(self, made_batches: Iterator[Made], done: int, on_step: OnStep | None, keeper: Keeper | None) -> None:
        team, steps = Team(self._learner), self.plan.steps
        with holding_interrupts() if keeper else nullcontext(lambda: False) as interrupted:
            for step, made in enumerate(made_batches, start=done + 1):
                loss = team.step(made.batch, step)
                self._take_average(step)
                stopping = interrupted()
                if stopping or step % REPORT_STEPS == 0 or step == steps:
                    _check(loss, step)
                    if on_step:
                        on_step(step, steps)
                    if keeper and (stopping or keeper.is_due()):
                        self._copy_buffers()
                        keeper.keep(self._state(step, made.rng_state), self.average, tell=not stopping)
                if stopping:
                    raise KeyboardInterrupt
        team.end()

    def _take_average(self, step: int) -> None:
        weight = 1 - ema_decay(step, self.plan.train.ema_decay)
        self._averaged.lerp_(self._learner.weights, weight)

    def _copy_buffers(self) -> None:
        for kept, latest in zip(self.average.buffers(), self.network.buffers(), strict=True):
            kept.copy_(latest)

    def _state(self, step: int, rng_state: dict[str, Any]) -> Kept:
        return Kept(
            step=step,
            network=self.network.state_dict(),
            average=self.average.state_dict(),
            optimiser=self._learner.optimiser.state_dict(),
            rng_state=rng_state,
            **rng_states(),
        )

    def _resume(self, keeper: Keeper | None, rng: np.random.Generator) -> int:
        kept = keeper.kept() if keeper else None
        if kept is None:
            return 0
        self._learner.resume(kept.network, kept.optimiser)
        self.average.load_state_dict(kept.average)
        rng.bit_generator.state = kept.rng_state
        kept.set_rng()
        return kept.step


def _check(loss: torch.Tensor, step: int) -> None:
    if not torch.isfinite(loss):
        raise NonFiniteLossError(f"The loss is {loss.item()} at step {step}; lower the learning rate in [train].")
