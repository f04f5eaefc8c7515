"""The device that networks work on, and how they do: in bfloat16 or float32, compiled or as they are."""

import os
import warnings
from contextlib import AbstractContextManager
from datetime import timedelta

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from torch import nn

from model.config import NetworkConfig, TrainConfig
from model.solvers import Velocity

LARGE = frozenset({"unet"})  # kinds whose time goes into arithmetic rather than into calls
BF16_PROCESSORS = ("avx512_bf16", "amx_bf16")
TIMEOUT = timedelta(minutes=20)  # of a process that waits for another; one that ends closes its connections at once
COMPILE_PAYS = 30_000  # evaluations of the network on one image in a training; docs/sampling.md


def use(name: str = "auto", *, deterministic: bool = False) -> torch.device:
    """Chooses the device of this process, once, and joins the launch that it is part of.

    Args:
        name: 'auto' (CUDA, else Apple's, else the CPU), 'cpu', 'cuda' or 'mps'; the launcher's --cpu decides auto.
        deterministic: makes work on CUDA repeat to the bit, at the price of slower operations.

    Raises:
        ValueError: there is no such device here, or the process works on another already.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if not there.get(name, name == "auto"):
        raise ValueError(f"There is no {name} device that torch can use here; leave out --device {name}.")
    if name == "auto":
        by_launcher = parse_flag_from_env("ACCELERATE_USE_CPU")
        name = "cpu" if by_launcher else next(kind for kind, is_there in there.items() if is_there)
    if name == "mps" and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("Several processes need CUDA or CPUs: add --device cpu.")
    backend = {"backend": "cuda:nccl,cpu:gloo"} if name == "cuda" and "LOCAL_RANK" in os.environ else {}
    found = PartialState(cpu=name == "cpu", timeout=TIMEOUT, **backend).device
    assert found is not None
    if found.type != name:
        raise ValueError(f"This process works on {found.type} already, and {name} was asked for.")
    if name == "cuda":  # what is called float32 is float32; TF32 has ten bits, and rewards and picks would show it
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or cuBLAS refuses
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
    return found


def device() -> torch.device:
    """The device that networks work on: what `use` chose, or 'auto'."""
    found = PartialState().device if PartialState._shared_state else None
    return found or use()


def describe() -> str:
    """The device in words, such as 'cuda (NVIDIA H200)'."""
    found = device()
    return f"cuda ({torch.cuda.get_device_name(found)})" if found.type == "cuda" else found.type


def uses_bf16(precision: str) -> bool:
    """True if 'auto', 'bf16' or 'fp32' means bfloat16 on this device.

    auto: where the hardware has it, or `accelerate launch --mixed_precision bf16` asks for it.
    """
    if precision != "auto" or os.environ.get("ACCELERATE_MIXED_PRECISION") == "bf16":
        return precision != "fp32"
    if device().type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device().type == "mps":
        return False
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
