"""OT-CFM: a flow trained on exactly paired minibatches, sampled with a fixed-step solver, averaged by EMA."""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import nn

from model import checkpoint
from model.batches import ahead
from model.config import NetworkConfig, SamplingConfig, TrainConfig
from model.devices import autocast, device, precision_of, velocity_field
from model.distributed import gathered, share
from model.interfaces import OnStep, TrainingData
from model.networks import Preconditioned, build_network
from model.noise import noise
from model.solvers import Velocity, integrate
from model.training import train
from model.training_state import Snapshotter

STANDARDISE_DRAWS = 20_000  # data that give the means and variances


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

    def sample(self, seeds: np.ndarray) -> torch.Tensor:
        """(n, *shape) float32 on the CPU from (n,) int64 seeds; images are clamped to [-1, 1].

        Several processes draw a part each, and all of them get all the samples.
        """
        if len(seeds) <= self.sampling.batch_size:
            return self._draw(seeds)
        return gathered(self._draw(seeds[share(len(seeds))]), len(seeds))

    @torch.inference_mode()
    def _draw(self, seeds: np.ndarray) -> torch.Tensor:
        """Samples on this process.

        Every batch is filled up to its whole size, so that a sample's arithmetic is the same however many are drawn.
        """
        size, out = self.sampling.batch_size, torch.empty(len(seeds), *self.shape)
        velocity = velocity_field(self.network.eval(), self.network_config, self.train)
        starts = range(0, len(seeds), size)
        filled = (np.pad(part, (0, size - len(part)), mode="edge") for part in (seeds[i : i + size] for i in starts))
        for start, x0 in zip(starts, ahead(noise(part, self.shape) for part in filled), strict=True):
            with autocast(precision_of(self.network_config)):
                x1 = self._integrate(velocity, x0.to(device()))
            out[start : start + size] = x1[: len(out) - start].cpu()
        return out.clamp_(-1, 1) if len(self.shape) == 3 else out

    def _integrate(self, velocity: Velocity, x0: torch.Tensor) -> torch.Tensor:
        """Samples from a batch of noise, in halves where the device's memory is too small for all of it."""
        sampling = self.sampling
        try:
            return integrate(velocity, x0, sampling.solver, sampling.steps, sampling.grid)
        except torch.OutOfMemoryError:
            if len(x0) == 1:
                raise
        half = -(-len(x0) // 2)
        warnings.warn(
            f"The device has too little memory for {len(x0)} samples at once: going on with {half}; set "
            f"sampling.batch_size = {half}.",
            stacklevel=3,
        )
        return torch.cat([self._integrate(velocity, part) for part in x0.split(half)])

    def fit(
        self,
        data: TrainingData,
        parent: Self | None,
        seed: int,
        on_step: OnStep | None = None,
        snapshotter: Snapshotter | None = None,
    ) -> Self:
        """A new flow: pretrained from fresh weights when parent is None, else fine-tuned from the parent's.

        Args:
            data: what to learn.
            parent: the flow to start from; averaged and trained weights both start at its averaged ones.
            seed: of everything random in it.
            on_step: called now and then with (done, total).
            snapshotter: keeps the training on the way; an interrupted one goes on from there to the same weights.

        Raises:
            NonFiniteLossError: training diverged.
        """
        devices = [device()] if device().type == "cuda" else []
        with torch.random.fork_rng(devices):  # weights and dropout come from torch's own generator
            torch.manual_seed(seed)
            rng = np.random.default_rng(seed)
            network = build_network(self.shape, self.network_config).to(device())
            if parent is None:
                if isinstance(network, Preconditioned):
                    network.standardise(data.draw(STANDARDISE_DRAWS, rng).to(device()))
                steps, lr = self.train.pretrain_steps, self.train.pretrain_lr
            else:
                network.load_state_dict(parent.network.state_dict())
                steps, lr = self.train.finetune_steps, self.train.finetune_lr
            average = train(
                network, data, self.shape, self.network_config, self.train, steps, lr, seed, rng,
                pretraining=parent is None, on_step=on_step, snapshotter=snapshotter,
            )  # fmt: skip
        return replace(self, network=average, seed=seed, parent=parent and parent.sha256, sha256=None)

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
        shape, network = tuple(found.config["shape"]), NetworkConfig(**found.config["network"])
        try:
            flow = cls.build(shape, network, train, sampling)
            flow.network.load_state_dict(found.tensors)
        except RuntimeError as error:
            raise checkpoint.CorruptCheckpointError(
                f"{path} doesn't hold the weights its sidecar describes."
            ) from error
        return replace(flow, seed=found.seed, parent=found.parent, sha256=found.sha256)
