"""The device that networks work on, and how they do: in bfloat16 or float32, compiled or as they are."""

import os
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import nn

from model.config import NetworkConfig, TrainConfig

Velocity = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

LARGE = frozenset({"unet"})  # kinds whose time goes into arithmetic rather than into calls
BF16_PROCESSORS = ("avx512_bf16", "amx_bf16")
COMPILE_PAYS = 30_000  # evaluations of the network on one image in a training; docs/sampling.md


def device() -> torch.device:
    """A GPU where there is one; of several processes on one machine each has its own (LOCAL_RANK)."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


def uses_bf16(precision: str) -> bool:
    """Whether 'auto', 'bf16' or 'fp32' means bfloat16 on this device; auto: only where it is quicker."""
    if precision != "auto":
        return precision == "bf16"
    if device().type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    found = torch.cpu.get_capabilities()
    return any(found.get(name) for name in BF16_PROCESSORS)


def autocast(precision: str) -> AbstractContextManager[object]:
    """Runs matrix products and convolutions in bfloat16, or everything as it is, as `uses_bf16` says."""
    return torch.autocast(device().type, torch.bfloat16, enabled=uses_bf16(precision))


def precision_of(config: NetworkConfig) -> str:
    """The precision of a network; small ones work in float32."""
    return config.precision if config.kind in LARGE else "fp32"


def velocity_field(network: nn.Module, config: NetworkConfig, train: TrainConfig) -> Velocity:
    """The network as it is to be evaluated: compiled if the study asks for it, or trains long enough to pay for it.

    The study's settings alone decide, so that a sample's arithmetic doesn't depend on how many are drawn with it.
    """
    evaluations = 3 * train.finetune_steps * train.batch_size  # backward costs twice forward
    pays = device().type == "cuda" and config.kind in LARGE and evaluations >= COMPILE_PAYS
    return Compiled(network) if config.compile == "always" or (config.compile == "auto" and pays) else network


class Compiled:
    """A network compiled by torch, or as it is where the compiler fails; nothing needs a compiler."""

    def __init__(self, network: nn.Module):
        self._network = network
        self._field: Velocity | None = torch.compile(network, dynamic=False)

    def __call__(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The network's velocity."""
        if self._field is not None:
            try:
                return self._field(t, x)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # of torch's compilers; an error of the network itself comes again below
                reason = str(error).strip().splitlines()[0]
                warnings.warn(f"torch.compile failed here ({reason}): going on without it.", stacklevel=2)
                self._field = None
        return self._network(t, x)
