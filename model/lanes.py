"""Two pieces of work side by side, each on half the cores: on a CPU quicker than one after the other on all of them.

So the two parts of a training batch are learnt from, and so batches of samples are drawn.
"""

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TypeVar

import torch
from torch import nn

from model.flat import Flat

P = TypeVar("P")
LANES = 2


class Lane:
    """A copy of a network that works with weights that it is lent, and has gradients of its own.

    Args:
        network: on the CPU.
        flat: its weights.
        lent: (n,) these, or in bfloat16; then the norms, which autocast leaves alone, work with them as they are.
        grad: (n,) where its gradients are to be added.
    """

    def __init__(self, network: nn.Module, flat: Flat, lent: torch.Tensor, grad: torch.Tensor):
        self.network, self._grad, self._own = copy.deepcopy(network), grad, torch.zeros_like(lent)
        self._norms: list[torch.Tensor] = []
        self._sums: list[torch.Tensor] = []
        norms = {p for m in self.network.modules() if isinstance(m, nn.GroupNorm) for p in m.parameters()}
        for p, weight, own, wide, total in flat.views(self.network, lent, self._own, flat.weights.data, grad):
            if p in norms and lent.dtype != wide.dtype:
                p.data, p.grad = wide, torch.zeros_like(wide)
                self._norms.append(p.grad)
                self._sums.append(total)
            else:
                p.data, p.grad = weight, own

    def hand_over(self) -> None:
        """Adds its gradients where they go, and begins again with zeros."""
        self._grad += self._own
        self._own.zero_()
        if self._norms:
            torch._foreach_add_(self._sums, self._norms)  # pyright: ignore[reportPrivateImportUsage]
            torch._foreach_zero_(self._norms)  # pyright: ignore[reportPrivateImportUsage]


class Lanes:
    """Copies of a network that share its weights and have gradients of their own.

    Args:
        network: on the CPU.
        flat: its weights, which an optimiser changes in place.
        grad: (n,) where the sum of their gradients goes.
        bf16: whether autocast would have the weights in bfloat16; then they are cast once for all lanes.
    """

    def __init__(self, network: nn.Module, flat: Flat, grad: torch.Tensor, bf16: bool):
        self._weights = flat.weights.data
        self._lent = self._weights.bfloat16() if bf16 else self._weights
        self._lanes = [Lane(network, flat, self._lent, grad) for _ in range(LANES)]
        self._threads = torch.get_num_threads()
        self._pool = _pool(self._threads)

    def run(self, work: Callable[[P, nn.Module], torch.Tensor], parts: Sequence[P]) -> torch.Tensor:
        """The sum of what `work` gives for two parts; the sum of their gradients is added to `grad`."""
        if self._lent is not self._weights:
            self._lent.copy_(self._weights)
        first, second = self._pool.map(work, parts, [lane.network for lane in self._lanes])
        for lane in self._lanes:
            lane.hand_over()
        return first + second

    def close(self) -> None:
        """Ends the threads, and gives this one all cores back."""
        self._pool.shutdown()
        torch.set_num_threads(self._threads)


def side_by_side(work: Callable[[P], None], parts: Sequence[P], stopping: Event) -> None:
    """Calls `work` with each part, as many at a time as there are lanes.

    After an exception, Ctrl-C too, no more is begun, and `stopping` is set for the work that is to give up half-way.
    """
    threads = torch.get_num_threads()
    try:
        with _pool(threads) as pool:
            try:
                for _ in pool.map(work, parts):
                    pass
            except BaseException:
                stopping.set()
                raise
    finally:
        torch.set_num_threads(threads)


def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(LANES, "lanes", lambda: torch.set_num_threads(threads // LANES))


def pays(dropout: float, on: torch.device) -> bool:
    """Whether lanes are to be had: dropout draws from one generator, part after part, and a GPU is busy by itself."""
    return on.type == "cpu" and dropout == 0 and torch.get_num_threads() >= LANES
