"""One study of a sweep in a process of its own: `python -m loop.sweep.cell STUDY LAST [DONOR]`.

It tells how far it is on standard output, one JSON object a line, and ends with its parent: standard input is a pipe
from the process that runs the sweep, and whoever closes it (a kill -9 does) ends this process at once.
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

PATIENCE_S = 20.0  # the process of a sweep that was just killed lets go of its study within moments
EVERY_S = 0.2  # between two lines


def main(path: Path, last: int, donor: Path | None) -> None:
    """Simulates the study up to generation `last`, and leaves its evidence in its folder.

    Args:
        path: the study.
        last: generation.
        donor: the study to copy generation 0 from.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from loop.evidence.study import evidence_of  # these take seconds, in which the parent may end
    from loop.simulate import simulate

    _await_lock(path)
    study = Study.open(path)
    report = _reporter(study)
    simulate(study, last, report, Study.open(donor) if donor else None)
    report("judging", 0, 1)
    evidence_of(study)
    study.store.close()


def _reporter(study: Study) -> Callable[[str, int, int], None]:
    """Says as {"t": generation at hand, "phase", "share"} how far the study is; not more often than is of use."""
    latest = study.store.latest_cut()
    t, told = latest[0] + 1 if latest else 0, 0.0
    before = ""

    def report(phase: str, done: int, total: int) -> None:
        nonlocal t, told, before
        if phase == "curating":
            t = max(t, 1)
        if phase != before or done == total or time.monotonic() - told > EVERY_S:
            _say(t=t, phase=phase, share=done / total if total else 0.0)
            told, before = time.monotonic(), phase
        if phase == "publishing" and done == total:
            t += 1

    return report


def _await_lock(path: Path) -> None:
    """Returns when no other process works on the study; raises WorkerRunningError if one keeps at it."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            with only_worker(path):
                return
        except WorkerRunningError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def _say(**line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)  # as sudden as kill -9, after which a study goes on too


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
    except (ValueError, OSError, RuntimeError, sqlite3.Error) as error:
        _say(error=" ".join(str(error).split()) or type(error).__name__)
        raise
