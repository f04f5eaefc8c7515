"""The worker as a process: lower priority beside the app, ends with its parent, stops between two steps when asked."""

import os
import signal
import threading

from curate_app.console import err
from loop.study import Study
from loop.worker import Worker


def run_worker(study: Study, *, once: bool, with_parent: bool) -> None:
    """Runs the worker until it is told to stop (SIGTERM, Ctrl-C, or the end of its parent).

    Args:
        study: opened.
        once: ends when there is nothing to do at the moment.
        with_parent: standard input is a pipe from the process that serves; the worker ends when it closes.
    """
    worker = Worker(study)
    signal.signal(signal.SIGTERM, _leave)
    if with_parent:
        os.nice(15)  # a pick is answered first
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent says when
        threading.Thread(target=_end_with_parent, daemon=True).start()
    else:
        err.print(f"Working on {study.path}; Ctrl-C stops, nothing is lost.")
    worker.run(once)


def _end_with_parent() -> None:
    while os.read(0, 1):  # not through sys.stdin, whose lock this thread would hold when the interpreter ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _leave(_signal: int, _frame: object) -> None:
    raise SystemExit(0)
