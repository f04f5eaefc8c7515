"""OT-CFM: a flow trained on exactly paired minibatches, sampled with a fixed-step solver, averaged by EMA."""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import nn

from model import checkpoint
from model.compute import autocast, device, gathered, precision_of, share, velocity_field
from model.config import Conditions, LearnerConfig, NetworkConfig, SamplingConfig, TrainConfig
from model.interfaces import OnStep, PickedSlates, Rows, TrainingData
from model.networks import Preconditioned, build_network
from model.preferences import Preferences, slates_of
from model.sampling import Velocity, derive_seed, derive_seeds, integrate, noise
from model.training import Snapshotter, ahead, train

STANDARDISE_DRAWS = 20_000  # data that give the means and variances
REUSE, MOST_SAMPLES = 16, 20_000  # of the parent's samples, in the fit of a reference: how often each comes up


@dataclass(frozen=True)
class Flow:
    """A trained (or, from `build`, untrained) flow. Immutable: `fit` gives a new one.

    Attributes:
        shape: of one sample: (2,) for points, (channels, height, width) for images.
        network: v(t, x) with the averaged weights.
        seed: that trained it.
        parent: sha256 of the parent's checkpoint.
        sha256: of its own checkpoint, once saved or loaded.
        conditions: that it can draw under; 0 for none.
    """

    shape: tuple[int, ...]
    network: nn.Module
    network_config: NetworkConfig
    train: TrainConfig
    sampling: SamplingConfig
    seed: int = 0
    parent: str | None = None
    sha256: str | None = None
    conditions: int = 0

    @classmethod
    def build(
        cls,
        shape: tuple[int, ...],
        network: NetworkConfig,
        train: TrainConfig,
        sampling: SamplingConfig,
        conditions: Conditions | None = None,
    ) -> Self:
        """An untrained flow."""
        n = len(conditions) if conditions else 0
        return cls(shape, build_network(shape, network, n).to(device()), network, train, sampling, conditions=n)

    def sample(
        self, seeds: np.ndarray, conditions: np.ndarray | None = None, on_step: OnStep | None = None
    ) -> torch.Tensor:
        """(n, *shape) float32 on the CPU from (n,) int64 seeds; images are clamped to [-1, 1].

        Several processes draw a part each, and all of them get all the samples. Every batch is filled up to its whole
        size, so that a sample's arithmetic is the same however many are drawn. `on_step` is called after each batch.
        """
        size = self.sampling.batch_size
        is_divided = len(seeds) > size
        part_of_all = share(len(seeds)) if is_divided else slice(None)
        own, y = seeds[part_of_all], None if conditions is None else conditions[part_of_all]
        with torch.inference_mode():
            samples = torch.empty(len(own), *self.shape)
            velocity = velocity_field(self.network.eval(), self.network_config, self.train)
            starts = range(0, len(own), size)

            def filled(rows: np.ndarray) -> np.ndarray:
                return np.pad(rows, (0, size - len(rows)), mode="edge")

            x0s = ahead(noise(filled(own[i : i + size]), self.shape) for i in starts)
            for start, x0 in zip(starts, x0s, strict=True):
                under = () if y is None else (torch.from_numpy(filled(y[start : start + size])).to(device()),)
                with autocast(precision_of(self.network_config)):
                    x1 = self.integrate_batch(velocity, x0.to(device()), *under)
                samples[start : start + size] = x1[: len(samples) - start].cpu()
                if on_step:
                    on_step(min(start + size, len(own)), len(own))
            if len(self.shape) == 3:
                samples.clamp_(-1, 1)
        return gathered(samples, len(seeds)) if is_divided else samples

    def integrate_batch(self, velocity: Velocity, x0: torch.Tensor, *y: torch.Tensor) -> torch.Tensor:
        """Samples from a batch of noise, in halves where the device's memory is too small for all of it.

        Args:
            velocity: of the network, as it is evaluated.
            x0: (n, *shape) noise on the device.
            y: (n,) conditions on the device; nothing in a study without.
        """
        sampling = self.sampling
        try:
            return integrate(lambda t, x: velocity(t, x, *y), x0, sampling.solver, sampling.steps, sampling.grid)
        except torch.OutOfMemoryError:
            if len(x0) == 1:
                raise
        half = -(-len(x0) // 2)
        warnings.warn(
            f"The device has too little memory for {len(x0)} samples at once: going on with {half}; set "
            f"sampling.batch_size = {half}.",
            stacklevel=3,
        )
        parts = zip(*(tensor.split(half) for tensor in (x0, *y)), strict=True)
        return torch.cat([self.integrate_batch(velocity, *part) for part in parts])

    def fit(
        self,
        training_set: TrainingData,
        parent: Self | None,
        seed: int,
        on_step: OnStep | None = None,
        snapshotter: Snapshotter | None = None,
        learner: LearnerConfig | None = None,
    ) -> Self:
        """A new flow: pretrained from fresh weights when parent is None, else fine-tuned from the parent's.

        Args:
            training_set: what to learn; its draws are all that counts.
            parent: the flow to start from; averaged and trained weights both start at its averaged ones.
            seed: of everything random in it.
            on_step: called now and then with (done, total).
            snapshotter: writes snapshots; an interrupted training continues from the last to the same weights.
            learner: one that learns from whole slates, where it isn't flow matching on the draws.

        Raises:
            NonFiniteLossError: training diverged.
            ValueError: there are no slates to learn from, or their samples weren't stored.
        """
        preferences = None
        if learner is not None and parent is not None:
            slates, first = slates_of(training_set, learner), self.reference_steps(learner)
            whole, report = first + self.train.finetune_steps, on_step or (lambda done, total: None)
            preferences, parent = self.preferences(slates, parent, seed, learner, lambda done, _: report(done, whole))
            on_step = lambda done, _: report(first + done, whole)  # noqa: E731
        devices = [device()] if device().type == "cuda" else []
        with torch.random.fork_rng(devices):  # weights and dropout come from torch's own generator
            torch.manual_seed(seed)
            rng = np.random.default_rng(seed)
            network = build_network(self.shape, self.network_config, self.conditions).to(device())
            if parent is None:
                if isinstance(network, Preconditioned):
                    network.standardise(training_set.draw(STANDARDISE_DRAWS, rng).x.to(device()))
                steps, lr = self.train.pretrain_steps, self.train.pretrain_lr
            else:
                network.load_state_dict(parent.network.state_dict())
                steps, lr = self.train.finetune_steps, self.train.finetune_lr
            average = train(
                network, training_set, self.shape, self.network_config, self.train, steps, lr, seed, rng,
                pretraining=parent is None, on_step=on_step, snapshotter=snapshotter, preferences=preferences,
            )  # fmt: skip
        return replace(self, network=average, seed=seed, parent=parent and parent.sha256, sha256=None)

    def preferences(
        self, slates: PickedSlates, parent: Self, seed: int, learner: LearnerConfig, on_step: OnStep | None
    ) -> tuple[Preferences, Self]:
        """The objective of learning from slates, and its reference: the parent's law, by independent pairs.

        Args:
            slates: to learn from.
            parent: the flow to start from.
            seed: of everything random in it.
            learner: dpo or luce_dpo.
            on_step: called now and then with (done, total) of the reference's steps.
        """
        steps, train = self.reference_steps(learner), self.train
        n = min(train.finetune_steps * train.batch_size // REUSE, MOST_SAMPLES)
        seeds, y = derive_seeds(max(n, train.batch_size), seed, 0x5A), None
        if slates.conditions is not None:
            y = np.random.default_rng(derive_seed(seed, 0x5B)).choice(slates.conditions, len(seeds))
        own = Rows(parent.sample(seeds, y).clone(), None if y is None else torch.from_numpy(y))
        if steps:
            recipe = train.model_copy(update={"finetune_steps": steps, "pair_size": 1, "flip": False})
            reference = replace(parent, train=recipe).fit(own, parent, derive_seed(seed, 0x5C), on_step)
            parent = replace(parent, network=reference.network)
        return Preferences(slates, parent.network.eval(), learner, train, own if learner.anchor else None), parent

    def reference_steps(self, learner: LearnerConfig) -> int:
        """Steps that the reference of `preferences` takes."""
        return self.train.finetune_steps if learner.reference_steps == "auto" else learner.reference_steps

    def save(self, path: Path) -> str:
        """Writes the checkpoint and returns its sha256."""
        config = {"shape": list(self.shape), "network": self.network_config.model_dump()}
        if self.conditions:
            config["conditions"] = self.conditions
        content = checkpoint.Checkpoint("flow", self.network.state_dict(), config, self.seed, self.parent)
        return checkpoint.save(path, content)

    @classmethod
    def load(cls, path: Path, train: TrainConfig, sampling: SamplingConfig) -> Self:
        """Reads a checkpoint that `save` wrote; errors as in `model.checkpoint.load`."""
        stored = checkpoint.load(path)
        if stored.kind != "flow":
            raise checkpoint.MissingCheckpointError(f"{path} holds a {stored.kind}, not a flow.")
        shape, network = tuple(stored.config["shape"]), NetworkConfig(**stored.config["network"])
        try:
            n = stored.config.get("conditions", 0)
            flow = cls(shape, build_network(shape, network, n).to(device()), network, train, sampling, conditions=n)
            flow.network.load_state_dict(stored.tensors)
        except RuntimeError as error:
            raise checkpoint.CorruptCheckpointError(
                f"{path} doesn't hold the weights its sidecar describes."
            ) from error
        return replace(flow, seed=stored.seed, parent=stored.parent, sha256=stored.sha256)
