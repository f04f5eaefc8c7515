"""Group commit: works that wait at the same moment share one transaction, because each commit costs a disk's flush."""

import sqlite3
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from threading import Lock
from typing import Any, TypeVar

MOST = 64  # works in one transaction
T = TypeVar("T")


class Sharing:
    """Runs works in write transactions that they share.

    Args:
        lock: held by whoever of this process writes.
        connection: gives the calling thread's connection.
    """

    def __init__(self, lock: Lock, connection: Callable[[], sqlite3.Connection]):
        self._lock = lock
        self._connection = connection
        self._works: deque[tuple[Callable[[], Any], Future[Any]]] = deque()

    def run(self, work: Callable[[], T]) -> T:
        """What `work` gives (or raises), once it is committed; whoever comes first runs the others' works too."""
        future: Future[T] = Future()
        self._works.append((work, future))
        with self._lock:
            while not future.done():
                self._run_waiting()
        return future.result()

    def _run_waiting(self) -> None:
        """Runs what waits, oldest first, in one transaction; each hears of its outcome only after the commit."""
        works = [self._works.popleft() for _ in range(min(len(self._works), MOST))]
        outcomes: list[Callable[[], None]] = []
        connection = self._connection()
        try:
            connection.execute("BEGIN IMMEDIATE")
            outcomes = [_attempt(connection, work, future) for work, future in works]
            connection.execute("COMMIT")
        except BaseException as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            outcomes = [partial(future.set_exception, error) for _, future in works]
            if not isinstance(error, Exception):
                raise
        finally:
            for tell in outcomes:
                tell()


def _attempt(connection: sqlite3.Connection, work: Callable[[], T], future: Future[T]) -> Callable[[], None]:
    """Does one work behind a savepoint, so that one that raises leaves nothing behind and spoils no other."""
    connection.execute("SAVEPOINT work")
    try:
        outcome = partial(future.set_result, work())
    except Exception as error:  # noqa: BLE001 - it is raised again where the work came from
        connection.execute("ROLLBACK TO work")
        outcome = partial(future.set_exception, error)
    connection.execute("RELEASE work")
    return outcome
