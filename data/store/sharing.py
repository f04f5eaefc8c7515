"""Group commit: works that wait at the same moment share one transaction, because each commit costs a disk's flush.

One thread does them all. So those who wait hold no lock and no interpreter, and a busy server spends its time on the
works rather than on changing threads.
"""

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

MOST = 64  # works in one transaction
T = TypeVar("T")


@dataclass(slots=True)
class _Work:
    do: Callable[[], Any]
    then: Callable[[Any], Any] | None
    future: Future[Any] = field(default_factory=Future)
    outcome: Any = None
    error: Exception | None = None


class Sharing:
    """Runs works in write transactions that they share.

    Args:
        lock: held by whoever of this process writes.
        connection: gives the calling thread's connection.
    """

    def __init__(self, lock: threading.Lock, connection: Callable[[], sqlite3.Connection]):
        self._lock = lock
        self._connection = connection
        self._works: SimpleQueue[_Work | None] = SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, do: Callable[[], Any], then: Callable[[Any], Any] | None = None) -> Future[Any]:
        """What `do` gives once it is committed, or what `then` makes of that afterwards; or what either raises.

        `then` may read, but must not write.
        """
        work = _Work(do, then)
        self._works.put(work)
        if self._thread is None:
            self._start()
        return work.future

    def close(self) -> None:
        """Waits for what was submitted, and ends the thread; a later work starts another."""
        with self._starting:
            if self._thread is not None:
                self._works.put(None)
                self._thread.join()
                self._thread = None

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="shared-commits", daemon=True)
                self._thread.start()

    def _serve(self) -> None:
        while (first := self._works.get()) is not None:
            with self._lock:
                works, going_on = self._waiting(first)
                self._commit(works)
            for work in works:
                _tell(work)
            if not going_on:
                return

    def _waiting(self, first: _Work) -> tuple[list[_Work], bool]:
        """The first work and those behind it; and whether that was not the end."""
        works = [first]
        with suppress(Empty):
            while len(works) < MOST:
                work = self._works.get_nowait()
                if work is None:
                    return works, False
                works.append(work)
        return works, True

    def _commit(self, works: list[_Work]) -> None:
        """Does the works, oldest first, in one transaction; its failure is everyone's error."""
        try:
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                for work in works:
                    _attempt(connection, work)
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except Exception as error:  # noqa: BLE001 - it is raised again where the works came from
            for work in works:
                work.error = error


def _attempt(connection: sqlite3.Connection, work: _Work) -> None:
    """Does one work behind a savepoint, so that one that raises leaves nothing behind and spoils no other."""
    connection.execute("SAVEPOINT work")
    try:
        work.outcome = work.do()
    except Exception as error:  # noqa: BLE001 - it is raised again where the work came from
        connection.execute("ROLLBACK TO work")
        work.error = error
    connection.execute("RELEASE work")


def _tell(work: _Work) -> None:
    """Hands over what came of a work, after the commit."""
    try:
        if work.error is None and work.then is not None:
            work.outcome = work.then(work.outcome)
    except Exception as error:  # noqa: BLE001 - it is raised again where the work came from
        work.error = error
    if not work.future.set_running_or_notify_cancel():
        return  # nobody waits any more
    if work.error is not None:
        work.future.set_exception(work.error)
    else:
        work.future.set_result(work.outcome)
