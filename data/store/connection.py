"""Opening study.db and its transactions: WAL, foreign keys, FULL sync, one connection per thread."""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Self, TypeVar

from sqlite_utils import Database

from data.errors import CorruptDatabaseError, NewerDatabaseError, NotAStudyError, storage_fault
from data.schema import migrations
from data.secret_file import MODE
from data.store.group_commit import GroupCommit

BUSY_TIMEOUT_S = 60.0
T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class LockWait:
    """The patience of a process that runs for long with the write lock that another process holds.

    Attributes:
        report: called with the seconds waited so far and whether the lock has been got: after every vain `try_s`, and
            once, inside the transaction, when the wait is over.
        try_s: seconds between two reports.
        limit_s: seconds after which the lock is given up.
        clock: seconds, never going back.
    """

    report: Callable[[float, bool], None]
    try_s: float = 5.0
    limit_s: float = inf
    clock: Callable[[], float] = time.monotonic


class Connection:
    """The part of the store that every table stands on.

    Args:
        path: study.db; it must exist (see `create`).

    Attributes:
        lock_wait: how `write` waits for another process's lock; without it a minute is the limit.

    Raises:
        NotAStudyError: no such file, or not a study.
        NewerDatabaseError: migrations are recorded that this version doesn't know.
        CorruptDatabaseError: not readable as SQLite.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self.lock_wait: LockWait | None = None
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._opened_lock = threading.Lock()
        self._writing = threading.Lock()  # threads of one process wait here rather than poll for SQLite's lock
        self._group_commit = GroupCommit(self._writing, lambda: self.db.conn)
        _look_before_opening(self.path)
        if migrations.pending(self.db):
            # Two processes may arrive here together: the write lock makes one of them find nothing left to do.
            with self.write():
                migrations.apply(self.db)

    @classmethod
    def create(cls, path: Path) -> Self:
        """A new, empty database at `path`.

        Raises:
            FileExistsError: something is there already.
        """
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE))  # SQLite gives its log the same rights
        database = Database(path)
        database.conn.execute("PRAGMA journal_mode = WAL")
        with database.atomic():
            migrations.apply(database)
        database.close()
        return cls(path)

    @property
    def db(self) -> Database:
        """This thread's connection, opened when first asked for."""
        database = getattr(self._local, "database", None)
        if database is None:
            sealed = _is_sealed(self.path)
            target = f"{self.path.resolve().as_uri()}?mode=ro&immutable=1" if sealed else self.path
            connection = sqlite3.connect(target, uri=sealed, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
            if not sealed:
                _use_write_ahead_log(connection)
            for pragma in ("synchronous = FULL", "foreign_keys = ON", "temp_store = MEMORY"):
                connection.execute(f"PRAGMA {pragma}")
            database = Database(connection)
            self._local.database = database
            with self._opened_lock:
                self._opened.append(connection)
        return database

    @contextmanager
    def write(self) -> Iterator[Database]:
        """A write transaction that takes the lock at once; committed on leaving, rolled back on any exception.

        `BEGIN IMMEDIATE`, because a transaction that reads first and then writes can't wait for another writer in WAL
        mode: SQLite refuses it at once. Nested calls join the outer transaction.
        """
        db = self.db
        if db.conn.in_transaction:
            with _savepoint(db.conn):
                yield db
            return
        with self._writing:
            waited_s = self._begin(db.conn)
            try:
                if waited_s and self.lock_wait:
                    self.lock_wait.report(waited_s, True)
                yield db
            except BaseException:
                db.rollback()
                raise
            db.commit()

    def _begin(self, connection: sqlite3.Connection) -> float:
        """Begins a write transaction; seconds for which another process's lock kept it waiting, if that was reported.

        Raises:
            sqlite3.OperationalError: the lock was not to be had in a minute, or in the limit of `lock_wait`.
        """
        if self.lock_wait is None:
            connection.execute("BEGIN IMMEDIATE")
            return 0.0
        began, waited_s = self.lock_wait.clock(), 0.0
        connection.execute(f"PRAGMA busy_timeout = {int(1000 * self.lock_wait.try_s)}")
        try:
            while True:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    return waited_s
                except sqlite3.OperationalError as error:
                    waited_s = self.lock_wait.clock() - began
                    if storage_fault(error) != "locked" or waited_s >= self.lock_wait.limit_s:
                        raise
                self.lock_wait.report(waited_s, False)
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(1000 * BUSY_TIMEOUT_S)}")

    def together(self, work: Callable[[], T]) -> T:
        """Runs `work` in a write transaction shared with all that wait at this moment; returns once it is committed.

        It runs in another thread and must keep to this store; one that raises is rolled back alone.

        Raises:
            BusyDatabaseError: another process held the write lock for too long; `work` was not and will not be done.
        """
        return work() if self.db.conn.in_transaction else self._group_commit.submit(work).result()

    def soon(self, work: Callable[[], T], then: Callable[[T], U]) -> Future[U]:
        """`together` for those who don't want to hold a thread meanwhile: what `then` makes of it after the commit.

        Both run in another thread; `then` only reads.
        """
        return self._group_commit.submit(work, then)

    @property
    def blocked_s(self) -> float:
        """Seconds for which `together` and `soon` have been waiting for the write lock in vain; 0.0: they aren't."""
        return self._group_commit.blocked_s

    @contextmanager
    def read(self) -> Iterator[Database]:
        """A read transaction: every query inside sees the same moment."""
        if self.db.conn.in_transaction:
            yield self.db
            return
        with self.db.atomic():
            yield self.db

    def rows(self, sql: str, args: Sequence[Any] | dict[str, Any] = ()) -> Iterator[dict[str, Any]]:
        """The rows of a query, as dictionaries, one at a time."""
        cursor = self.db.conn.execute(sql, args)
        names = [column[0] for column in cursor.description]
        for row in cursor:
            yield dict(zip(names, row, strict=True))

    def one(self, sql: str, args: Sequence[Any] | dict[str, Any] = ()) -> dict[str, Any] | None:
        """The first row of a query, or None."""
        return next(self.rows(sql, args), None)

    def value(self, sql: str, args: Sequence[Any] | dict[str, Any] = ()) -> Any:
        """The first column of the first row, or None."""
        row = self.db.conn.execute(sql, args).fetchone()
        return None if row is None else row[0]

    def table_and_view_names(self) -> list[str]:
        """The study's tables and views, in the order in which they were made."""
        names = self.rows("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') ORDER BY rowid")
        return [row["name"] for row in names if not row["name"].startswith(("sqlite_", "_sqlite_"))]

    def faults(self) -> list[str]:
        """Faults that SQLite itself finds: damaged pages, broken references. Empty when all is well."""
        found = [row[0] for row in self.db.conn.execute("PRAGMA integrity_check") if row[0] != "ok"]
        return found + [
            f"{table}: row {rowid} names a missing row of {parent}"
            for table, rowid, parent, _ in self.db.conn.execute("PRAGMA foreign_key_check")
        ]

    def close(self) -> None:
        """Closes the connections of all threads; the last one out checkpoints the write-ahead log."""
        self._group_commit.close()
        with self._opened_lock:
            for connection in self._opened:
                connection.close()
            self._opened.clear()
        self._local = threading.local()


@contextmanager
def _savepoint(connection: sqlite3.Connection) -> Iterator[None]:
    """A part of a transaction that an exception undoes alone. Names may nest, and one name is compiled once."""
    connection.execute("SAVEPOINT part")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # SQLite ends the whole transaction by itself on a full disk
            connection.execute("ROLLBACK TO part")
            connection.execute("RELEASE part")
        raise
    connection.execute("RELEASE part")


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Turns WAL on, once in a database's life: SQLite doesn't wait for others with that as it does with all else."""
    until = time.monotonic() + BUSY_TIMEOUT_S
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def _is_sealed(path: Path) -> bool:
    """True if nothing can be written beside the database, and nobody has it open: an archive, to be read as it is."""
    return not os.access(path.parent, os.W_OK) and not path.with_name(path.name + "-wal").exists()


def _look_before_opening(path: Path) -> None:
    """Refuses what isn't a study of a known version, without changing a byte on disk."""
    if not path.is_file():
        raise NotAStudyError(f"There is no study database at {path}; create one with `curate new`.")
    # With a log beside it the database was not closed cleanly and has to be read through that log.
    mode = "mode=ro" if path.with_name(path.name + "-wal").exists() else "mode=ro&immutable=1"
    try:
        database = Database(sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True, timeout=BUSY_TIMEOUT_S))
        try:
            applied = {migration.name for migration in migrations.applied(database)}
            tables = set(database.table_names())
        finally:
            database.close()
    except sqlite3.DatabaseError as error:
        raise CorruptDatabaseError(
            f"{path} can't be read as a SQLite database ({error}); restore it from a backup."
        ) from error
    unknown = applied - {migration.name for migration in migrations._migrations}
    if unknown:
        raise NewerDatabaseError(
            f"{path} was written by a newer version of curate (it has {', '.join(sorted(unknown))}); update curate."
        )
    if not applied and tables:
        raise NotAStudyError(f"{path} is a SQLite database, but not a study.")
