"""Which slates raters get: while a generation trains audit slates alone, and whatever there is rather than none."""

from collections.abc import Callable

import pytest

from data.records import timestamp
from data.store import Store
from data.store.connection import steady_now
from loop.raters.journey import next_slates, served_purposes, starting, worker_status
from loop.study import configure

CONFIG = configure("digits", ["curation.k=3", "schedule.picks=100"])


@pytest.fixture
def worker(store: Store) -> Callable[[str, float], None]:
    """A function: the worker last said this phase so many seconds ago."""

    def say(phase: str, ago_s: float) -> None:
        store.set_status("worker", phase=phase, done=None, left_s=None)
        with store.write() as db:
            db.conn.execute("UPDATE status SET at = ?", [timestamp(-ago_s)])

    return say


@pytest.mark.parametrize(
    ("phase", "ago_s", "expected"),
    [
        ("idle", 0, ("curation", "audit")),
        ("training", 0, ("audit",)),
        ("curating", 0, ("audit",)),
        ("training", 8, ("audit", "curation")),
        ("training", 60, ("curation", "audit")),
    ],
)
def test_what_is_served(store: Store, worker, phase: str, ago_s: float, expected: tuple[str, ...]):
    worker(phase, ago_s)
    assert served_purposes(store, CONFIG) == expected


def test_with_the_picks_in_raters_compare_generations(store: Store, worker):
    worker("idle", 0)
    ready = CONFIG.model_copy(update={"schedule": CONFIG.schedule.model_copy(update={"picks": 0})})
    assert served_purposes(store, ready) == ("audit",)


def test_nobody_waits_for_a_worker_that_was_killed_while_it_trained(store: Store, worker, fill):
    fill(store, n=1, purpose="audit")
    worker("training", 0)
    assert [slate.purpose for slate in next_slates(store, CONFIG, "ann")] == ["audit"]
    worker("training", 8)
    assert worker_status(store)["phase"] == "training"
    assert [slate.purpose for slate in next_slates(store, CONFIG, "ann")] == ["audit", "curation"]


def test_a_dry_pool_of_curation_slates_leaves_audit_slates(store: Store, worker, fill):
    fill(store, n=2, purpose="audit")
    worker("idle", 0)
    while store.lease("bob", ("curation",), 0, 60):
        pass
    assert [slate.purpose for slate in next_slates(store, CONFIG, "ann")] == ["audit", "audit"]


def test_a_worker_that_was_started_is_starting_until_it_says_more_or_ends(store: Store, worker):
    with starting(store):
        assert worker_status(store)["phase"] == "starting"
        with starting(store):  # a second one, which ends
            pass
        assert worker_status(store)["phase"] == "starting"
    assert worker_status(store)["phase"] == "absent"
    with starting(store):
        worker("preparing", 0)
    assert worker_status(store)["phase"] == "preparing"
    with starting(store):
        assert worker_status(store)["phase"] == "preparing"
    for ago_s, phase in ((30, "starting"), (61, "absent")):
        worker("starting", ago_s)
        assert worker_status(store)["phase"] == phase


@pytest.mark.parametrize(("wall", "steady_ago_s", "phase"), [("2001", 1, "idle"), ("2999", 16, "absent")])
def test_the_workers_silence_is_told_by_a_clock_that_nobody_sets(store: Store, wall: str, steady_ago_s, phase: str):
    boot, now = steady_now()
    store.set_status("worker", phase="idle", steady=(boot, now - steady_ago_s))
    with store.write() as db:
        db.conn.execute("UPDATE status SET at = ? || '-01-01T00:00:00.000Z'", [wall])
    assert worker_status(store)["phase"] == phase
