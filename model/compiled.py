"""How large networks work: in bfloat16 or float32, and compiled where the work is long enough to pay for it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import nn

from model.config import NetworkConfig
from model.devices import device

Field = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

LARGE = frozenset({"unet"})  # kinds whose time goes into arithmetic rather than into calls
BF16_PROCESSORS = ("avx512_bf16", "amx_bf16")
COMPILE_PAYS = {"cuda": 30_000.0, "cpu": float("inf")}  # evaluations of the network on one image; docs/sampling.md


def uses_bf16(precision: str) -> bool:
    """Whether 'auto', 'bf16' or 'fp32' means bfloat16 on this device."""
    if precision != "auto":
        return precision == "bf16"
    if device().type == "cuda":
        return torch.cuda.is_bf16_supported()
    found = torch.cpu.get_capabilities()
    return any(found.get(name) for name in BF16_PROCESSORS)


def autocast(bf16: bool) -> AbstractContextManager[object]:
    """Runs matrix products and convolutions in bfloat16, or everything as it is."""
    return torch.autocast(device().type, torch.bfloat16, enabled=bf16)


@dataclass(frozen=True, slots=True)
class Compute:
    """How one network works.

    Attributes:
        bf16: matrix products and convolutions in bfloat16.
        compile: 'auto', 'always' or 'never'.
    """

    bf16: bool
    compile: str

    @classmethod
    def of(cls, config: NetworkConfig) -> "Compute":
        """As a [network] table says; small networks work in float32 as they are."""
        if config.kind not in LARGE:
            return cls(False, "never")
        return cls(uses_bf16(config.precision), config.compile)

    def autocast(self) -> AbstractContextManager[object]:
        """The arithmetic to evaluate the network in."""
        return autocast(self.bf16)

    def place(self, network: nn.Module) -> nn.Module:
        """The network on the device, its convolutions with the channels last, as they are quickest."""
        return network.to(device(), memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def field(self, network: nn.Module, images: int) -> Field:
        """The network, compiled if `images` evaluations on an image are enough to pay for it."""
        wanted = self.compile == "always" or (self.compile == "auto" and images >= COMPILE_PAYS[device().type])
        return torch.compile(network) if wanted else network  # pyright: ignore[reportReturnType]
