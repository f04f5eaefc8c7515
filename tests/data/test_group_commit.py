"""Group commit: what is shared, what isn't, and what an error leaves behind."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from data.errors import BusyDatabaseError
from data.store import Store, connection
from data.store.connection import GroupCommit, LockWait


def kinds(store: Store) -> list[str]:
    return [event["kind"] for event in store.events()]


def test_a_work_is_committed_before_it_returns(store: Store):
    assert store.together(lambda: store.log("test", "done")) == 1
    with Store(store.path).read() as other:
        assert other.conn.execute("SELECT count(*) FROM event").fetchone() == (1,)


def test_a_work_within_a_transaction_belongs_to_it(store: Store):
    with pytest.raises(RuntimeError, match="outer"), store.write():
        store.together(lambda: store.log("test", "lost"))
        raise RuntimeError("outer")
    assert kinds(store) == []


def test_works_that_wait_share_a_commit(store: Store, monkeypatch: pytest.MonkeyPatch):
    commits: list[int] = []
    commit = GroupCommit._commit
    monkeypatch.setattr(
        GroupCommit, "_commit", lambda self, db, all_: commits.append(len(all_)) or commit(self, db, all_)
    )
    ready, go = threading.Barrier(9), threading.Event()

    def work(n: int) -> int:
        ready.wait()
        return store.together(lambda: store.log("test", f"k{n}"))

    with ThreadPoolExecutor(8) as pool:
        with store._writing:  # all eight queue up behind this
            waiting = [pool.submit(work, n) for n in range(8)]
            ready.wait()
            while store._group_commit.size() < 8:
                go.wait(0.001)
        ids = [each.result(10) for each in waiting]
    assert sorted(ids) == list(range(1, 9))
    assert sorted(kinds(store)) == [f"k{n}" for n in range(8)]
    assert sum(commits) == 8 and len(commits) <= 2


def test_one_that_raises_is_rolled_back_alone(store: Store):
    outcomes: dict[int, object] = {}

    def fail() -> None:
        store.log("test", "half done")
        raise ValueError("mine")

    def run(n: int) -> None:
        try:
            outcomes[n] = store.together(fail if n % 2 else lambda: store.log("test", f"k{n}"))
        except ValueError as error:
            outcomes[n] = str(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(10)]
    with store._writing:
        for thread in threads:
            thread.start()
        while store._group_commit.size() < 10:
            threading.Event().wait(0.001)
    for thread in threads:
        thread.join(10)
    assert [outcomes[n] for n in (1, 3, 5, 7, 9)] == ["mine"] * 5
    assert sorted(kinds(store)) == ["k0", "k2", "k4", "k6", "k8"]


def test_a_failed_commit_is_everyones_error_and_stores_nothing(store: Store):
    def spoil() -> None:
        store.log("test", "lost")
        store.db.conn.execute("ROLLBACK")  # as SQLite does by itself on a full disk

    with pytest.raises(sqlite3.OperationalError):
        store.together(spoil)
    assert kinds(store) == []
    assert store.together(lambda: store.log("test", "fine"))


def test_hundreds_of_works_from_many_threads(store: Store):
    with ThreadPoolExecutor(40) as pool:
        ids = list(pool.map(lambda n: store.together(lambda: store.log("test", f"k{n}")), range(600)))
    assert sorted(ids) == list(range(1, 601))
    by_id = {event["id"]: event["kind"] for event in store.events()}
    assert all(by_id[id_] == f"k{n}" for n, id_ in enumerate(ids))


def test_what_comes_after_sees_the_commit_and_may_fail_alone(store: Store):
    def reads(id_: int) -> list[str]:
        assert not store.db.conn.in_transaction
        with Store(store.path).read() as other:
            assert other.conn.execute("SELECT max(id) FROM event").fetchone()[0] >= id_
        return kinds(store)

    with store._writing:
        good = store.soon(lambda: store.log("test", "good"), reads)
        bad = store.soon(lambda: store.log("test", "bad"), lambda _: 1 // 0)
        skipped = store.soon(lambda: 1 // 0, lambda _: store.log("test", "never"))
    assert good.result(10) == ["good", "bad"]
    for future in (bad, skipped):
        with pytest.raises(ZeroDivisionError):
            future.result(10)
    assert kinds(store) == ["good", "bad"]  # what was committed stays


def test_who_stops_waiting_spoils_nothing(store: Store):
    with store._writing:
        futures = [store.soon(lambda n=n: store.log("test", f"k{n}"), lambda id_: id_) for n in range(3)]
        assert futures[1].cancel()
    assert (futures[0].result(10), futures[2].result(10)) == (1, 3)
    assert kinds(store) == ["k0", "k1", "k2"]


def test_a_closed_store_does_what_was_asked_before_and_works_again(store: Store):
    futures = [store.soon(lambda n=n: store.log("test", f"k{n}"), lambda id_: id_) for n in range(200)]
    store.close()
    assert [future.result(0) for future in futures] == list(range(1, 201))
    assert store.together(lambda: store.log("test", "again")) == 201


def test_works_wait_for_another_process_for_a_bounded_time_and_are_given_back_undone(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection, "TRY_S", 0.001)
    now = [0.0]
    store._group_commit._clock = lambda: now[0]
    with foreign_lock(store):
        early = store.soon(lambda: store.log("test", "early"), lambda id_: id_)
        now[0] = 3.0
        late = store.soon(lambda: store.log("test", "late"), lambda id_: id_)
        now[0] = connection.PATIENCE_S
        with pytest.raises(BusyDatabaseError):
            early.result(10)
        assert not late.done() and kinds(store) == []  # who reads doesn't wait
        now[0] += 1
        assert store.blocked_s > 0
    assert late.result(10) == 1
    assert kinds(store) == ["late"] and store.blocked_s == 0


def test_a_full_disk_is_the_error_of_the_work_it_happens_to(store: Store):
    store.together(lambda: store.db.conn.execute(f"PRAGMA max_page_count = {pages(store) + 4}"))
    futures = [store.soon(lambda: store.add_images([("ab" * 32, bytes(10**6))]), lambda _: None) for _ in range(3)]
    for future in futures:
        with pytest.raises(sqlite3.OperationalError, match="full"):
            future.result(10)
    assert store.value("SELECT count(*) FROM image WHERE length(png) = 1000000") == 0
    assert store.together(lambda: store.log("test", "small"))


def test_a_process_without_an_end_waits_for_the_lock_and_tells_of_it(store: Store):
    reports: list[tuple[float, bool]] = []
    ticks = iter(range(0, 1000, 100))
    with foreign_lock(store) as release:

        def report(waited_s: float, got: bool) -> None:
            reports.append((waited_s, got))
            if (waited_s, got) == (300, False):
                release()

        store.lock_wait = LockWait(report, try_s=0.001, clock=lambda: next(ticks))
        store.log("test", "at last")
    assert reports == [(100, False), (200, False), (300, False), (300, True)]
    assert kinds(store) == ["at last"]
    assert store.value("PRAGMA busy_timeout") == 60_000


def pages(store: Store) -> int:
    return store.value("PRAGMA page_count")


@contextmanager
def foreign_lock(store: Store) -> Iterator[Callable[[], object]]:
    """Another program that writes and doesn't end; gives what ends it sooner."""
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield lambda: other.execute("ROLLBACK")
    other.close()
