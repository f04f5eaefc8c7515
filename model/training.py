"""Training by optimal-transport conditional flow matching: `train` is the whole loop.

Source: Tong et al. 2024 (arXiv 2302.00482), with the exact plan of each group of a batch (`model.batches`).
"""

import copy
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from model.batches import ahead, pair
from model.config import NetworkConfig, TrainConfig
from model.devices import autocast, device, precision_of, velocity_field
from model.distributed import accelerator, from_main, mean, processes, rank
from model.images import augment, mirrored
from model.interfaces import OnStep, TrainingData
from model.noise import derive_seed
from model.solvers import Velocity
from model.training_state import Snapshotter, TrainingState, holding_interrupts

HELD = 0.4
REPORT_STEPS = 20


def learning_rate(step: int, steps: int, warmup: int) -> float:
    """The factor on the learning rate: rises over `warmup` steps (a tenth of all at the most), then a cosine to 0."""
    warmup = min(warmup, steps // 10)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 + 0.5 * float(np.cos(np.pi * (step - warmup) / max(1, steps - warmup)))


def held_rate(step: int, steps: int) -> float:
    """The factor on the learning rate: 1 for two fifths of the steps, then a straight line to 0.

    Source: the constant rate with a cooldown of Hägele et al. 2024 (arXiv 2405.18392).
    """
    return min(1.0, (steps - step) / max(1, steps - HELD * steps))


def ema_decay(step: int, decay: float) -> float:
    """The running average's decay after a step; it grows gradually, so that a short fine-tune forgets its parent."""
    return min(decay, (1 + step) / (10 + step))


class NonFiniteLossError(RuntimeError):
    """Training diverged; nothing of it is kept."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of paired training data, on the CPU.

    Attributes:
        t: (n,) times in [0, 1].
        x0: (n, *shape) noise.
        x1: (n, *shape) data, in the order that pairs them with x0.
        rng_state: of NumPy's generator after the batch was drawn.
    """

    t: torch.Tensor
    x0: torch.Tensor
    x1: torch.Tensor
    rng_state: dict[str, Any]


def batches(
    data: TrainingData, shape: tuple[int, ...], train: TrainConfig, steps: int, rng: np.random.Generator,
    *, pretraining: bool,
) -> Iterator[Batch]:  # fmt: skip
    """`steps` batches; t is spread evenly over [0, 1], which lowers the loss's variance."""
    n, images = train.batch_size, len(shape) == 3
    for _ in range(steps):
        x1 = data.draw(n, rng)
        if images and pretraining and train.augment > 0:
            x1 = augment(x1, train.augment, rng)
        if images and train.flip:
            x1 = mirrored(x1, rng)
        x0 = torch.from_numpy(rng.standard_normal((n, *shape), dtype=np.float32))
        t = torch.from_numpy(((rng.permutation(n) + rng.random(n)) / n).astype(np.float32))
        x1 = pair(x0, x1, train.pair_size)
        if device().type == "cuda":  # pinned, so that the copy to the GPU needn't be waited for
            t, x0, x1 = t.pin_memory(), x0.pin_memory(), x1.pin_memory()
        yield Batch(t, x0, x1, dict(rng.bit_generator.state))


def train(
    network: nn.Module, data: TrainingData, shape: tuple[int, ...], config: NetworkConfig, train: TrainConfig,
    steps: int, lr: float, seed: int, rng: np.random.Generator, *, pretraining: bool,
    on_step: OnStep | None = None, snapshotter: Snapshotter | None = None,
) -> nn.Module:  # fmt: skip
    """Trains a network in place, from where the keeper left off, and returns its running average.

    Several processes make the same batches, and each learns from its part of every one; their gradients are averaged.

    Args:
        network: v(t, x), on the device.
        data: to learn.
        shape: of one sample.
        config: what the network is.
        train: the recipe.
        steps: in all.
        lr: the highest learning rate.
        seed: of the dropout of each step.
        rng: draws data, noise and times.
        pretraining: whether images are augmented.
        on_step: called every `REPORT_STEPS` steps with (done, total).
        snapshotter: keeps the training on the way, and on Ctrl-C.

    Raises:
        NonFiniteLossError: training diverged.
        ValueError: a batch has fewer data than there are processes.
    """
    if train.batch_size < processes():
        raise ValueError(f"train.batch_size = {train.batch_size} can't be divided among {processes()} processes.")
    network.train()
    average = copy.deepcopy(network).requires_grad_(False)
    weights, averaged = list(network.parameters()), list(average.parameters())
    optimiser = torch.optim.AdamW(weights, lr=lr, weight_decay=train.weight_decay, fused=True)
    done = _resume(snapshotter, network, average, optimiser, rng)
    engine = accelerator()
    pieces = engine.gradient_accumulation_steps
    parallel = engine.prepare(network) if processes() > 1 else network
    velocity, precision = velocity_field(parallel, config, train), precision_of(config)

    made = ahead(batches(data, shape, train, steps - done, rng, pretraining=pretraining))
    with holding_interrupts() if snapshotter else nullcontext(lambda: False) as interrupted:
        for step, batch in enumerate(made, start=done + 1):
            for group in optimiser.param_groups:
                group["lr"] = lr * learning_rate(step - 1, steps, train.warmup_steps)
            if config.dropout:
                torch.manual_seed(derive_seed(seed, step, rank()))
            loss, pieces = backward(velocity, batch, precision, optimiser, pieces)
            nn.utils.clip_grad_norm_(weights, train.grad_clip)
            optimiser.step()
            with torch.no_grad():
                torch._foreach_lerp_(averaged, weights, 1 - ema_decay(step, train.ema_decay))  # pyright: ignore

            reporting = step % REPORT_STEPS == 0 or step == steps
            stopping = from_main(interrupted) if reporting or processes() == 1 else False
            if stopping or reporting:
                loss = mean(loss)
                if not torch.isfinite(loss):
                    raise NonFiniteLossError(
                        f"The loss is {loss:g} at step {step}; lower the learning rate in [train]."
                    )
                if on_step:
                    on_step(step, steps)
                if snapshotter and (stopping or snapshotter.is_due()):
                    states = network.state_dict(), average.state_dict(), optimiser.state_dict()
                    snapshotter.keep(TrainingState(step, *states, batch.rng_state), average, tell=not stopping)
            if stopping:
                raise KeyboardInterrupt
    return average.eval()


def backward(
    velocity: Velocity, batch: Batch, precision: str, optimiser: torch.optim.Optimizer, pieces: int
) -> tuple[torch.Tensor, int]:
    """Leaves the gradient of the batch's mean loss in the parameters; in smaller pieces where memory is short.

    On several processes each takes its part of the batch, and the mean over them is that of the whole batch.

    Args:
        velocity: of the network whose parameters the optimiser has.
        batch: to learn from.
        precision: 'auto', 'bf16' or 'fp32', of the network.
        optimiser: whose gradients are cleared first.
        pieces: that the batch is cut into.

    Returns:
        The loss, and the pieces that the batch had to be cut into.
    """
    optimiser.zero_grad(set_to_none=True)
    n, total = len(batch.t) / processes(), torch.zeros((), device=device())
    own = (x.tensor_split(processes())[rank()] for x in (batch.t, batch.x0, batch.x1))
    parts = [x.to(device(), non_blocking=True).tensor_split(pieces) for x in own]
    try:
        for t, x0, x1 in zip(*parts, strict=True):
            moment = t.view(-1, *[1] * (x0.ndim - 1))
            xt, ut = torch.lerp(x0, x1, moment), x1 - x0
            with autocast(precision):
                vt = velocity(t, xt)
            loss = (vt.float() - ut).square().mean() * (len(t) / n)
            loss.backward()
            total += loss.detach()
        return total, pieces
    except torch.OutOfMemoryError:
        if pieces >= n or processes() > 1:  # the others go on with whole batches
            raise
    warnings.warn(
        f"The device has too little memory for {-(-len(batch.t) // pieces)} at once: going on in {2 * pieces} pieces.",
        stacklevel=2,
    )
    return backward(velocity, batch, precision, optimiser, 2 * pieces)


def _resume(
    snapshotter: Snapshotter | None, network: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer,
    rng: np.random.Generator,
) -> int:  # fmt: skip
    """Goes on from what was kept, if anything was, and gives the steps that are done."""
    kept = snapshotter.kept() if snapshotter else None
    if kept is None:
        return 0
    network.load_state_dict(kept.network)
    average.load_state_dict(kept.average)
    optimiser.load_state_dict(kept.optimiser)
    rng.bit_generator.state = kept.rng_state
    return kept.step
