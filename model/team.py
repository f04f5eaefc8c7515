"""Training on all ranks: rank 0 makes the batches, and each rank learns from a part of every one.

A large network's batch is divided among the ranks; one alone takes the parts of two in turn. Each part has dropout of
its own, and the sum of two numbers doesn't depend on their order: so one process and two train the same weights.
"""

from typing import Any

import torch

from model import ranks
from model.compiled import Compute
from model.devices import device
from model.keeping import Tensors
from model.learner import Batch, Learner, Plan
from model.networks import build_network
from model.ranks import Group, on_cpu

PARTS = {"cpu": 2, "cuda": 1}  # of a large network's batch, for a process alone; on a CPU as two would have it


class Team:
    """The ranks at one training: rank 0's learner, and the followers' that learn along with it.

    Args:
        learner: rank 0's, as it begins.
    """

    def __init__(self, learner: Learner):
        plan = learner.plan
        self.learner, self._group = learner, ranks.led() if plan.is_large else None
        alone = PARTS[device().type] if plan.is_large else 1
        self._parts = self._group.size if self._group else alone
        if self._group:
            state = learner.optimiser.state_dict()
            optimiser = {**state, "state": {i: on_cpu(values) for i, values in state["state"].items()}}
            self._group.tell(_begin, plan, on_cpu(learner.network.state_dict()), optimiser)

    def step(self, batch: Batch, step: int) -> torch.Tensor:
        """Trains on a batch, each rank on a part of it, and returns its loss; steps are counted from 1."""
        parts, n = batch.split(self._parts), len(batch.t)
        if self._group:
            self._group.tell(_take_part, step, n, [len(part.t) for part in parts])
            for rank, part in enumerate(parts[1:], start=1):
                for x in (part.t, part.x0, part.x1):
                    self._group.send(x, rank)
            parts = parts[:1]
        return self.learner.step(parts, 0, n, step, self._group)

    def end(self) -> None:
        """Lets the followers forget it."""
        if self._group:
            self._group.tell(_end)


def _begin(group: Group, plan: Plan, network: Tensors, optimiser: dict[str, Any]) -> None:
    group.training = Learner(Compute.of(plan.network).place(build_network(plan.shape, plan.network)), plan)
    group.training.resume(network, optimiser)


def _take_part(group: Group, step: int, n: int, sizes: list[int]) -> None:
    learner: Learner = group.training
    parts = []
    if group.rank < len(sizes):
        size, shape = sizes[group.rank], learner.plan.shape
        parts = [Batch(*(group.receive((size, *rest), 0, device()) for rest in ((), shape, shape)))]
    learner.step(parts, group.rank, n, step, group)


def _end(group: Group) -> None:
    group.training = None
