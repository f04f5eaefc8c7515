"""A process's measurements of itself: seconds by stage, the pace of training, peak memory."""

import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


class Clock:
    """Adds up seconds by stage; the GPU's work belongs to the stage that asked for it."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Times a block."""
        synchronise()
        began = time.perf_counter()
        yield
        synchronise()
        self.seconds[stage] += time.perf_counter() - began


class Pace:
    """Seconds of a training step once training runs: its second half, so that neither start nor compilation count."""

    def __init__(self) -> None:
        self.marks: list[tuple[int, float]] = []

    def mark(self, step: int) -> None:
        """Notes that a step is done."""
        self.marks.append((step, time.perf_counter()))

    def seconds(self) -> float | None:
        """Per step; None where too few steps were marked."""
        if len(self.marks) < 2:
            return None
        (from_step, began), (to_step, ended) = self.marks[(len(self.marks) - 1) // 2], self.marks[-1]
        return (ended - began) / (to_step - from_step)


def synchronise() -> None:
    """Waits until the GPU, where there is one, has done its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_memory() -> dict[str, float]:
    """The most that this process held so far, in MB: resident, and of the GPU's where there is one."""
    gpu = {"gpu": torch.cuda.max_memory_allocated() / 2**20} if torch.cuda.is_available() else {}
    return {"resident": _resident(), **gpu}


def _resident() -> float:
    """Linux's own account: getrusage's begins with what the process that started this one held."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024
