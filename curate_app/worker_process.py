"""The worker as a process: lower priority beside the app, ends with its parent, stops between two steps when asked."""

import os
import signal
import threading
from collections.abc import Callable

from curate_app.console import err
from curate_app.launch import is_launched
from data.store import Store
from data.store.connection import LockWait
from loop.compute import is_main
from loop.study import Study
from loop.worker import Worker

SAY_AGAIN_S = 60.0


def run_worker(study: Study, device: str, *, once: bool, with_parent: bool) -> None:
    """Runs the worker until it is told to stop (SIGTERM, Ctrl-C, or the end of its parent).

    Args:
        study: opened.
        device: that it works on, in words.
        once: ends when there is nothing to do at the moment.
        with_parent: standard input is a pipe from the process that serves; the worker ends when it closes.
    """
    worker = Worker(study)
    if is_main():
        study.store.lock_wait = LockWait(LockReport(study.store))
    if not is_launched():
        signal.signal(signal.SIGTERM, _leave)
    if with_parent:
        os.nice(15)  # a pick is answered first
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent says when
        threading.Thread(target=_end_with_parent, daemon=True).start()
    elif is_main():
        err.print(f"Working on {study.path}, on {device}; Ctrl-C stops, nothing is lost.")
    worker.run(once)


class LockReport:
    """Says on stderr, once a minute, that another process keeps the worker waiting, and logs it when that is over."""

    def __init__(self, store: Store, say: Callable[[str], object] = err.print):
        self._store = store
        self._say = say
        self._said = -SAY_AGAIN_S

    def __call__(self, waited_s: float, got: bool) -> None:
        """Takes a report of `LockWait`."""
        if got:
            self._say(f"The database was locked for {waited_s:.0f} s; the worker goes on.")
            self._store.log("worker", "waited_for_lock", seconds=round(waited_s, 1))
            self._said = -SAY_AGAIN_S
        elif waited_s - self._said >= SAY_AGAIN_S:
            self._say(f"The database is locked by another process; the worker waits on, after {waited_s:.0f} s.")
            self._said = waited_s


def _end_with_parent() -> None:
    while os.read(0, 1):  # not through sys.stdin, whose lock this thread would hold when the interpreter ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _leave(_signal: int, _frame: object) -> None:
    raise SystemExit(0)
