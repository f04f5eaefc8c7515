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


class Lanes:
    """Copies of a network that share its weights and have gradients of their own.

    Args:
        network: on the CPU.
        flat: its weights, which an optimiser changes in place.
        grad: (n,) where the network's own gradients go.
    """

    def __init__(self, network: nn.Module, flat: Flat, grad: torch.Tensor):
        self.networks = [network, copy.deepcopy(network)]
        flat.lend(self.networks[1])
        self._grad, self._others = grad, flat.gradients(self.networks[1])
        self._threads = torch.get_num_threads()
        self._pool = _pool(self._threads)

    def run(self, work: Callable[[P, nn.Module], torch.Tensor], parts: Sequence[P]) -> torch.Tensor:
        """The sum of what `work` gives for two parts; the sum of their gradients is left in `grad`."""
        first, second = self._pool.map(work, parts, self.networks)
        self._grad += self._others
        self._others.zero_()
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
