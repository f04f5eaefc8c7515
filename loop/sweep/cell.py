"""One study of a sweep in a process of its own: `python -m loop.sweep.cell STUDY LAST [DONOR] [--plan]`.

It prints its progress on standard output, one JSON object a line, and ends with its parent: standard input is a pipe
from the process that runs the sweep, and closing it (as a kill -9 does) ends this process at once.
"""

import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from loop.study import Study, WorkerRunningError, only_worker

PATIENCE_S = 20.0  # until when the process of a sweep that was just killed has let go of its study
EVERY_S = 0.2  # between two lines
PLAN = "--plan"


def main(path: Path, last: int, donor: Path | None, planned: bool) -> None:
    """Simulates the study up to generation `last`, and leaves its evidence in its folder.

    Args:
        path: the study.
        last: generation.
        donor: the study to copy generation 0 from.
        planned: first prints {"preparing_s": seconds before the first round, "round_s": seconds of a round}.
    """
    threading.Thread(target=end_with_parent, daemon=True).start()
    from loop.setup import plan  # these take seconds, in which the parent may end

    await_lock(path)
    study = Study.open(path)
    if planned:
        measured = plan(study.config, study, rounds=1)
        print_line(preparing_s=measured.preparing_s, round_s=measured.round_s)
    from loop.evidence.study import evidence_of
    from loop.simulate import simulate

    report = progress_printer(study)
    simulate(study, last, report, Study.open(donor) if donor else None, command="sweep")
    report("judging", 0, 1)
    evidence_of(study)
    study.store.close()


def end_with_parent() -> None:
    """Ends this process once its standard input is closed, as suddenly as kill -9; a study goes on after either."""
    while os.read(0, 1):
        pass
    os._exit(1)


def await_lock(path: Path) -> None:
    """Returns when no other process works on the study; raises WorkerRunningError if one still does at the end."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            with only_worker(path):
                return
        except WorkerRunningError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def progress_printer(study: Study) -> Callable[[str, int, int], None]:
    """A function of phase, steps done and all steps that prints {"t": generation at hand, "phase", "share"}.

    It prints at a change of phase, at a phase's end, and otherwise every `EVERY_S` seconds.
    """
    latest = study.store.latest_cut()
    t, printed_at, last_phase = latest[0] + 1 if latest else 0, 0.0, ""

    def report(phase: str, done: int, total: int) -> None:
        nonlocal t, printed_at, last_phase
        if phase == "curating":
            t = max(t, 1)
        if phase != last_phase or done == total or time.monotonic() - printed_at > EVERY_S:
            print_line(t=t, phase=phase, share=done / total if total else 0.0)
            printed_at, last_phase = time.monotonic(), phase
        if phase == "publishing" and done == total:
            t += 1

    return report


def print_line(**values: object) -> None:
    """Prints a JSON object for the process that runs the sweep."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        given = [argument for argument in sys.argv[1:] if argument != PLAN]
        main(Path(given[0]), int(given[1]), Path(given[2]) if len(given) > 2 else None, PLAN in sys.argv)
    except (ValueError, OSError, RuntimeError, sqlite3.Error) as error:
        print_line(error=" ".join(str(error).split()) or type(error).__name__)
        raise
