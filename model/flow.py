"""OT-CFM: a flow trained on exactly paired minibatches, sampled with a fixed-step solver, averaged by EMA."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import nn

from model import checkpoint, ranks
from model.compiled import Compute
from model.config import NetworkConfig, SamplingConfig, TrainConfig
from model.devices import device
from model.drawing import Drawing
from model.interfaces import OnStep, TrainingData
from model.keeping import Keeper, Tensors
from model.learner import Plan
from model.networks import Preconditioned, build_network
from model.ranks import Group
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

        Batches go round the ranks.
        """
        n, batch, group = len(seeds), self.sampling.batch_size, ranks.led()
        if group is None or n <= batch:
            return self._draw(seeds, n)
        about = (self.shape, self.network_config, self.train, self.sampling)
        key = ranks.key_of(self.network, *about)
        group.lend(key, type(self).with_weights, *about, ranks.on_cpu(self.network.state_dict()))
        group.tell(_sample_along, key, seeds)
        return group.gather(self._draw(seeds[ranks.rows(n, batch, 0, group.size)], n), n, batch)

    def _draw(self, seeds: np.ndarray, wanted: int) -> torch.Tensor:
        """Samples of seeds on this process, of `wanted` on all."""
        drawing = Drawing(self.network, self.network_config, self.sampling, self.shape, wanted)
        out = drawing.samples(seeds)
        return out.clamp_(-1, 1) if len(self.shape) == 3 else out

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
