"""Group commit: works that wait at the same moment share one transaction, because each commit costs a disk's flush.

One thread does them all. So those who wait hold no lock and no interpreter, and a busy server spends its time on the
works rather than on changing threads. While another process holds the write lock, works wait for a bounded time and
are then given back undone; who only reads never comes here.
"""

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from data.errors import BusyDatabaseError, storage_fault

MOST = 64  # works in one transaction
PATIENCE_S = 4.0  # that a work waits for the write lock
TRY_S = 0.25  # after which the works are looked through for those that waited too long
T = TypeVar("T")


@dataclass(slots=True)
class _Work:
    do: Callable[[], Any]
    then: Callable[[Any], Any] | None
    due: float
    future: Future[Any] = field(default_factory=Future)
    outcome: Any = None
    error: Exception | None = None


class GroupCommit:
    """Runs works in write transactions that they share.

    Args:
        lock: held by whoever of this process writes.
        connection: gives the calling thread's connection.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        lock: threading.Lock,
        connection: Callable[[], sqlite3.Connection],
        clock: Callable[[], float] = time.monotonic,
    ):
        self._lock = lock
        self._connection = connection
        self._clock = clock
        self._works: SimpleQueue[_Work | None] = SimpleQueue()
        self._waiting: deque[_Work] = deque()  # taken from the queue by the thread, and not done yet
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._blocked_since: float | None = None
        self._closing = False

    def submit(self, do: Callable[[], Any], then: Callable[[Any], Any] | None = None) -> Future[Any]:
        """The result of `do` once it is committed, or of `then` on it afterwards; or what either raises.

        `then` may read, but must not write. A work that doesn't get the write lock in time raises BusyDatabaseError
        and is never done.
        """
        work = _Work(do, then, self._clock() + PATIENCE_S)
        self._works.put(work)
        if self._thread is None:
            self._start()
        return work.future

    @property
    def blocked_s(self) -> float:
        """Seconds for which works have been waiting for the write lock in vain; 0.0 when they aren't."""
        since = self._blocked_since
        return 0.0 if since is None else self._clock() - since

    def size(self) -> int:
        """The number of works that wait."""
        return self._works.qsize() + len(self._waiting)

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
        self._closing = False
        while self._waiting or not self._closing:
            if not self._closing:
                self._collect(wait=not self._waiting)
            for work in self._attempt() if self._waiting else ():
                _tell(work)

    def _collect(self, *, wait: bool) -> None:
        """Takes what has been submitted up to now, or up to the end; at least one work if it may wait."""
        with suppress(Empty):
            work = self._works.get() if wait else self._works.get_nowait()
            while work is not None:
                self._waiting.append(work)
                work = self._works.get_nowait()
            self._closing = True

    def _attempt(self) -> list[_Work]:
        """Tries to get the write lock and does the works in it; gives those that are settled either way."""
        if not self._lock.acquire(timeout=TRY_S):
            return self._overdue()
        try:
            connection = self._connection()
            connection.execute(f"PRAGMA busy_timeout = {int(1000 * TRY_S)}")
            connection.execute("BEGIN IMMEDIATE")
        except Exception as error:  # noqa: BLE001 - it is raised again where the works came from
            self._lock.release()
            return self._overdue() if storage_fault(error) == "locked" else self._given_up(error)
        self._blocked_since = None
        try:
            if not self._closing:
                self._collect(wait=False)  # those who came while the lock was waited for
            return self._commit(connection, [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))])
        finally:
            self._lock.release()

    def _commit(self, connection: sqlite3.Connection, works: list[_Work]) -> list[_Work]:
        """Does the works, oldest first, in the transaction that has begun; its failure is everyone's error."""
        try:
            try:
                for work in works:
                    _do(connection, work)
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except Exception as error:  # noqa: BLE001 - it is raised again where the works came from
            for work in works:
                work.error = error
        return works

    def _overdue(self) -> list[_Work]:
        """Takes out the works that waited too long, oldest first; the rest go on waiting."""
        now = self._clock()
        if self._blocked_since is None:
            self._blocked_since = now
        late = []
        while self._waiting and self._waiting[0].due <= now:
            late.append(self._waiting.popleft())
            late[-1].error = BusyDatabaseError("database is locked: another process has been writing for too long")
        return late

    def _given_up(self, error: Exception) -> list[_Work]:
        works = [*self._waiting]
        self._waiting.clear()
        for work in works:
            work.error = error
        return works


def _do(connection: sqlite3.Connection, work: _Work) -> None:
    """Does one work behind a savepoint, so that one that raises leaves nothing behind and spoils no other.

    Raises:
        Exception: the work's own, where SQLite has ended the whole transaction by itself, as on a full disk.
    """
    connection.execute("SAVEPOINT work")
    try:
        work.outcome = work.do()
    except Exception as error:
        if not connection.in_transaction:
            raise
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
