"""Opening study.db, its transactions (of one thread, nested, or shared by all that wait), and the journal.

WAL, foreign keys, FULL sync, one connection per thread. The journal holds events in their order, present statuses, and
changes of the machine's clock; every command may write it.
"""

import json
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from math import inf
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Self, TypeVar

from sqlite_utils import Database

from data.errors import BusyDatabaseError, CorruptDatabaseError, NewerDatabaseError, NotAStudyError, storage_fault
from data.records import timestamp
from data.schema import migrations
from data.secret_file import MODE

BUSY_TIMEOUT_S = 60.0
MOST = 64  # works in one transaction
PATIENCE_S = 4.0  # that a work waits for the write lock
TRY_S = 0.25  # after which the works are looked through for those that waited too long
JUMP_S = 5.0  # a smaller change of the clock isn't followed
CLOCK = "clock"  # the status that holds the clock's offset
_FORM = "'%Y-%m-%dT%H:%M:%fZ'"  # of `data.records.timestamp`
T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class LockWait:
    """The wait of a long-running process for the write lock while another process holds it.

    Attributes:
        report: called with the seconds waited so far and whether the lock is held now: after every `try_s` in vain, and
            once, inside the transaction, when the wait is over.
        try_s: seconds between two reports.
        limit_s: seconds after which the attempt is given up.
        clock: a monotonic clock, in seconds.
    """

    report: Callable[[float, bool], None]
    try_s: float = 5.0
    limit_s: float = inf
    clock: Callable[[], float] = time.monotonic

    def begin(self, connection: sqlite3.Connection) -> float:
        """Begins a write transaction; returns the seconds for which another process's lock kept it waiting.

        Raises:
            sqlite3.OperationalError: another process held the lock for `limit_s`.
        """
        began, waited_s = self.clock(), 0.0
        connection.execute(f"PRAGMA busy_timeout = {int(1000 * self.try_s)}")
        try:
            while True:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    return waited_s
                except sqlite3.OperationalError as error:
                    waited_s = self.clock() - began
                    if storage_fault(error) != "locked" or waited_s >= self.limit_s:
                        raise
                self.report(waited_s, False)
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(1000 * BUSY_TIMEOUT_S)}")


class Connection:
    """Connections to a study's database, one per thread, and their transactions.

    Args:
        path: study.db; it must exist (see `create`).

    Attributes:
        lock_wait: the wait of `write` for another process's lock; without it a minute at most.

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
        check_file(self.path)
        if migrations.pending(self.db):
            # Where two processes come here together, the write lock leaves one of them nothing to do.
            with self.write():
                migrations.apply(self.db)

    @classmethod
    def create(cls, path: Path) -> Self:
        """A new, empty database at `path`.

        Raises:
            FileExistsError: something is there already.
        """
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE))  # SQLite's log gets the same rights
        database = Database(path)
        database.conn.execute("PRAGMA journal_mode = WAL")
        with database.atomic():
            migrations.apply(database)
        database.close()
        return cls(path)

    @property
    def db(self) -> Database:
        """This thread's connection, opened at first use."""
        database = getattr(self._local, "database", None)
        if database is None:
            sealed = is_sealed(self.path)
            target = f"{self.path.resolve().as_uri()}?mode=ro&immutable=1" if sealed else self.path
            connection = sqlite3.connect(target, uri=sealed, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
            if not sealed:
                enable_wal(connection)
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
            with savepoint(db.conn):
                yield db
            return
        with self._writing:
            waited_s = 0.0
            if self.lock_wait is None:
                db.conn.execute("BEGIN IMMEDIATE")
            else:
                waited_s = self.lock_wait.begin(db.conn)
            try:
                if waited_s and self.lock_wait:
                    self.lock_wait.report(waited_s, True)
                yield db
            except BaseException:
                db.rollback()
                raise
            db.commit()

    def together(self, work: Callable[[], T]) -> T:
        """Runs `work` in a write transaction shared with all that wait at this moment; returns once it is committed.

        It runs in another thread and must keep to this store; one that raises is rolled back alone.

        Raises:
            BusyDatabaseError: another process held the write lock for too long; `work` was not and will not be done.
        """
        return work() if self.db.conn.in_transaction else self._group_commit.submit(work).result()

    def soon(self, work: Callable[[], T], then: Callable[[T], U]) -> Future[U]:
        """`together` without holding a thread meanwhile: a future of what `then` makes of the result after the commit.

        Both run in another thread; `then` only reads.
        """
        return self._group_commit.submit(work, then)

    @property
    def blocked_s(self) -> float:
        """Seconds that `together` and `soon` have been waiting for the write lock in vain; 0.0 when they aren't."""
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

    def row(self, sql: str, args: Sequence[Any] | dict[str, Any] = ()) -> dict[str, Any] | None:
        """The first row of a query, or None."""
        return next(self.rows(sql, args), None)

    def value(self, sql: str, args: Sequence[Any] | dict[str, Any] = ()) -> Any:
        """The first column of the first row, or None."""
        row = self.db.conn.execute(sql, args).fetchone()
        return None if row is None else row[0]

    def faults(self) -> list[str]:
        """Faults that SQLite itself finds: damaged pages, broken references. Empty when all is well."""
        damage = [row[0] for row in self.db.conn.execute("PRAGMA integrity_check") if row[0] != "ok"]
        return damage + [
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


class Journal(Connection):
    """Events, statuses, and leases that a change of the clock leaves as long as they were."""

    _offset: float | None = None

    def log(self, actor: str, kind: str, **detail: Any) -> int:
        """Adds an event and returns its id."""
        with self.write() as db:
            cursor = db.conn.execute(
                "INSERT INTO event(at, actor, kind, detail_json) VALUES (?, ?, ?, ?)",
                [timestamp(), actor, kind, json.dumps(detail)],
            )
            assert cursor.lastrowid is not None
            return cursor.lastrowid

    def events(self, *, kinds: tuple[str, ...] = (), after: int = 0, newest: int | None = None) -> list[dict]:
        """Events by id, of the given kinds (all when empty): id, at, actor, kind, detail.

        Args:
            kinds: of events.
            after: the id above which they lie.
            newest: the number of events, the last ones; all by default.
        """
        where = f"AND kind IN ({','.join('?' * len(kinds))})" if kinds else ""
        rows = self.rows(
            f"SELECT * FROM event WHERE id > ? {where} ORDER BY id DESC LIMIT ?", [after, *kinds, newest or -1]
        )
        return [{**row, "detail": json.loads(row.pop("detail_json"))} for row in rows][::-1]

    def set_status(self, key: str, **value: Any) -> None:
        """Replaces the status under `key`."""
        with self.write() as db:
            db.conn.execute(
                "INSERT OR REPLACE INTO status(key, value_json, at) VALUES (?, ?, ?)",
                [key, json.dumps(value), timestamp()],
            )

    def status(self, key: str) -> dict[str, Any]:
        """The status under `key`, with the time `at` which it was set; empty when there is none."""
        row = self.row("SELECT value_json, at FROM status WHERE key = ?", [key])
        return {} if row is None else {**json.loads(row["value_json"]), "at": row["at"]}

    def follow_clock(self) -> None:
        """Moves the running leases by as much as the machine's clock has been set since the last call by any process.

        So none of them ends sooner or later than it would have. Called before a lease is looked at; costs nothing as
        long as the clock goes on steadily.
        """
        offset = clock_offset()
        if self._offset is not None and abs(offset - self._offset) < JUMP_S:
            return
        with self.write() as db:
            known = self.status(CLOCK)
            same_boot = known.get("boot") == boot_id()
            jump_s = offset - known["offset"] if same_boot else 0.0
            if same_boot and abs(jump_s) < JUMP_S:
                self._offset = known["offset"]  # as stored: what this transaction writes may yet be rolled back
                return
            if jump_s:
                change = f"{jump_s:+.3f} seconds"
                db.conn.execute(
                    f"""UPDATE slate SET lease_until = strftime({_FORM}, lease_until, ?),
                    served_at = strftime({_FORM}, served_at, ?) WHERE lease_until IS NOT NULL""",
                    [change, change],
                )
                self.log("curate", "clock_set", by_s=round(jump_s, 1))
            self.set_status(CLOCK, boot=boot_id(), offset=offset)


def enable_wal(connection: sqlite3.Connection) -> None:
    """Turns write-ahead logging on, once in a database's life.

    SQLite doesn't wait for other connections with this statement as it does with all others, so it is tried again.
    """
    until = time.monotonic() + BUSY_TIMEOUT_S
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def is_sealed(path: Path) -> bool:
    """True for an archive: nothing can be written beside the database, and nobody has it open."""
    return not os.access(path.parent, os.W_OK) and not path.with_name(path.name + "-wal").exists()


def check_file(path: Path) -> None:
    """Checks that a file is a study of a known version, without changing a byte on disk.

    Raises:
        NotAStudyError, NewerDatabaseError, CorruptDatabaseError: as in `Connection`.
    """
    if not path.is_file():
        raise NotAStudyError(f"There is no study database at {path}; create one with `curate new`.")
    # With a log beside it, the database wasn't closed cleanly and has to be read through that log.
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


@dataclass(slots=True)
class Work:
    """A function that waits for its transaction.

    Attributes:
        do: the function.
        then: applied to its result after the commit; None to leave it.
        due: the time by the clock after which it is given back undone.
        future: the result's.
        outcome: what `do` or `then` returned.
        error: what either raised, or the transaction.
    """

    do: Callable[[], Any]
    then: Callable[[Any], Any] | None
    due: float
    future: Future[Any] = field(default_factory=Future)
    outcome: Any = None
    error: Exception | None = None

    def run(self, connection: sqlite3.Connection) -> None:
        """Does the work behind a savepoint, so that one that raises leaves nothing behind and spoils no other.

        Raises:
            Exception: the work's own, where SQLite has ended the whole transaction by itself, as on a full disk.
        """
        try:
            with savepoint(connection):
                self.outcome = self.do()
        except Exception as error:
            if not connection.in_transaction:
                raise
            self.error = error

    def resolve(self) -> None:
        """Applies `then`, after the commit, and gives the future its result."""
        try:
            if self.error is None and self.then is not None:
                self.outcome = self.then(self.outcome)
        except Exception as error:  # noqa: BLE001 - it is raised again where the work came from
            self.error = error
        if not self.future.set_running_or_notify_cancel():
            return  # nobody waits any more
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.outcome)


@contextmanager
def savepoint(connection: sqlite3.Connection) -> Iterator[None]:
    """A part of a transaction that an exception undoes alone. Savepoints nest under one name, compiled once."""
    connection.execute("SAVEPOINT part")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # SQLite ends the whole transaction by itself on a full disk
            connection.execute("ROLLBACK TO part")
            connection.execute("RELEASE part")
        raise
    connection.execute("RELEASE part")


class GroupCommit:
    """Runs works in write transactions that they share, because each commit costs a disk's flush.

    One thread does them all. So callers hold no lock and no interpreter while they wait, and a busy server spends its
    time on the works rather than on switching threads. While another process holds the write lock, works wait for a
    bounded time and are then given back undone; reads never come here.

    Args:
        lock: held by whichever thread of this process writes.
        connection: gives the calling thread's connection.
        clock: a monotonic clock, in seconds.
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
        self._works: SimpleQueue[Work | None] = SimpleQueue()
        self._waiting: deque[Work] = deque()  # taken from the queue by the thread, and not done yet
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._blocked_since: float | None = None
        self._closing = False

    def submit(self, do: Callable[[], Any], then: Callable[[Any], Any] | None = None) -> Future[Any]:
        """The result of `do` once it is committed, or of `then` on it afterwards; or what either raises.

        `then` may read, but must not write. A work that doesn't get the write lock in time raises BusyDatabaseError
        and is never done.
        """
        work = Work(do, then, self._clock() + PATIENCE_S)
        self._works.put(work)
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._serve, name="shared-commits", daemon=True)
                    self._thread.start()
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

    def _serve(self) -> None:
        self._closing = False
        while self._waiting or not self._closing:
            if not self._closing:
                self._collect(wait=not self._waiting)
            for work in self._attempt() if self._waiting else ():
                work.resolve()

    def _collect(self, *, wait: bool) -> None:
        """Takes what has been submitted up to now, or up to the end; at least one work if it may wait."""
        with suppress(Empty):
            work = self._works.get() if wait else self._works.get_nowait()
            while work is not None:
                self._waiting.append(work)
                work = self._works.get_nowait()
            self._closing = True

    def _attempt(self) -> list[Work]:
        """Tries to get the write lock and does the works in it; returns those that are settled either way."""
        if not self._lock.acquire(timeout=TRY_S):
            return self._overdue()
        try:
            connection = self._connection()
            connection.execute(f"PRAGMA busy_timeout = {int(1000 * TRY_S)}")
            connection.execute("BEGIN IMMEDIATE")
        except Exception as error:  # noqa: BLE001 - it is raised again where the works came from
            self._lock.release()
            if storage_fault(error) == "locked":
                return self._overdue()
            works = [*self._waiting]
            self._waiting.clear()
            for work in works:
                work.error = error
            return works
        self._blocked_since = None
        try:
            if not self._closing:
                self._collect(wait=False)  # those who came while the lock was waited for
            return self._commit(connection, [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))])
        finally:
            self._lock.release()

    def _commit(self, connection: sqlite3.Connection, works: list[Work]) -> list[Work]:
        """Does the works, oldest first, in the transaction that has begun; its failure is everyone's error."""
        try:
            try:
                for work in works:
                    work.run(connection)
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except Exception as error:  # noqa: BLE001 - it is raised again where the works came from
            for work in works:
                work.error = error
        return works

    def _overdue(self) -> list[Work]:
        """Takes out the works that waited too long, oldest first; the rest go on waiting."""
        now = self._clock()
        if self._blocked_since is None:
            self._blocked_since = now
        late = []
        while self._waiting and self._waiting[0].due <= now:
            late.append(self._waiting.popleft())
            late[-1].error = BusyDatabaseError("database is locked: another process has been writing for too long")
        return late


def clock_offset() -> float:
    """The wall clock less the monotonic one, in seconds: it changes only when the wall clock is set."""
    while True:
        before, now, after = time.monotonic(), time.time(), time.monotonic()
        if after - before < 0.1:  # the three readings are of one moment
            return now - before


def steady_now() -> tuple[str, float]:
    """The present by the monotonic clock: the id of the machine's start, and seconds."""
    return boot_id(), time.monotonic()


def seconds_since(moment: tuple[str, float] | list | None) -> float | None:
    """Seconds since a `steady_now` of any process of this machine; None where the machine was restarted since."""
    if not moment or moment[0] != boot_id():
        return None
    return time.monotonic() - moment[1]


@cache
def boot_id() -> str:
    """The id of this start of the machine; only Linux has one, elsewhere each process has its own."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"process started at {time.time()}"
