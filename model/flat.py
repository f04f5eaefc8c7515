"""A network's weights in one piece of memory, their gradients in another: one operation takes the place of hundreds."""

from collections.abc import Iterator

import torch
from torch import nn

ALIGN = 16  # elements: where a tensor may begin, so that kernels find it aligned
ROW = 4096  # elements whose squares are summed by themselves, so that the sum is the same on any number of threads


class Flat:
    """The weights of a network side by side, with zeros between; the network goes on working with them, as views.

    Args:
        network: its parameters are all of one type and on one device.

    Attributes:
        weights: (n,), a parameter for an optimiser.
    """

    def __init__(self, network: nn.Module):
        parameters = list(network.parameters())
        self._starts = [0]
        for p in parameters:
            self._starts.append(self._starts[-1] + _up_to(p.numel(), ALIGN))
        self.weights = nn.Parameter(parameters[0].detach().new_zeros(_up_to(self._starts[-1], ROW)))
        for p, view in self.views(network, self.weights.data):
            p.data = view.copy_(p.data)

    def gradients(self, network: nn.Module) -> torch.Tensor:
        """(n,) zeros, to which backward passes through a network of these shapes will add their gradients."""
        flat = torch.zeros_like(self.weights.data)
        for p, view in self.views(network, flat):
            p.grad = view
        return flat

    def views(self, network: nn.Module, *flats: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
        """Each parameter of a network of these shapes, with its part of some (n,) tensors, in its shape and layout."""
        for p, start in zip(network.parameters(), self._starts, strict=False):
            yield p, *(flat.as_strided(p.shape, p.stride(), start) for flat in flats)


def clip(grad: torch.Tensor, most: float) -> None:
    """Scales (n,) gradients of a `Flat` down where their norm is over `most`, as torch's clip_grad_norm_ does."""
    norm = grad.view(-1, ROW).norm(dim=1).norm()
    grad *= (most / (norm + 1e-6)).clamp(max=1.0)


def _up_to(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple
