"""Runs a sweep's studies, several at a time, each in a process of its own (`loop.sweep.cell`).

The studies of one pretraining share it: one of them pretrains, and the others wait for its generation 0 and copy it.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from loop.study import ERRORS, Study, StudyExistsError, first_difference
from loop.sweep.cell import PLAN
from loop.sweep.grid import Cell

SMALL = ("mlp", "resample")  # several threads don't pay for these


@dataclass(frozen=True, slots=True)
class Standing:
    """A study's progress: `t` its latest generation, None for none; `exists` is False where there is no study yet."""

    t: int | None
    exists: bool

    def reaches(self, last: int) -> bool:
        """True if generation `last` is there."""
        return self.t is not None and self.t >= last


@dataclass(frozen=True, slots=True)
class Step:
    """A running study's step: a phase on the way to generation `t`, `share` of it done."""

    t: int
    phase: str
    share: float


@dataclass(frozen=True, slots=True)
class Pace:
    """A study's plan, in seconds by a short measurement: until it began, before the first round, and of each round."""

    loading_s: float
    preparing_s: float
    round_s: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a study's process; `error` says why it failed, None when all its generations are there."""

    seconds: float
    error: str | None


OnEvent = Callable[[Cell, Step | Pace | Ended], None]


@dataclass
class StudyProcess:
    """A study's process.

    Attributes:
        cell: the study.
        process: with a pipe to its standard input; closing that ends it.
        log: file with its standard error.
        began: seconds of the monotonic clock at its start.
        error: the last that it reported; empty for none.
    """

    cell: Cell
    process: subprocess.Popen[bytes]
    log: Path
    began: float = field(default_factory=time.monotonic)
    error: str = ""

    def failure(self) -> str | None:
        """Waits for the end of the process; gives the reason why it failed, None if it didn't."""
        code = self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()
        if code == 0:
            self.log.unlink(missing_ok=True)
            return None
        if self.error:
            return self.error
        if code < 0:
            return f"its process was ended by {signal.Signals(-code).name}"
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"its process ended with code {code}"

    def stop(self) -> None:
        """Ends the process, by force after five seconds."""
        if self.process.stdin:
            self.process.stdin.close()
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.unlink(missing_ok=True)


def standing(folder: Path, cell: Cell) -> Standing:
    """The progress of a cell's study.

    Raises:
        StudyExistsError: a study of other settings, or something else, has its name.
    """
    path = folder / cell.name
    if not path.exists():
        return Standing(None, exists=False)
    study = Study.open(path)
    same = {"generations": 0}
    difference = first_difference({**study.config.model_dump(), **same}, {**cell.config.model_dump(), **same})
    if difference:
        raise StudyExistsError(
            f"There is a study at {path} with other settings: {difference}. Choose another folder, or remove it."
        )
    latest = study.store.latest_cut()
    study.store.close()
    return Standing(latest[0] if latest else None, exists=True)


def threads_and_jobs(cells: Iterable[Cell], jobs: int | None, cores: int, given: int | None) -> tuple[int, int]:
    """Threads of each study, and studies at a time: no more threads than cores in all, unless more are requested.

    Args:
        cells: to be run.
        jobs: studies at a time; None for as many as the cores hold.
        cores: of this machine.
        given: threads of each study, where the environment says so.
    """
    small = all(cell.config.network.kind in SMALL for cell in cells)
    threads = given or (1 if small else max(1, cores // (jobs or 1)))
    return threads, jobs or max(1, cores // threads)


def run(
    folder: Path, cells: Iterable[Cell], last: int, jobs: int, threads: int, on_event: OnEvent, *, plan: bool = False
) -> dict[str, str]:
    """Runs every study that isn't at generation `last` yet; a failing one doesn't stop the others.

    However this ends, the studies' processes end with it, and the same call goes on.

    Args:
        folder: of the sweep.
        cells: its studies, in the order to run them.
        last: generation of each.
        jobs: studies at a time.
        threads: of each study.
        on_event: called with a study and its step or end.
        plan: asks the first study for its pace.

    Returns:
        Errors by the name of the study.
    """
    pool = ProcessPool(folder, last, threads, list(cells), plan)
    failed: dict[str, str] = {}
    try:
        while pool.fill(jobs):
            cell, event = pool.next_event()
            if isinstance(event, Ended) and event.error:
                failed[cell.name] = event.error
            if event:
                on_event(cell, event)
    finally:
        pool.stop()
    return failed


def discard_unbegun(folder: Path, cells: Iterable[Cell]) -> bool:
    """Removes the studies without any generation; True if none is left."""
    paths = [folder / cell.name for cell in cells]
    for path in paths:
        if path.exists():
            study = Study.open(path)
            study.discard_unbegun()
            study.store.close()
    return not any(path.exists() for path in paths)


class ProcessPool:
    """The studies' processes: those that run, and the cells that wait for one."""

    def __init__(self, folder: Path, last: int, threads: int, cells: list[Cell], plan: bool):
        self.folder, self.last, self.threads, self.plan = folder, last, threads, plan
        states = {cell.name: standing(folder, cell) for cell in cells}
        self.waiting = [cell for cell in cells if not states[cell.name].reaches(last)]
        self.begun = {name for name, state in states.items() if state.t is not None}
        self.donors = {cell.config.pretraining: folder / cell.name for cell in cells if cell.name in self.begun}
        self.running: dict[str, StudyProcess] = {}
        self.events: queue.Queue[tuple[str, dict[str, Any] | None]] = queue.Queue()

    def fill(self, jobs: int) -> bool:
        """Starts as many studies as may run; True if any runs."""
        while len(self.running) < jobs and (cell := self.next_cell()):
            self.waiting.remove(cell)
            self.running[cell.name] = self.start(cell)
        return bool(self.running)

    def next_cell(self) -> Cell | None:
        """The first study that can start: all but those whose generation 0 another one is just making."""
        pretraining = {study.cell.config.pretraining for study in self.running.values()} - set(self.donors)
        for cell in self.waiting:
            if cell.name in self.begun or cell.config.pretraining not in pretraining:
                return cell
        return None

    def start(self, cell: Cell) -> StudyProcess:
        """Starts a study's process, and a thread that puts its lines among the events."""
        path, donor = self.folder / cell.name, None
        if not path.exists():
            Study.create(path, cell.config).store.close()
        if cell.name not in self.begun:
            donor = self.donors.get(cell.config.pretraining)
        log = path / ERRORS
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [*command(path, self.last, donor), *([PLAN] if self.plan else [])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "OMP_NUM_THREADS": str(self.threads), "OMP_WAIT_POLICY": "PASSIVE"},
                start_new_session=True,  # Ctrl-C reaches the sweep alone, which ends its studies
            )
        self.plan = False  # the first study's is enough
        assert process.stdout is not None
        threading.Thread(target=queue_lines, args=(cell.name, process.stdout, self.events), daemon=True).start()
        return StudyProcess(cell, process, log)

    def next_event(self) -> tuple[Cell, Step | Pace | Ended | None]:
        """Waits for the next line of a study, or its end; None for a line that reports an error."""
        name, line = self.events.get()
        study = self.running[name]
        if line is None:
            del self.running[name]
            return study.cell, Ended(time.monotonic() - study.began, study.failure())
        if "error" in line:
            study.error = str(line["error"])
            return study.cell, None
        if "round_s" in line:
            return study.cell, Pace(time.monotonic() - study.began, **line)
        if line["t"] > 0:
            self.donors.setdefault(study.cell.config.pretraining, self.folder / name)
        return study.cell, Step(**line)

    def stop(self) -> None:
        """Ends the processes that still run."""
        for study in self.running.values():
            study.stop()


def command(path: Path, last: int, donor: Path | None) -> list[str]:
    """The command that runs one study."""
    return [sys.executable, "-m", "loop.sweep.cell", str(path), str(last), *([str(donor)] if donor else [])]


def queue_lines(name: str, lines: IO[bytes], events: queue.Queue) -> None:
    """Puts a study's lines into a queue as (name, JSON object), and (name, None) at their end."""
    for line in lines:
        with suppress(ValueError):  # a user's own generator may print
            values = json.loads(line)
            if isinstance(values, dict) and {"error", "phase", "round_s"} & values.keys():
                events.put((name, values))
    events.put((name, None))
