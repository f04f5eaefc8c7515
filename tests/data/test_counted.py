"""Counts kept up from pick to pick agree with counting anew."""

import random

import pytest

from data.records import ExclusionRule, Pick
from data.store import Store
from data.store import picks as module


@pytest.fixture
def lasting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EFFORT", 1e12)  # no full count after the first


def answer(store: Store, session: str, outcome: str = "pick") -> int:
    latest = store.latest_cut()
    assert latest
    slate = store.lease(session, ("curation",), latest[0], 60)
    assert slate
    pick = Pick(slate.id, outcome, 0 if outcome == "pick" else None)  # type: ignore[arg-type]
    return store.record_pick(session, pick).id


@pytest.mark.usefixtures("lasting")
def test_every_pick_counts_at_once(store: Store, fill):
    fill(store, n=60)
    rng = random.Random(0)
    for _ in range(50):
        answer(store, rng.choice(["ann", "bob"]), rng.choice(["pick", "none"]))
        assert store.curation_picks_since(0, ExclusionRule()) == store.count_curation_picks(after=0)


@pytest.mark.usefixtures("lasting")
def test_another_cut_is_counted_anew(store: Store, fill):
    fill(store, n=10)
    ids = [answer(store, "ann") for _ in range(6)]
    assert [store.curation_picks_since(cut, ExclusionRule()) for cut in (0, ids[2], ids[5], 0)] == [6, 3, 0, 6]


@pytest.mark.usefixtures("lasting")
def test_what_was_rolled_back_does_not_count(store: Store, fill):
    fill(store, n=10)
    assert store.curation_picks_since(0, ExclusionRule()) == 0
    with pytest.raises(RuntimeError), store.write():
        answer(store, "ann")
        assert store.curation_picks_since(0, ExclusionRule()) == 1
        raise RuntimeError
    assert store.curation_picks_since(0, ExclusionRule()) == 0
    answer(store, "bob")
    assert store.curation_picks_since(0, ExclusionRule()) == 1


@pytest.mark.usefixtures("lasting")
def test_a_flag_counts_at_once_where_it_was_set(store: Store, fill):
    fill(store, n=10)
    rule, flagged = ExclusionRule(picks=("too_fast",)), answer(store, "ann")
    answer(store, "bob")
    assert store.curation_picks_since(0, rule) == 2
    store.set_flags([(flagged, {"too_fast": True})], [])
    assert store.curation_picks_since(0, rule) == 1


def test_a_withdrawal_counts_with_the_next_full_count(store: Store, fill, monkeypatch: pytest.MonkeyPatch):
    fill(store, n=10)
    answer(store, "ann"), answer(store, "bob")
    assert store.curation_picks_since(0, ExclusionRule()) == 2
    store.withdraw("ann")
    monkeypatch.setattr(module, "EFFORT", 0)
    assert store.curation_picks_since(0, ExclusionRule()) == 1
