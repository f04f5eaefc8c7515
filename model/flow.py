"""OT-CFM: a flow trained on exactly paired minibatches, sampled with a fixed-step solver, averaged by EMA."""

import warnings
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Self

import numpy as np
import torch
from torch import nn

from model import checkpoint, ranks
from model.compiled import LARGE, Compute, Field
from model.config import NetworkConfig, SamplingConfig, TrainConfig
from model.devices import device
from model.interfaces import OnStep, TrainingData
from model.keeping import Keeper, Tensors
from model.lanes import LANES, pays, side_by_side
from model.learner import Plan
from model.networks import Preconditioned, build_network
from model.noise import noise
from model.prefetch import ahead
from model.ranks import Group
from model.solvers import evaluations, integrate
from model.training import Trainer

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
        placed = Compute.of(network).place(build_network(shape, network))
        return cls(shape, placed, network, train, sampling)

    @classmethod
    def with_weights(
        cls, shape: tuple[int, ...], network: NetworkConfig, train: TrainConfig, sampling: SamplingConfig,
        tensors: Tensors,
    ) -> Self:  # fmt: skip
        """A flow with these weights.

        Raises:
            RuntimeError: they are another network's.
        """
        flow = cls.build(shape, network, train, sampling)
        flow.network.load_state_dict(tensors)
        return flow

    def sample(self, seeds: np.ndarray) -> torch.Tensor:
        """(n, *shape) float32 on the CPU from (n,) int64 seeds; images are clamped to [-1, 1].

        Batches go round the ranks. Every batch is filled up to the same size, so that the arithmetic of a sample is
        the same in any company.
        """
        n, batch, group = len(seeds), self.sampling.batch_size, ranks.led()
        if group is None or n <= batch:
            return self._draw(seeds, n)
        about = (self.shape, self.network_config, self.train, self.sampling)
        key = ranks.key_of(self.network, *about)
        group.lend(key, type(self).with_weights, *about, ranks.on_cpu(self.network.state_dict()))
        group.tell(_sample_along, key, seeds)
        return group.gather(self._draw(seeds[ranks.rows(n, batch, 0, group.size)], n), n, batch)

    def _draw(self, seeds: np.ndarray, n: int) -> torch.Tensor:
        """Samples of seeds, of which there are n in all, on this process.

        A large network draws half a batch at a time on a CPU, and with cores enough two halves side by side.
        """
        self.network.eval()
        sampling, compute = self.sampling, Compute.of(self.network_config)
        field = compute.field(self.network, n * evaluations(sampling.solver, sampling.steps))
        out = torch.empty(len(seeds), *self.shape)

        in_lanes = field is self.network and self.network_config.kind in LARGE and device().type == "cpu"
        size = -(-sampling.batch_size // LANES) if in_lanes else sampling.batch_size
        stopping = Event()

        def velocity(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            if stopping.is_set():
                raise CancelledError
            return field(t, x)

        def begin(start: int) -> tuple[int, torch.Tensor]:
            batch = seeds[start : start + size]
            return start, noise(np.pad(batch, (0, size - len(batch)), mode="edge"), self.shape)

        @torch.inference_mode()
        def draw(start: int, x0: torch.Tensor) -> None:
            with compute.autocast():
                x1 = self._solve(velocity, x0.to(device()))
            out[start : start + size] = x1[: len(seeds) - start].float().cpu()

        starts = range(0, len(seeds), size)
        if in_lanes and pays(0.0, device()):
            side_by_side(lambda start: draw(*begin(start)), starts, stopping)
        else:
            for start, x0 in ahead(map(begin, starts)):
                draw(start, x0)
        return out.clamp_(-1, 1) if len(self.shape) == 3 else out

    def _solve(self, field: Field, x0: torch.Tensor) -> torch.Tensor:
        """Integrates a batch, in halves where the device's memory is too small for all of it."""
        sampling = self.sampling
        try:
            return integrate(field, x0, sampling.solver, sampling.steps, sampling.grid)
        except torch.OutOfMemoryError:
            if len(x0) == 1:
                raise
        half = -(-len(x0) // 2)
        warnings.warn(
            f"The device has too little memory for {len(x0)} samples at once: going on with {half}; set "
            f"sampling.batch_size = {half}.",
            stacklevel=3,
        )
        return torch.cat([self._solve(field, part) for part in x0.split(half)])

    def fit(
        self,
        data: TrainingData,
        parent: Self | None,
        seed: int,
        on_step: OnStep | None = None,
        keeper: Keeper | None = None,
    ) -> Self:
        """A new flow: pretrained from fresh weights when parent is None, else fine-tuned from the parent's.

        Args:
            data: what to learn.
            parent: the flow to start from; averaged and trained weights both start at its averaged ones.
            seed: of everything random in it.
            on_step: called now and then with (done, total).
            keeper: keeps the training on the way; an interrupted one goes on from there to the same weights.

        Raises:
            NonFiniteLossError: training diverged.
        """
        devices = [device()] if device().type == "cuda" else []
        with torch.random.fork_rng(devices):  # weights, dropout and torchcfm's own draws come from the global generator
            torch.manual_seed(seed)
            rng = np.random.default_rng(seed)
            start = replace(self, seed=seed, parent=parent and parent.sha256, sha256=None)
            train = self.train
            fresh = Compute.of(self.network_config).place(build_network(self.shape, self.network_config))
            if parent is None:
                if isinstance(fresh, Preconditioned):
                    fresh.standardise(data.draw(STANDARDISE_DRAWS, rng).to(device()))
                steps, lr = train.pretrain_steps, train.pretrain_lr
            else:
                fresh.load_state_dict(parent.network.state_dict())
                steps, lr = train.finetune_steps, train.finetune_lr
            trainer = Trainer(fresh, Plan(self.shape, self.network_config, train, steps, lr, seed))
            return replace(start, network=trainer.run(data, parent is None, rng, on_step, keeper))

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
            flow = cls.with_weights(shape, network, train, sampling, found.tensors)
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


def _sample_along(group: Group, key: str, seeds: np.ndarray) -> None:
    flow: Flow = group.held[key]
    mine = ranks.rows(len(seeds), flow.sampling.batch_size, group.rank, group.size)
    group.send(flow._draw(seeds[mine], len(seeds)), 0)
