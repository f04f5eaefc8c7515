"""Two processes with threads at one database: every slate is leased once, every pick stored once.

Run as a script, this file is one of the processes.
"""

import functools
import json
import operator
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from data.records import Pick
from data.store import Store

MIGRATIONS = [
    "m001_study",
    "m002_evaluation",
    "m003_journey",
    "m004_pseudonyms",
    "m005_views",
    "m006_replays",
    "m007_tally",
    "m008_undo",
    "m009_texts",
    "m010_conditions",
    "m011_features",
]
THREADS = 3
SLATES = 120


def hammer(path: Path, name: str) -> list[list[int]]:
    """Leases and answers until nothing is left, each answer sent twice; returns (slate, pick) of every thread."""
    store, taken = Store(path), []

    def work(session: str) -> None:
        store.add_session(session, store.add_rater("human"))
        while slate := store.lease(session, ("curation",), 0, 600):
            answer = Pick(slate.id, "pick", slate.id % slate.k)
            first, again = store.record_pick(session, answer), store.record_pick(session, answer)
            assert (first.duplicate, again.duplicate, first.id == again.id) == (False, True, True)
            taken.append([slate.id, first.id])
            (path.parent / f"{name}.begun").touch()
            while len(list(path.parent.glob("*.begun"))) < 2:  # nobody empties the pool before the other has begun
                time.sleep(0.001)

    threads = [threading.Thread(target=work, args=[f"{name}-{i}"]) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    return taken


def start(*arguments: object) -> subprocess.Popen[str]:
    """This file as a process that waits for a line before it begins."""
    command = [sys.executable, __file__, *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def together(processes: list[subprocess.Popen[str]]) -> list[list[list[int]]]:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return [json.loads(output) for output in outputs]


def test_no_slate_is_leased_twice_and_no_pick_lost_or_doubled(tmp_path: Path, fill: Callable[..., list[int]]):
    store = Store.create(tmp_path / "study.db")
    ids = fill(store, n=SLATES)
    taken = functools.reduce(operator.iadd, together([start("hammer", store.path, name) for name in ("a", "b")]), [])
    assert sorted(slate for slate, _ in taken) == ids
    assert sorted(pick for _, pick in taken) == list(range(1, SLATES + 1))
    rows = list(store.rows("SELECT id, slate_id, position, session_id FROM pick"))
    assert sorted((row["slate_id"], row["id"]) for row in rows) == sorted(map(tuple, taken))
    assert all(row["position"] == row["slate_id"] % 3 for row in rows)
    assert store.value("SELECT count(*) FROM slate JOIN pick ON slate_id = slate.id WHERE leased_to != session_id") == 0
    by_process = Counter(row["session_id"][0] for row in rows)
    assert min(by_process["a"], by_process["b"]) > 0, "the processes didn't run side by side"
    assert store.faults() == []
    store.close()


@pytest.mark.parametrize("attempt", range(3))
def test_two_processes_that_open_a_fresh_database_at_once_migrate_it_once(tmp_path: Path, attempt: int):
    path = tmp_path / "study.db"
    path.touch()
    assert together([start("open", path, name) for name in ("a", "b")]) == [[], []]
    store = Store(path)
    assert [row["name"] for row in store.rows("SELECT name FROM _sqlite_migrations")] == MIGRATIONS
    assert store.value("SELECT count(*) FROM event WHERE kind = 'opened'") == 2
    store.close()


if __name__ == "__main__":
    what, where, who = sys.argv[1:]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    if what == "hammer":
        sys.stdout.write(json.dumps(hammer(Path(where), who)))
    else:
        Store(Path(where)).log(who, "opened")
        sys.stdout.write("[]")
