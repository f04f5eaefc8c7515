"""Snapshots of a long training, so that an interrupted one goes on instead of starting again."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from pickle import UnpicklingError
from types import FrameType
from typing import Any

import torch
from torch import nn

from model.checkpoint import write_whole
from model.distributed import from_main

FORMAT = 4  # of the file, the order of the optimiser's state within it included
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class TrainingState:
    """All that the training of a generator or a classifier goes on from.

    Attributes:
        step: done so far.
        network: weights.
        average: their running average; empty for a classifier, which has none.
        optimiser: its state.
        rng_state: of the NumPy generator that makes the batches; torch's own is seeded anew at each step.
        order: (n,) of the images in the epoch at hand; empty for a generator, which has no epochs.
    """

    step: int
    network: Tensors
    average: Tensors
    optimiser: dict[str, Any]
    rng_state: dict[str, Any]
    order: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))


class Snapshotter:
    """Keeps a training in a file every so often; on several processes rank 0 does.

    Args:
        path: the file; it goes when the training is done and its result is safe.
        what: names the training (data, settings, seed); a file of another training is ignored.
        every_s: seconds between two times.
        on_kept: called each time with the step and the network that training would end with now.
    """

    def __init__(
        self, path: Path, what: str, every_s: float = 120, on_kept: Callable[[int, nn.Module], None] | None = None
    ):
        self.path, self.every_s, self.on_kept = path, every_s, on_kept
        self._what = f"{what}, format {FORMAT}"
        self._last = time.monotonic()

    def is_due(self) -> bool:
        """True if it is time to keep it."""
        return from_main(lambda: time.monotonic() - self._last >= self.every_s)

    def keep(self, kept: TrainingState, network: nn.Module, *, tell: bool = True) -> None:
        """Writes the file, whole or not at all, and tells of the network, unless there is no time for that."""
        found = {each.name: getattr(kept, each.name) for each in fields(kept)}  # as they are: asdict copies tensors
        from_main(lambda: write_whole(self.path, lambda file: torch.save({"what": self._what, **found}, file)))
        self._last = time.monotonic()
        if self.on_kept and tell:
            self.on_kept(kept.step, network)

    def kept(self) -> TrainingState | None:
        """The state in the file; None where there is none, or it is another training's, or an earlier version's.

        Raises:
            ValueError: the file is damaged.
        """
        return from_main(self._read)

    def _read(self) -> TrainingState | None:
        if not self.path.exists():
            return None
        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
            what = found.pop("what")
            return TrainingState(**found) if what == self._what else None
        except (RuntimeError, OSError, EOFError, KeyError, TypeError, UnpicklingError) as error:
            raise ValueError(f"{self.path} is damaged; remove it to start the training again.") from error

    def done(self) -> None:
        """Removes the file."""
        from_main(lambda: self.path.unlink(missing_ok=True))


@contextmanager
def holding_interrupts() -> Iterator[Callable[[], bool]]:
    """While the block runs, a Ctrl-C waits until the work is at a good place to stop; a second one is let through.

    Yields:
        Whether Ctrl-C was pressed: the block is to raise KeyboardInterrupt soon. Where another part of the program
        answers to Ctrl-C, nothing is changed.
    """
    usual, pressed = signal.default_int_handler, threading.Event()
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is not usual:
        yield pressed.is_set
        return

    def hold(number: int, frame: FrameType | None) -> None:
        if pressed.is_set():
            usual(number, frame)
        pressed.set()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # launchers send it after Ctrl-C, and kill half a minute later

    signal.signal(signal.SIGINT, hold)
    on_term = signal.getsignal(signal.SIGTERM)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, usual)
        signal.signal(signal.SIGTERM, on_term)
