"""OT-CFM: a flow trained on exactly paired minibatches, sampled with a fixed-step solver, averaged by EMA."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import nn
from torchcfm.conditional_flow_matching import ConditionalFlowMatcher

from model import checkpoint
from model.augment import augment
from model.config import NetworkConfig, SamplingConfig, TrainConfig
from model.coupling import pair
from model.devices import device
from model.interfaces import OnStep, TrainingData
from model.networks import Preconditioned, build_network
from model.noise import noise
from model.prefetch import ahead
from model.schedule import ema_decay, learning_rate
from model.solvers import integrate

STANDARDISE_DRAWS = 20_000  # data that give the means and variances
REPORT_STEPS = 20


class NonFiniteLossError(RuntimeError):
    """Training diverged; nothing of it is kept."""


@dataclass(frozen=True)
class Flow:
    """A trained (or, from `build`, untrained) flow. Immutable: `fit` gives a new one.

    Attributes:
        shape: of one sample: (2,) for points, (channels, height, width) for images.
        network: v(t, x) with the averaged weights.
        seed: that trained it.
        parent: sha256 of the parent's checkpoint.
        sha256: of its own checkpoint, once saved or loaded.
    """

    shape: tuple[int, ...]
    network: nn.Module
    network_config: NetworkConfig
    train: TrainConfig
    sampling: SamplingConfig
    seed: int = 0
    parent: str | None = None
    sha256: str | None = None

    @classmethod
    def build(
        cls, shape: tuple[int, ...], network: NetworkConfig, train: TrainConfig, sampling: SamplingConfig
    ) -> Self:
        """An untrained flow."""
        return cls(shape, build_network(shape, network).to(device()), network, train, sampling)

    @torch.inference_mode()
    def sample(self, seeds: np.ndarray) -> torch.Tensor:
        """(n, *shape) float32 on the CPU from (n,) int64 seeds; images are clamped to [-1, 1].

        Every batch is filled up to the same size, so that the arithmetic of a sample is the same in any company.
        """
        self.network.eval()
        size = self.sampling.batch_size
        out = torch.empty(len(seeds), *self.shape)
        for start in range(0, len(seeds), size):
            batch = seeds[start : start + size]
            filled = np.pad(batch, (0, size - len(batch)), mode="edge")
            x0 = noise(filled, self.shape).to(device())
            x1 = integrate(self.network, x0, self.sampling.solver, self.sampling.steps)
            out[start : start + size] = x1[: len(batch)].cpu()
        return out.clamp_(-1, 1) if len(self.shape) == 3 else out

    def fit(self, data: TrainingData, parent: Self | None, seed: int, on_step: OnStep | None = None) -> Self:
        """A new flow: pretrained from fresh weights when parent is None, else fine-tuned from the parent's.

        Args:
            data: what to learn.
            parent: the flow to start from; averaged and trained weights both start at its averaged ones.
            seed: of everything random in it.
            on_step: called now and then with (done, total).

        Raises:
            NonFiniteLossError: training diverged.
        """
        with torch.random.fork_rng():  # weights, dropout and torchcfm's own draws come from the global generator
            torch.manual_seed(seed)
            rng = np.random.default_rng(seed)
            start = replace(self, seed=seed, parent=parent and parent.sha256, sha256=None)
            fresh = build_network(self.shape, self.network_config).to(device())
            if parent is None:
                if isinstance(fresh, Preconditioned):
                    fresh.standardise(data.draw(STANDARDISE_DRAWS, rng).to(device()))
            else:
                fresh.load_state_dict(parent.network.state_dict())
            return replace(start, network=_train(start, fresh, data, parent is None, rng, on_step))

    def save(self, path: Path) -> str:
        """Writes the checkpoint and returns its sha256."""
        return checkpoint.save(
            path,
            checkpoint.Checkpoint(
                kind="flow",
                tensors=self.network.state_dict(),
                config={"shape": list(self.shape), "network": self.network_config.model_dump()},
                seed=self.seed,
                parent=self.parent,
            ),
        )

    @classmethod
    def load(cls, path: Path, train: TrainConfig, sampling: SamplingConfig) -> Self:
        """Reads a checkpoint that `save` wrote; errors as in `model.checkpoint.load`."""
        found = checkpoint.load(path)
        if found.kind != "flow":
            raise checkpoint.MissingCheckpointError(f"{path} holds a {found.kind}, not a flow.")
        flow = cls.build(tuple(found.config["shape"]), NetworkConfig(**found.config["network"]), train, sampling)
        try:
            flow.network.load_state_dict(found.tensors)
        except RuntimeError as error:
            raise checkpoint.CorruptCheckpointError(
                f"{path} doesn't hold the weights its sidecar describes."
            ) from error
        return replace(
            flow,
            seed=found.seed,
            parent=found.parent,
            sha256=found.sha256,
        )


def _batches(
    flow: Flow, data: TrainingData, steps: int, pretraining: bool, rng: np.random.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """`steps` batches of (t, x0, x1), exactly paired; t is spread evenly over [0, 1] to lower the loss's variance."""
    n, change = flow.train.batch_size, pretraining and flow.train.augment > 0 and len(flow.shape) == 3
    for _ in range(steps):
        x1 = data.draw(n, rng)
        if change:
            x1 = augment(x1, flow.train.augment, rng)
        x0 = torch.from_numpy(rng.standard_normal((n, *flow.shape), dtype=np.float32))
        t = torch.from_numpy(((rng.permutation(n) + rng.random(n)) / n).astype(np.float32))
        yield t.to(device()), x0.to(device()), pair(x0, x1, flow.train.pair_size).to(device())


def _train(
    flow: Flow,
    network: nn.Module,
    data: TrainingData,
    pretraining: bool,
    rng: np.random.Generator,
    on_step: OnStep | None,
) -> nn.Module:
    """Trains `network` in place and returns its running average."""
    train = flow.train
    steps, lr = (train.pretrain_steps, train.pretrain_lr) if pretraining else (train.finetune_steps, train.finetune_lr)
    matcher = ConditionalFlowMatcher(sigma=0.0)
    optimiser = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=train.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: learning_rate(step, steps, train.warmup_steps))
    average = copy.deepcopy(network).requires_grad_(False)
    trained: list[torch.Tensor] = list(network.parameters())
    averaged: list[torch.Tensor] = list(average.parameters())
    network.train()
    for step, (t, x0, x1) in enumerate(ahead(_batches(flow, data, steps, pretraining, rng)), start=1):
        t, xt, ut, *_ = matcher.sample_location_and_conditional_flow(x0, x1, t)
        loss = (network(t, xt) - ut).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), train.grad_clip)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            weight = 1 - ema_decay(step, train.ema_decay)
            torch._foreach_lerp_(averaged, trained, weight)  # pyright: ignore[reportPrivateImportUsage]
        if step % REPORT_STEPS == 0 or step == steps:
            if not torch.isfinite(loss):
                raise NonFiniteLossError(
                    f"The loss is {loss.item()} at step {step}; lower the learning rate in [train]."
                )
            if on_step:
                on_step(step, steps)
    for kept, latest in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(latest)
    return average.eval()
