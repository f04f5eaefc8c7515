"""Several processes of one launch, by Hugging Face Accelerate: what each does of the work, and what rank 0 decides.

`accelerate launch` and `torchrun` start the same program several times. Every process does its share of what is divided
(sampling, judging, training); rank 0 alone reads and writes files and the study, and the others hear of it by
`from_main`. Without a launch all of this costs nothing: the one process does all the work.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast_object_list, gather, reduce
from torch import distributed

from model.devices import device

T = TypeVar("T")
GLOO = ("gloo", "Connection closed by peer", "Connection reset by peer", "NCCL", "TCPStore", "recvValue", "Broken pipe")

_alone: ContextVar[bool] = ContextVar("alone", default=False)


class LostProcessError(RuntimeError):
    """Another process of the launch ended, or can't be reached."""


def processes() -> int:
    """The number of processes that divide the work at hand."""
    device()  # which joins the launch
    return 1 if _alone.get() else PartialState().num_processes


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
    """Rank 0's result, which it makes by itself, on every process; an error of rank 0 is raised on all of them."""
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
    """Accelerate's engine of this process; the precision is each network's own (`model.devices.uses_bf16`)."""
    device()
    return Accelerator(mixed_precision="no")


def is_lost(error: BaseException) -> bool:
    """True if an error says that another process can't be reached, and not that something is wrong in this one."""
    if isinstance(error, LostProcessError | distributed.DistError):
        return True
    return type(error) is RuntimeError and any(part in str(error) for part in GLOO)


def is_first_to_say() -> bool:
    """True if no other process of the launch has asked this before: one of them says how it ended, the others don't."""
    try:
        found = distributed.TCPStore(  # pyright: ignore[reportPrivateImportUsage]
            os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=timedelta(seconds=2)
        )
        return found.add("curate: how it ended", 1) == 1
    except RuntimeError:  # the store was rank 0's, which is gone
        return int(os.environ["RANK"]) <= 1
