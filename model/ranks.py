"""One program on several processes: rank 0 runs it, the others follow, each on a device of its own.

Rank 0 alone has the study, the data and the command line. It tells the followers what to do, one act at a time, and
they do just that until it ends. `accelerate launch` and `torchrun` both say in the environment who is who. Followers
that were killed and a rank 0 that was show alike: as a connection that closes.
"""

import hashlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from model.devices import device

WAIT = timedelta(days=365)  # for a follower without work; a process that ends closes its connection
HELD = 6  # networks that a follower keeps: audit slates mix three generations, and two classifiers may judge them


class LostRankError(RuntimeError):
    """Another process of the launch ended, or can't be reached."""


@dataclass
class Group:
    """The processes of one launch, as one of them sees them.

    Attributes:
        rank: of this process.
        size: how many there are.
        control: for what passes between processors; what passes between GPUs goes the default way.
        sent: rank 0: keys of what the followers hold, the oldest first.
        held: followers: what they hold by these keys.
        training: followers: the training at hand.
    """

    rank: int
    size: int
    control: dist.ProcessGroup
    sent: list[str] = field(default_factory=list)
    held: dict[str, Any] = field(default_factory=dict)
    training: Any = None

    @property
    def followers(self) -> range:
        """Their ranks, for rank 0."""
        return range(1, self.size)

    def tell(self, act: Callable[..., None], *args: object) -> None:
        """Has every follower call `act(group, *args)`; tensors among the arguments must be on the CPU."""
        with _reaching():
            dist.broadcast_object_list([(act, args)], src=0, group=self.control)

    def told(self) -> tuple[Callable[..., None], tuple[Any, ...]]:
        """What rank 0 tells next."""
        box: list[Any] = [None]
        with _reaching():
            dist.broadcast_object_list(box, src=0, group=self.control)
        return box[0]

    def lend(self, key: str, build: Callable[..., object], *args: object) -> None:
        """Has every follower hold `build(*args)` under a key, unless it does; the latest few stay."""
        if key in self.sent:
            self.sent.remove(key)
        else:
            self.tell(_hold, key, self.sent[: -HELD + 1], build, args)
            del self.sent[: -HELD + 1]
        self.sent.append(key)

    def send(self, x: torch.Tensor, rank: int) -> None:
        """Sends a tensor; the other side must `receive` it."""
        if x.numel() == 0:
            return
        with _reaching():
            dist.send(x.contiguous(), rank, group=self._way(x))

    def receive(self, shape: tuple[int, ...], rank: int, on: torch.device | str = "cpu") -> torch.Tensor:
        """The float32 tensor of a shape that another rank sends from the same kind of device."""
        x = torch.empty(shape, device=on)
        if x.numel() == 0:
            return x
        with _reaching():
            dist.recv(x, rank, group=self._way(x))
        return x

    def add_up(self, x: torch.Tensor) -> None:
        """Replaces a tensor by its sum over all ranks, the same to the bit on each."""
        with _reaching():
            dist.all_reduce(x, group=self._way(x))

    def gather(self, own: torch.Tensor, n: int, batch: int) -> torch.Tensor:
        """(n, ...) on rank 0, from its own `rows` of them; the followers `send` theirs."""
        out = torch.empty(n, *own.shape[1:])
        out[rows(n, batch, 0, self.size)] = own
        for other in self.followers:
            theirs = rows(n, batch, other, self.size)
            out[theirs] = self.receive((len(theirs), *own.shape[1:]), other)
        return out

    def _way(self, x: torch.Tensor) -> dist.ProcessGroup | None:
        return self.control if x.device.type == "cpu" else None


_joined: list[Group] = []  # the process's group, which torch.distributed has one of too


def join() -> Group:
    """Joins the processes of the launch that the environment describes; processes started later are none of them.

    Raises:
        LostRankError: the others can't be reached.
    """
    if device().type == "cuda":
        torch.cuda.set_device(device())
    with _reaching():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device().type == "cuda" else "gloo")
        control = dist.new_group(backend="gloo", timeout=WAIT)
    assert isinstance(control, dist.ProcessGroup)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        os.environ.pop(name, None)
    _joined[:] = [Group(dist.get_rank(), dist.get_world_size(), control)]
    return _joined[0]


def led() -> Group | None:
    """The group, where this process leads others; None where it is alone."""
    return _joined[0] if _joined and _joined[0].rank == 0 else None


def leave(group: Group) -> None:
    """Ends the followers' work, and the group; for rank 0, when all is done."""
    group.tell(_end)
    _joined.clear()
    dist.destroy_process_group()


def follow(group: Group) -> None:
    """Does what rank 0 tells until it ends, whether by `leave` or by being killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of them; rank 0 says when
    try:
        while (told := group.told())[0] is not _end:
            act, args = told
            act(group, *args)
    except LostRankError:
        return
    dist.destroy_process_group()


def rows(n: int, batch: int, rank: int, size: int) -> np.ndarray:
    """Which of n rows are a rank's, where batches of rows go round the ranks; only the last batch may be smaller."""
    every = np.arange(n)
    return every[every // batch % size == rank]


def key_of(network: nn.Module, *about: object) -> str:
    """A name for a network's weights as they are now, and for what else is told of it."""
    found = hashlib.sha256(repr(about).encode())
    for x in network.state_dict().values():
        found.update(x.detach().cpu().contiguous().numpy())
    return found.hexdigest()


def on_cpu(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors as they can be told, each in memory of its own: a view would take along all that it is a view of."""
    return {name: x.detach().to("cpu", copy=True) for name, x in tensors.items()}


def _hold(group: Group, key: str, dropped: list[str], build: Callable[..., object], args: tuple[Any, ...]) -> None:
    for old in dropped:
        del group.held[old]
    group.held[key] = build(*args)


def _end(_group: Group) -> None:
    """What the last thing told is."""


@contextmanager
def _reaching() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what gloo, nccl and the store of addresses raise
        raise LostRankError(
            f"Another process of this launch ended or can't be reached ({str(error).splitlines()[0]}). Nothing is "
            "lost: the same command goes on from here."
        ) from error
