"""Transactions, pragmas, the pool and the record of picks, on one small database."""

import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from data.errors import PickRefusedError, storage_fault
from data.measurements import Measurements
from data.records import Generation, Pick, Sample, timestamp
from data.store import Store, queries

LAPSED = -1.0  # a lease of this length is over when it begins


def lease(store: Store, session: str = "ann", lease_s: float = 60.0) -> int:
    slate = store.lease(session, ("curation",), 0, lease_s)
    assert slate is not None
    return slate.id


def n_rows(store: Store, table: str) -> int:
    return store.value(f"SELECT count(*) FROM {table}")


@pytest.mark.parametrize(("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)])
def test_pragmas_hold_on_every_threads_connection(store: Store, pragma: str, value: object):
    found = [store.value(f"PRAGMA {pragma}")]
    thread = threading.Thread(target=lambda: found.append(store.value(f"PRAGMA {pragma}")))
    thread.start()
    thread.join()
    assert found == [value, value]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO sample(t, seed) VALUES (99, 1)",
        "INSERT INTO sample(t, seed, image_sha256) VALUES (0, 1, 'no such image')",
        "INSERT INTO slate_item VALUES (1, 7, 999)",
        "INSERT INTO pick(slate_id, session_id, outcome, picked_at) VALUES (1, 'nobody', 'none', 'now')",
        "DELETE FROM generation",
        "DELETE FROM image",
    ],
)
def test_a_reference_to_nothing_is_refused(store: Store, statement: str):
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"), store.write() as db:
        db.conn.execute(statement)


@pytest.mark.parametrize(
    "values",
    ["1, 'ann', 'pick', NULL", "1, 'ann', 'none', 0", "1, 'ann', 'like', NULL"],
)
def test_outcome_and_position_go_together_in_the_schema(store: Store, values: str):
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"), store.write() as db:
        db.conn.execute(
            f"INSERT INTO pick(slate_id, session_id, outcome, position, picked_at) VALUES ({values}, 'now')"
        )


def test_an_exception_leaves_nothing_of_a_transaction(store: Store, fill: Callable[..., list[int]]):
    before = {table: n_rows(store, table) for table in ("slate", "sample", "slate_item", "image", "event")}
    with pytest.raises(ZeroDivisionError), store.write():
        fill(store, n=3)
        store.log("test", "half_done")
        raise ZeroDivisionError
    assert {table: n_rows(store, table) for table in before} == before
    assert not store.db.conn.in_transaction


def test_a_nested_write_joins_the_outer_one(store: Store):
    with pytest.raises(ZeroDivisionError), store.write():
        with store.write():
            store.log("test", "inner")
        raise ZeroDivisionError
    assert store.events(kinds=("inner",)) == []


def test_a_failed_inner_write_leaves_the_outer_one_whole(store: Store):
    with store.write():
        store.log("test", "outer")
        with pytest.raises(ZeroDivisionError), store.write():
            store.log("test", "inner")
            raise ZeroDivisionError
    assert [event["kind"] for event in store.events()] == ["outer"]


def test_a_read_sees_one_moment(store: Store):
    other = Store(store.path)
    with store.read():
        before = n_rows(store, "event")
        other.log("test", "meanwhile")
        assert n_rows(store, "event") == before
    assert n_rows(store, "event") == before + 1
    other.close()


def test_a_pick_is_recorded_once_and_visible_to_another_connection(store: Store):
    slate = lease(store)
    stored = store.record_pick("ann", Pick(slate, "pick", 1, rt_ms=500, input="key", viewport="1280x720"))
    other = Store(store.path)
    row = other.row("SELECT * FROM pick")
    other.close()
    assert row is not None
    assert (row["id"], row["slate_id"], row["session_id"]) == (stored.id, slate, "ann")
    assert (row["outcome"], row["position"], row["rt_ms"]) == ("pick", 1, 500)
    assert row["shown_at"] < row["picked_at"] <= timestamp()


@pytest.mark.parametrize(("outcome", "position"), [("pick", 2), ("none", None), ("skip", None), ("timeout", None)])
def test_the_same_answer_again_gives_the_first_ones_id(store: Store, outcome, position: int | None):
    slate = lease(store)
    first = store.record_pick("ann", Pick(slate, outcome, position, rt_ms=100))
    again = store.record_pick("ann", Pick(slate, outcome, position, rt_ms=900))
    assert not first.duplicate and again.duplicate
    assert first.id == again.id
    assert n_rows(store, "pick") == 1


@pytest.mark.parametrize("other", [("pick", 1), ("none", None), ("skip", None)])
def test_another_answer_is_refused_and_the_first_one_stands(store: Store, other):
    slate = lease(store)
    store.record_pick("ann", Pick(slate, "pick", 0))
    with pytest.raises(PickRefusedError) as refused:
        store.record_pick("ann", Pick(slate, *other))
    assert refused.value.reason == "contradicts"
    assert [(row["outcome"], row["position"]) for row in store.rows("SELECT * FROM pick")] == [("pick", 0)]


@pytest.mark.parametrize("slate", [1, 4, 999])
def test_a_slate_of_no_one_or_of_someone_else_is_unknown(store: Store, slate: int):
    lease(store, "bob")  # slate 1
    with pytest.raises(PickRefusedError) as refused:
        store.record_pick("ann", Pick(slate, "pick", 0))
    assert refused.value.reason == "unknown"
    assert n_rows(store, "pick") == 0


def test_a_slate_that_someone_else_answered_is_unknown(store: Store):
    slate = lease(store, "bob")
    store.record_pick("bob", Pick(slate, "pick", 0))
    with pytest.raises(PickRefusedError) as refused:
        store.record_pick("ann", Pick(slate, "pick", 0))
    assert refused.value.reason == "unknown"


@pytest.mark.parametrize(("outcome", "position"), [("pick", 3), ("pick", -1), ("pick", None), ("none", 0)])
def test_a_position_that_does_not_fit_is_refused_and_the_slate_stays_open(store: Store, outcome, position: int | None):
    slate = lease(store)
    with pytest.raises(ValueError, match="position"):
        store.record_pick("ann", Pick(slate, outcome, position))
    assert [open_.id for open_ in store.open_slates("ann", 60)] == [slate]


def test_a_lapsed_slate_goes_back_to_the_pool_and_its_late_answer_is_refused_as_lapsed(store: Store):
    slate = lease(store, lease_s=LAPSED)
    with pytest.raises(PickRefusedError) as early:
        store.record_pick("ann", Pick(slate, "pick", 0))
    assert early.value.reason == "lapsed"
    assert store.open_slates("ann", 60) == []
    assert store.pool_size("curation", 0) == 4  # this is what brings it back
    with pytest.raises(PickRefusedError) as late:
        store.record_pick("ann", Pick(slate, "pick", 0))
    assert late.value.reason == "lapsed"
    assert n_rows(store, "pick") == 0
    assert lease(store, "bob") == slate
    assert not store.record_pick("bob", Pick(slate, "pick", 2)).duplicate
    assert [event["detail"] for event in store.events(kinds=("lease_lapsed",))] == [{"slate_id": slate}]


def test_an_answered_slate_never_lapses(store: Store):
    slate = lease(store)
    store.record_pick("ann", Pick(slate, "none"))
    with store.write() as db:
        db.conn.execute("UPDATE slate SET lease_until = '2000' WHERE lease_until IS NOT NULL")
    assert store.pool_size("curation", 0) == 3
    assert lease(store, "bob") != slate


def test_leases_go_out_in_the_order_of_making_and_end_with_none(store: Store):
    assert [lease(store) for _ in range(4)] == [1, 2, 3, 4]
    assert store.lease("ann", ("curation",), 0, 60) is None


def test_purposes_are_tried_in_order_and_other_generations_left_alone(store: Store, fill: Callable[..., list[int]]):
    audit = fill(store, n=1, purpose="audit")
    fill(store, t=1, n=1)
    found = [store.lease("ann", ("audit", "curation"), 0, 60) for _ in range(6)]
    assert [slate and slate.id for slate in found] == [*audit, 1, 2, 3, 4, None]


def test_an_open_slate_is_given_again_until_it_is_answered(store: Store):
    first, second = lease(store), lease(store)
    assert [slate.id for slate in store.open_slates("ann", 60)] == [first, second]
    assert store.open_slates("ann", 60) == store.open_slates("ann", 60)
    store.record_pick("ann", Pick(first, "skip"))
    assert [slate.id for slate in store.open_slates("ann", 60)] == [second]
    assert store.open_slates("bob", 60) == []


def test_an_open_slates_lease_is_prolonged_once_half_of_it_is_over(store: Store):
    slate = lease(store, lease_s=10)
    before = store.value("SELECT lease_until FROM slate WHERE id = ?", [slate])
    store.open_slates("ann", 12)  # more than half of 12 s is left
    assert store.value("SELECT lease_until FROM slate WHERE id = ?", [slate]) == before
    store.open_slates("ann", 600)
    assert store.value("SELECT lease_until FROM slate WHERE id = ?", [slate]) > timestamp(500)


def test_a_slate_shows_its_items_in_display_order_and_nothing_else(store: Store):
    slate = store.lease("ann", ("curation",), 0, 60)
    assert slate is not None and (slate.k, slate.t, slate.purpose) == (3, 0, "curation")
    assert [item.position for item in slate.items] == [0, 1, 2]
    shown = [row["image_sha256"] for row in queries.slate_samples(store, [slate.id])]
    assert [item.image_sha256 for item in slate.items] == shown
    assert len(set(shown)) == 3


def test_retiring_takes_free_slates_of_older_generations_and_leaves_leased_ones(
    store: Store, fill: Callable[..., list[int]]
):
    slate = lease(store)
    fill(store, t=1, n=2)
    assert store.retire_slates(1) == 3
    assert store.retire_slates(1) == 0
    assert (store.pool_size("curation", 0), store.pool_size("curation", 1)) == (0, 2)
    assert store.lease("bob", ("curation",), 0, 60) is None
    assert not store.record_pick("ann", Pick(slate, "pick", 0)).duplicate


def test_curation_picks_leave_out_audits_nones_and_withdrawn_sessions(store: Store, fill: Callable[..., list[int]]):
    fill(store, n=1, purpose="audit")
    audit = store.lease("ann", ("audit",), 0, 60)
    assert audit is not None
    store.record_pick("ann", Pick(audit.id, "pick", 0))
    store.record_pick("ann", Pick(lease(store), "none"))
    kept = store.record_pick("ann", Pick(lease(store), "pick", 2))
    store.record_pick("bob", Pick(lease(store, "bob"), "pick", 1))
    assert queries.count_curation_picks(store, after=0) == 2
    store.withdraw("bob")
    assert store.has_session("bob") and store.journey("bob").reached == {"withdrawn"}
    rows = list(queries.curation_picks(store))
    assert [row["pick_id"] for row in rows] == [kept.id]
    item = [row for row in queries.slate_samples(store, [rows[0]["slate_id"]]) if row["position"] == 2]
    assert rows[0]["sample_id"] == item[0]["sample_id"] and rows[0]["image_sha256"] == item[0]["image_sha256"]
    assert n_rows(store, "pick") == 4  # nothing is deleted


@pytest.mark.parametrize(("after", "until", "expected"), [(0, None, [1, 2, 3]), (1, None, [2, 3]), (1, 2, [2])])
def test_curation_picks_lie_in_their_window(store: Store, after: int, until: int | None, expected: list[int]):
    for _ in range(3):
        store.record_pick("ann", Pick(lease(store), "pick", 0))
    assert [row["pick_id"] for row in queries.curation_picks(store, after=after, until=until)] == expected
    if until is None:
        assert queries.count_curation_picks(store, after=after) == len(expected)


def test_kinds_of_raters_are_counted_apart(store: Store, fill: Callable[..., list[int]]):
    proxy = store.bulk_session("proxy", "fitted")
    assert store.bulk_session("proxy", "fitted") == proxy != store.bulk_session("sim", "luce")
    store.add_picks([(1, proxy, 0, {}), (2, proxy, 1, {})])
    assert queries.count_curation_picks(store, after=0) == 0
    assert queries.count_curation_picks(store, after=0, kinds=("proxy",)) == 2
    assert queries.tally(store) == [{"kind": "proxy", "purpose": "curation", "outcome": "pick", "t": 0, "n": 2}]
    assert list(store.rows("SELECT slate_id, position FROM pick ORDER BY slate_id")) == [
        {"slate_id": 1, "position": 0}, {"slate_id": 2, "position": 1},
    ]  # fmt: skip


def test_a_slate_is_answered_once_even_in_bulk(store: Store):
    sim = store.bulk_session("sim", "luce")
    store.add_picks([(1, sim, 0, {})])
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        store.add_picks([(2, sim, 0, {}), (1, sim, 1, {})])
    assert n_rows(store, "pick") == 1


def test_the_same_panel_ids_are_the_same_rater_and_session(store: Store):
    rater = store.add_rater("human", panel="prolific", panel_rater_id="p1")
    assert store.add_rater("human", panel="prolific", panel_rater_id="p1") == rater
    assert store.add_rater("human") != store.add_rater("human")
    assert store.add_session("x", rater, panel_session_id="s") == "x"
    assert store.add_session("y", rater, panel_session_id="s") == "x"
    assert store.add_session("z", rater, panel_session_id="t") == "z"


def test_a_generation_is_published_once(store: Store):
    with pytest.raises(sqlite3.IntegrityError):
        store.publish(Generation(0, None, "x", "y", 1, 0, ""))
    store.publish(Generation(1, 0, "c", "ab" * 32, 10, 5, "mix", 7, {"seed": 1}, Measurements(n=2)))
    latest = store.latest_generation()
    assert latest is not None and store.latest_cut() == (1, 7)
    assert (latest.config, latest.measurements, latest.n_curated) == ({"seed": 1}, Measurements(n=2), 5)


def test_status_is_replaced_and_events_kept_in_order(store: Store):
    store.set_status("worker", phase="idle")
    store.set_status("worker", phase="training", done=0.5)
    kept = store.status("worker")
    assert (kept["phase"], kept["done"]) == ("training", 0.5)
    assert store.status("nothing") == {}
    ids = [store.log("a", kind, n=n) for n, kind in enumerate(("x", "y", "x", "z"))]
    assert [event["id"] for event in store.events(kinds=("x", "z"), after=ids[0])] == [ids[2], ids[3]]
    assert [event["detail"]["n"] for event in store.events(newest=2)] == [2, 3]


def test_slate_samples_and_points_come_back_as_stored(store: Store):
    from data.records import NewSlate

    points = [Sample(0, 5, -1.5, 1, point=(0.25, -3.0)), Sample(0, 2**62, -0.5, 0, point=(1.0, 2.0))]
    (slate,) = store.add_slates([NewSlate(0, "curation", 2, 9, points)])
    rows = list(queries.slate_samples(store, [slate]))
    assert [(row["seed"], row["reward"], row["point_json"]) for row in rows] == [
        (5, -1.5, "[0.25, -3.0]"),
        (2**62, -0.5, "[1.0, 2.0]"),
    ]


def test_an_archive_that_cannot_be_written_to_is_read_as_it_stands(
    store: Store, contents: Callable[[Path], dict[str, str]], monkeypatch: pytest.MonkeyPatch
):
    store.close()
    before = contents(store.path.parent)
    monkeypatch.setattr(os, "access", lambda *_: False)
    archive = Store(store.path)
    assert archive.value("SELECT count(*) FROM slate") == 4 and archive.faults() == []
    with pytest.raises(sqlite3.OperationalError) as refused:
        archive.log("test", "lost")
    assert storage_fault(refused.value) == "readonly"
    archive.close()
    assert contents(store.path.parent) == before
