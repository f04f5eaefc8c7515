"""Counts for the researcher's page: ranges of picks add up to all of them, and simulated users are no people."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest

from data.records import Pick
from data.store import Store, queries


def answer(store: Store, session: str, n: int, purpose: str = "curation") -> list[int]:
    """n picks of a session, of position 0."""
    ids = []
    for _ in range(n):
        slate = store.lease(session, (purpose,), 0, 600)  # pyright: ignore[reportArgumentType]
        assert slate is not None
        ids.append(store.record_pick(session, Pick(slate.id, "pick", 0)).id)
    return ids


def put(store: Store, pick_id: int, picked_at: str) -> None:
    """Moves a pick in time."""
    with store.write() as db:
        db.conn.execute("UPDATE pick SET picked_at = ? WHERE id = ?", [picked_at, pick_id])


@pytest.fixture
def busy(store: Store, fill: Callable[..., list[int]]) -> Store:
    """Five picks of two people at 9:00, 9:01, 9:01, 9:03, 9:03, and one of a simulated user."""
    fill(store, n=6)
    ids = answer(store, "ann", 3) + answer(store, "bob", 2)
    for id_, at in zip(ids, ("9:00:10", "9:01:00", "9:01:59", "9:03:00", "9:03:30"), strict=True):
        put(store, id_, f"2026-11-21T0{at}.000Z")
    sim = store.bulk_session("sim", "simulated")
    (slate,) = fill(store, n=1)
    store.add_picks([(slate, sim, 1, {"too_fast": True})])
    put(store, ids[-1] + 1, "2026-11-21T09:04:00.000Z")
    return store


def test_a_moment_is_found_among_the_picks(busy: Store):
    found = [
        queries.pick_before(busy, f"2026-11-21T09:{at}.000Z") for at in ("00:00", "01:00", "01:01", "03:30", "59:00")
    ]
    assert found == [0, 1, 2, 4, 6]


def test_answers_by_kind_outcome_and_minute(busy: Store, fill: Callable[..., list[int]]):
    assert queries.answers_by_minute(busy, 0, 6) == {
        ("human", "pick", "2026-11-21T09:00"): 1, ("human", "pick", "2026-11-21T09:01"): 2,
        ("human", "pick", "2026-11-21T09:03"): 2, ("sim", "pick", "2026-11-21T09:04"): 1,
    }  # fmt: skip
    fill(busy, n=1, purpose="practice")
    answer(busy, "ann", 1, "practice")
    slate = busy.lease("ann", ("curation",), 0, 600)
    assert slate
    busy.record_pick("ann", Pick(slate.id, "none", None))
    counted = queries.answers_by_minute(busy, 6, 8)
    assert [(kind, outcome, n) for (kind, outcome, _), n in counted.items()] == [
        ("human", "none", 1), ("human", "practice", 1),
    ]  # fmt: skip


@pytest.mark.parametrize("ends", [(0, 6), (0, 1, 6), (0, 2, 3, 5, 6), range(7)])
def test_adjoining_ranges_add_up(busy: Store, ends: tuple[int, ...]):
    busy.set_flags([(2, {"too_fast": True}), (5, {"too_fast": True, "inconsistent": True})], [])
    for count in (partial(queries.answers_by_minute, busy), partial(queries.flagged_picks, busy)):
        total: Counter = Counter()
        for after, until in pairwise(ends):
            total.update(count(after, until))
        assert total == count(0, 6)


def test_flags_are_those_of_people(busy: Store):
    busy.set_flags([(2, {"too_fast": True}), (5, {"too_fast": True, "inconsistent": True})], [("ann", {"too_fast": 1})])
    assert queries.flagged_picks(busy, 0, 6) == {"too_fast": 2, "inconsistent": 1}
    assert queries.flagged_sessions(busy) == {"too_fast": 1}


def test_at_work_is_who_answered_came_or_looks_at_a_slate(busy: Store, fill: Callable[..., list[int]]):
    with busy.write() as db:
        db.conn.execute("UPDATE session SET created_at = '2026-11-21T08:00:00.000Z'")
    assert queries.count_people_at_work(busy, 120) == 0
    fill(busy, n=3)
    busy.lease("ann", ("curation",), 0, 600)
    assert queries.count_people_at_work(busy, 120) == 1
    answer(busy, "bob", 1)
    busy.add_session("new", busy.add_rater("human"))
    assert queries.count_people_at_work(busy, 120) == 3
    assert queries.count_people_at_work(busy, 120, 120) == 2  # all but the new one
    for leave in (
        lambda: busy.reach("bob", "finished"),
        lambda: busy.withdraw("ann"),
        lambda: busy.reach("new", "failed"),
    ):
        before = queries.count_people_at_work(busy, 120)
        leave()
        assert queries.count_people_at_work(busy, 120) == before - 1


def test_practice_is_not_yet_picking(store: Store, fill: Callable[..., list[int]]):
    fill(store, n=1, purpose="practice")
    answer(store, "ann", 1, "practice")
    assert queries.count_people_who_picked(store) == 0
    slate = store.lease("ann", ("curation",), 0, 600)
    assert slate
    store.record_pick("ann", Pick(slate.id, "none", None))
    assert queries.count_people_who_picked(store) == 0, "none of these is no pick"
    answer(store, "ann", 2)
    assert queries.count_people_who_picked(store) == 1


def test_whoever_withdrew_is_none_of_the_sessions(store: Store):
    store.withdraw("bob")
    assert [row["session"] for row in queries.human_sessions(store, 600)] == ["ann"]


def test_a_session_ends_when_it_finishes_or_falls_silent(store: Store):
    assert [bool(row["ended"]) for row in queries.human_sessions(store, 600)] == [False, False]
    store.reach("ann", "finished")
    with store.write() as db:
        db.conn.execute("UPDATE session SET created_at = '2026-01-01T00:00:00.000+00:00' WHERE id = 'bob'")
    sessions = queries.human_sessions(store, 600)
    assert [(row["session"], bool(row["ended"]), row["finished_at"] is None) for row in sessions] == [
        ("ann", True, False), ("bob", True, True),
    ]  # fmt: skip
    answer(store, "bob", 1)
    assert [bool(row["ended"]) for row in queries.human_sessions(store, 600)] == [True, False]
