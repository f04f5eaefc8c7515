"""One step of training: the gradient of a batch, summed over its parts and over ranks, and the optimiser's step."""

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torchcfm.conditional_flow_matching import ConditionalFlowMatcher

from model.compiled import LARGE, Compute, Field
from model.config import NetworkConfig, TrainConfig
from model.devices import device
from model.flat import Flat, clip
from model.lanes import LANES, Lanes, pays
from model.noise import derive_seed
from model.ranks import Group
from model.schedule import learning_rate


@dataclass(frozen=True, slots=True)
class Batch:
    """Training data on the device, paired.

    Attributes:
        t: (n,) times in [0, 1].
        x0: (n, *shape) noise.
        x1: (n, *shape) data, in the order that pairs them with x0.
    """

    t: torch.Tensor
    x0: torch.Tensor
    x1: torch.Tensor

    def split(self, parts: int) -> list["Batch"]:
        """In as many parts, of the same size but for the last; in fewer, where the batch is too small."""
        size = -(-len(self.t) // parts)
        return [Batch(*found) for found in zip(*(x.split(size) for x in (self.t, self.x0, self.x1)), strict=True)]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that it takes to make a learner, wherever.

    Attributes:
        shape: of one sample.
        network: what is trained.
        train: the recipe.
        steps: in all.
        lr: the highest learning rate.
        seed: of the dropout of a large network, by step and part; small ones draw it as it comes.
    """

    shape: tuple[int, ...]
    network: NetworkConfig
    train: TrainConfig
    steps: int
    lr: float
    seed: int

    @property
    def is_large(self) -> bool:
        """Whether a batch is worth dividing."""
        return self.network.kind in LARGE


class Learner:
    """A network in training, in place and on the device."""

    def __init__(self, network: nn.Module, plan: Plan):
        train, compute = plan.train, Compute.of(plan.network)
        self.network, self.plan = network.train(), plan
        flat = Flat(network)
        self._grad = flat.weights.grad = flat.gradients(network)
        self.optimiser = torch.optim.AdamW([flat.weights], lr=plan.lr, weight_decay=train.weight_decay, fused=True)
        self.weights = flat.weights.data
        self._field = compute.field(network, images=3 * plan.steps * train.batch_size)  # backward costs twice forward
        self._compute, self._pieces = compute, 1
        with_lanes = plan.is_large and pays(plan.network.dropout, device())
        self._lanes = Lanes(network, flat, self._grad, compute.bf16) if with_lanes else None
        self._matcher = ConditionalFlowMatcher(sigma=0.0)

    def resume(self, network: dict[str, Any], optimiser: dict[str, Any]) -> None:
        """Goes on from the states of network and optimiser."""
        self.network.load_state_dict(network)
        self.optimiser.load_state_dict(optimiser)

    def end(self) -> None:
        """Lets go of its threads."""
        if self._lanes:
            self._lanes.close()

    def step(self, parts: list[Batch], first: int, n: int, step: int, group: Group | None) -> torch.Tensor:
        """Trains on a batch and returns its loss.

        Args:
            parts: those of the batch that this rank takes.
            first: which part of the batch the first of them is.
            n: of the whole batch.
            step: counted from 1.
            group: ranks that take the other parts at the same time.
        """
        loss = self._gradient(parts, first, n, step)
        if group:
            loss = self._add_up(loss, group)
        clip(self._grad, self.plan.train.grad_clip)
        for settings in self.optimiser.param_groups:
            settings["lr"] = self.plan.lr * learning_rate(step - 1, self.plan.steps, self.plan.train.warmup_steps)
        self.optimiser.step()
        return loss

    def _gradient(self, parts: list[Batch], first: int, n: int, step: int) -> torch.Tensor:
        """Leaves the gradient of the mean loss over n in the parameters; in smaller pieces where memory is short."""
        self._grad.zero_()
        if self._lanes and len(parts) == LANES and self._field is self.network:
            return self._lanes.run(lambda part, network: self._backward(part, n, network), parts)
        total = torch.zeros((), device=device())
        try:
            for place, part in enumerate(parts, start=first):
                if self.plan.is_large:
                    torch.manual_seed(derive_seed(self.plan.seed, step, place))
                for piece in part.split(self._pieces):
                    total += self._backward(piece, n, self._field)
            return total
        except torch.OutOfMemoryError:
            if self._pieces >= len(parts[0].t):
                raise
        self._pieces *= 2
        warnings.warn(
            f"The device has too little memory for {len(parts[0].t)} at once: going on in {self._pieces} pieces.",
            stacklevel=2,
        )
        return self._gradient(parts, first, n, step)

    def _backward(self, piece: Batch, n: int, field: Field) -> torch.Tensor:
        """Adds the gradient of torchcfm's loss over a piece, as its share of n, and returns that share."""
        t, xt, ut, *_ = self._matcher.sample_location_and_conditional_flow(piece.x0, piece.x1, piece.t)
        with self._compute.autocast():
            vt = field(t, xt)
        loss = (vt.float() - ut).square().mean() * (len(t) / n)
        loss.backward()
        return loss.detach()

    def _add_up(self, loss: torch.Tensor, group: Group) -> torch.Tensor:
        """Sums gradients and loss over the ranks, in one go."""
        summed = torch.cat([loss.reshape(1), self._grad])
        group.add_up(summed)
        self._grad.copy_(summed[1:])
        return summed[0]
