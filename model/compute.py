"""The device that networks work on, its arithmetic, and the processes of one launch that divide the work.

`accelerate launch` and `torchrun` start the same program several times; Hugging Face Accelerate connects them. Every
process does its share of what is divided (sampling, judging, training); rank 0 alone reads and writes files and the
study, and the others get it by `from_main`. Without a launch all of this costs nothing: the one process does all the
work.
"""

import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast_object_list, gather, parse_flag_from_env, reduce
from torch import distributed, nn

from model.config import NetworkConfig, TrainConfig
from model.sampling import Velocity

T = TypeVar("T")
LARGE = frozenset({"unet", "diffusers"})  # kinds whose time goes into arithmetic rather than into calls
BF16_PROCESSORS = ("avx512_bf16", "amx_bf16")
TIMEOUT = timedelta(minutes=20)  # of a process that waits for another; one that ends closes its connections at once
COMPILE_PAYS = 30_000  # evaluations of the network on one image in a training; docs/sampling.md
GLOO = ("gloo", "Connection closed by peer", "Connection reset by peer", "NCCL", "TCPStore", "recvValue", "Broken pipe")

_alone: ContextVar[bool] = ContextVar("alone", default=False)


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
    chosen = PartialState(cpu=name == "cpu", timeout=TIMEOUT, **backend).device
    assert chosen is not None
    if chosen.type != name:
        raise ValueError(f"This process works on {chosen.type} already, and {name} was asked for.")
    if name == "cuda":  # what is called float32 is float32; TF32 has ten bits, and rewards and picks would show it
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or cuBLAS refuses
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
    return chosen


def device() -> torch.device:
    """The device that networks work on: what `use` chose, or 'auto'."""
    return PartialState._shared_state.get("device") or use()  # PartialState() takes ten times longer, thrice a step


def describe() -> str:
    """The device in words, such as 'cuda (NVIDIA H200)'."""
    here = device()
    return f"cuda ({torch.cuda.get_device_name(here)})" if here.type == "cuda" else here.type


@contextmanager
def using_threads(n: int) -> Iterator[None]:
    """Has torch work in n threads while the block runs; 0 changes nothing."""
    usual = torch.get_num_threads()
    torch.set_num_threads(n or usual)
    try:
        yield
    finally:
        torch.set_num_threads(usual)


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
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in BF16_PROCESSORS)


def autocast(precision: str) -> AbstractContextManager[object]:
    """Runs matrix products and convolutions in bfloat16, or everything as it is, as `uses_bf16` says."""
    return torch.autocast(device().type, torch.bfloat16, enabled=uses_bf16(precision))


def precision_of(config: NetworkConfig) -> str:
    """The precision of a network; small ones work in float32."""
    return config.precision if config.kind in LARGE else "fp32"


def velocity_field(network: nn.Module, config: NetworkConfig, train: TrainConfig) -> Velocity:
    """The network as it is to be evaluated: compiled if the study says so, or trains long enough to pay for it.

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

    def __call__(self, t: torch.Tensor, x: torch.Tensor, *y: torch.Tensor) -> torch.Tensor:
        """The network's velocity, under conditions y (n,) where it takes any."""
        if self._field is not None:
            try:
                return self._field(t, x, *y)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # of torch's compilers; an error of the network itself comes again below
                reason = str(error).strip().splitlines()[0]
                warnings.warn(f"torch.compile failed here ({reason}): going on without it.", stacklevel=2)
                self._field = None
        return self._network(t, x, *y)


class LostProcessError(RuntimeError):
    """Another process of the launch ended, or can't be reached."""


def processes() -> int:
    """The number of processes that divide the work at hand."""
    device()  # which joins the launch
    return 1 if _alone.get() else PartialState._shared_state["num_processes"]


def rank() -> int:
    """Of this process; 0 where it works by itself."""
    return PartialState().process_index if processes() > 1 else 0


def is_main() -> bool:
    """True if this is rank 0, which has the study."""
    return rank() == 0


@contextmanager
def alone() -> Iterator[None]:
    """While the block runs, this process does by itself what is otherwise divided; the others don't take part."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def from_main(make: Callable[[], T]) -> T:
    """The result of rank 0, which calls `make` by itself, on every process; an error of it is raised on all of them."""
    if processes() == 1:
        return make()
    box: list[Any] = [None, None]
    if is_main():
        with alone():
            try:
                box[0] = make()
            except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - raised again below, on every process
                box[1] = error
    broadcast_object_list(box)
    value, error = box
    if error is not None:
        raise error
    return value


def share(n: int) -> slice:
    """This process's part of n rows; only the last ones may have fewer."""
    size = math.ceil(n / processes())
    return slice(min(n, rank() * size), min(n, (rank() + 1) * size))


def gathered(own: torch.Tensor, n: int) -> torch.Tensor:
    """(n, ...) on the CPU, on every process, from each one's `share` of the rows."""
    if processes() == 1:
        return own.cpu()
    padded = torch.zeros(math.ceil(n / processes()), *own.shape[1:], dtype=own.dtype, device=device())
    padded[: len(own)] = own
    return gather(padded)[:n].cpu()  # pyright: ignore[reportIndexIssue, reportAttributeAccessIssue]


def mean(value: torch.Tensor) -> torch.Tensor:
    """The mean of a number over all processes."""
    return value if processes() == 1 else reduce(value, "mean")  # pyright: ignore[reportReturnType]


def total(value: float) -> float:
    """The sum of a number over all processes."""
    return value if processes() == 1 else float(reduce(torch.tensor(float(value), device=device()), "sum"))  # pyright: ignore


def accelerator() -> Accelerator:
    """Accelerate's engine of this process; the precision is each network's own (`uses_bf16`)."""
    device()
    return Accelerator(mixed_precision="no")


def is_lost(error: BaseException) -> bool:
    """True if an error says that another process can't be reached, and not that something is wrong in this one."""
    if isinstance(error, LostProcessError | distributed.DistError):
        return True
    return type(error) is RuntimeError and any(part in str(error) for part in GLOO)


def is_first_to_say() -> bool:
    """True for the first process of a launch that calls it: that one reports how the launch ended, the others don't."""
    try:
        store = distributed.TCPStore(  # pyright: ignore[reportPrivateImportUsage]
            os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=timedelta(seconds=2)
        )
        return store.add("curate: how it ended", 1) == 1
    except RuntimeError:  # the store was rank 0's, which is gone
        return int(os.environ["RANK"]) <= 1
