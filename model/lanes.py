"""Two parts of a batch learnt from side by side, each on half the cores: on a CPU quicker than one after the other."""

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import nn

P = TypeVar("P")
LANES = 2


class Lanes:
    """Copies of a network that share its weights and have gradients of their own.

    Args:
        network: on the CPU; its optimiser changes its weights in place.
    """

    def __init__(self, network: nn.Module):
        self.networks = [network, copy.deepcopy(network)]
        for own, shared in zip(self.networks[1].parameters(), network.parameters(), strict=True):
            own.data = shared.data
        self._threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(LANES, "lanes", lambda: torch.set_num_threads(self._threads // LANES))

    def run(self, work: Callable[[P, nn.Module], torch.Tensor], parts: Sequence[P]) -> torch.Tensor:
        """The sum of what `work` gives for two parts; the sum of their gradients is left in the network."""
        first, second = self._pool.map(work, parts, self.networks)
        for into, other in zip(self.networks[0].parameters(), self.networks[1].parameters(), strict=True):
            if into.grad is not None and other.grad is not None:
                into.grad += other.grad
            other.grad = None
        return first + second

    def close(self) -> None:
        """Ends the threads, and gives this one all cores back."""
        self._pool.shutdown()
        torch.set_num_threads(self._threads)


def pays(dropout: float, on: torch.device) -> bool:
    """Whether lanes are to be had: dropout draws from one generator, part after part, and a GPU is busy by itself."""
    return on.type == "cpu" and dropout == 0 and torch.get_num_threads() >= LANES
