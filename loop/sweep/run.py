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
from loop.sweep.grid import Cell

SMALL = ("mlp", "resample")  # several threads don't pay for these


@dataclass(frozen=True, slots=True)
class Standing:
    """A study's progress: `t` its latest generation, None for none (or no study yet)."""

    t: int | None
    made: bool

    def reaches(self, last: int) -> bool:
        """True if generation `last` is there."""
        return self.t is not None and self.t >= last


@dataclass(frozen=True, slots=True)
class Step:
    """A running study's step: making generation `t`, in a phase, `share` of it done."""

    t: int
    phase: str
    share: float


@dataclass(frozen=True, slots=True)
class Ended:
    """A study's process ended; `error` says why it failed, None when all its generations are there."""

    seconds: float
    error: str | None


Report = Callable[[Cell, Step | Ended], None]


@dataclass
class _Child:
    cell: Cell
    process: subprocess.Popen[bytes]
    log: Path
    began: float = field(default_factory=time.monotonic)
    error: str = ""


def standing(folder: Path, cell: Cell) -> Standing:
    """The progress of a cell's study.

    Raises:
        StudyExistsError: a study of other settings, or something else, has its name.
    """
    path = folder / cell.name
    if not path.exists():
        return Standing(None, made=False)
    study = Study.open(path)
    same = {"generations": 0}
    difference = first_difference({**study.config.model_dump(), **same}, {**cell.config.model_dump(), **same})
    if difference:
        raise StudyExistsError(
            f"There is a study at {path} with other settings: {difference}. Choose another folder, or remove it."
        )
    latest = study.store.latest_cut()
    study.store.close()
    return Standing(latest[0] if latest else None, made=True)


def threads_and_jobs(cells: Iterable[Cell], jobs: int | None, cores: int, given: int | None) -> tuple[int, int]:
    """Threads of each study, and how many studies at a time: never more threads than cores unless it is asked for.

    Args:
        cells: to be run.
        jobs: studies at a time; None for as many as the cores hold.
        cores: of this machine.
        given: threads of each study, where the environment says so.
    """
    small = all(cell.config.network.kind in SMALL for cell in cells)
    threads = given or (1 if small else max(1, cores // (jobs or 1)))
    return threads, jobs or max(1, cores // threads)


def run(folder: Path, cells: Iterable[Cell], last: int, jobs: int, threads: int, report: Report) -> dict[str, str]:
    """Runs every study that isn't at generation `last` yet; a failing one doesn't stop the others.

    However this ends, the studies' processes end with it, and the same call goes on.

    Args:
        folder: of the sweep.
        cells: its studies, in the order to run them.
        last: generation of each.
        jobs: studies at a time.
        threads: of each study.
        report: called with a study and what it is at, or how it ended.

    Returns:
        What went wrong, by the name of the study.
    """
    pool = _Pool(folder, last, threads, list(cells))
    failed: dict[str, str] = {}
    try:
        while pool.fill(jobs):
            cell, what = pool.happened()
            if isinstance(what, Ended) and what.error:
                failed[cell.name] = what.error
            if what:
                report(cell, what)
    finally:
        pool.stop()
    return failed


def discard_unbegun(folder: Path, cells: Iterable[Cell]) -> bool:
    """Removes the studies in which nothing was made yet; says whether none is left."""
    paths = [folder / cell.name for cell in cells]
    for path in paths:
        if path.exists():
            study = Study.open(path)
            study.discard_unbegun()
            study.store.close()
    return not any(path.exists() for path in paths)


class _Pool:
    """The studies' processes: those that run, and the cells that wait for one."""

    def __init__(self, folder: Path, last: int, threads: int, cells: list[Cell]):
        self.folder, self.last, self.threads = folder, last, threads
        found = {cell.name: standing(folder, cell) for cell in cells}
        self.waiting = [cell for cell in cells if not found[cell.name].reaches(last)]
        self.begun = {name for name, state in found.items() if state.t is not None}
        self.donors = {cell.config.pretraining: folder / cell.name for cell in cells if cell.name in self.begun}
        self.running: dict[str, _Child] = {}
        self.events: queue.Queue[tuple[str, dict[str, Any] | None]] = queue.Queue()

    def fill(self, jobs: int) -> bool:
        """Starts as many studies as may run; says whether any runs."""
        while len(self.running) < jobs and (cell := self._next()):
            self.waiting.remove(cell)
            self.running[cell.name] = self._start(cell)
        return bool(self.running)

    def happened(self) -> tuple[Cell, Step | Ended | None]:
        """Waits for the next line of a study, or its end."""
        name, line = self.events.get()
        child = self.running[name]
        if line is None:
            del self.running[name]
            return child.cell, Ended(time.monotonic() - child.began, _error(child))
        if "error" in line:
            child.error = str(line["error"])
            return child.cell, None
        if line["t"] > 0:
            self.donors.setdefault(child.cell.config.pretraining, self.folder / name)
        return child.cell, Step(**line)

    def stop(self) -> None:
        """Ends what still runs."""
        for child in self.running.values():
            _stop(child)

    def _next(self) -> Cell | None:
        """The first study that can start: all but those whose generation 0 another one is just making."""
        being_made = {child.cell.config.pretraining for child in self.running.values()} - set(self.donors)
        for cell in self.waiting:
            if cell.name in self.begun or cell.config.pretraining not in being_made:
                return cell
        return None

    def _start(self, cell: Cell) -> _Child:
        path, donor = self.folder / cell.name, None
        if not path.exists():
            Study.create(path, cell.config).store.close()
        if cell.name not in self.begun:
            donor = self.donors.get(cell.config.pretraining)
        log = path / ERRORS
        with log.open("wb") as errors:
            process = subprocess.Popen(
                command(path, self.last, donor),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "OMP_NUM_THREADS": str(self.threads), "OMP_WAIT_POLICY": "PASSIVE"},
                start_new_session=True,  # Ctrl-C reaches the sweep alone, which ends its studies
            )
        assert process.stdout is not None
        threading.Thread(target=_listen, args=(cell.name, process.stdout, self.events), daemon=True).start()
        return _Child(cell, process, log)


def command(path: Path, last: int, donor: Path | None) -> list[str]:
    """The command that runs one study."""
    return [sys.executable, "-m", "loop.sweep.cell", str(path), str(last), *([str(donor)] if donor else [])]


def _listen(name: str, lines: IO[bytes], events: queue.Queue) -> None:
    for line in lines:
        with suppress(ValueError):  # a user's own generator may print
            found = json.loads(line)
            if isinstance(found, dict) and ("error" in found or "phase" in found):
                events.put((name, found))
    events.put((name, None))


def _error(child: _Child) -> str | None:
    """Why a study's process failed; None if it didn't."""
    code = child.process.wait()
    if child.process.stdin:
        child.process.stdin.close()
    if code == 0:
        child.log.unlink(missing_ok=True)
        return None
    if child.error:
        return child.error
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    lines = child.log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"its process ended with code {code}"


def _stop(child: _Child) -> None:
    if child.process.stdin:
        child.process.stdin.close()
    child.process.terminate()
    try:
        child.process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        child.process.kill()
        child.process.wait()
    child.log.unlink(missing_ok=True)
