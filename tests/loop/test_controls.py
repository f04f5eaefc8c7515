"""Pause, resume, finish, quota: kept and logged together, once, and read back by anyone."""

import pytest

from data.store import Store, queries
from loop.config import build
from loop.raters.journey import Controls, admits, control_state, finish, pause, resume, set_quota


def logged(store: Store) -> list[tuple[str, dict]]:
    return [(row["kind"], row["detail"]) for row in store.events() if row["actor"] == "researcher"]


def test_a_study_that_nobody_touched_goes_on(store: Store):
    assert control_state(store) == Controls(paused=False, finished=False, quota=0)


def test_each_control_is_kept_and_logged(store: Store):
    assert pause(store) == Controls(paused=True)
    assert set_quota(store, 50) == Controls(paused=True, quota=50)
    assert control_state(Store(store.path)) == Controls(paused=True, quota=50)
    assert resume(store) == Controls(quota=50)
    assert finish(store) == Controls(finished=True, quota=50)
    assert resume(store) == Controls(quota=50)
    assert logged(store) == [
        ("paused", {}), ("quota_set", {"quota": 50}), ("resumed", {}), ("finished", {}), ("resumed", {}),
    ]  # fmt: skip


def test_what_holds_already_is_not_logged_again(store: Store):
    pause(store)
    pause(store)
    set_quota(store, 0)
    assert logged(store) == [("paused", {})]


@pytest.mark.parametrize("n", [-1, 1_000_001])
def test_a_quota_that_cannot_be_is_refused(store: Store, n: int):
    with pytest.raises(ValueError, match="quota"):
        set_quota(store, n)
    assert logged(store) == []


def test_as_many_are_let_in_as_were_set_in_advance_or_by_a_smaller_quota(store: Store):
    there = queries.count_places_taken(store, 60)
    config = build({"stop": {"raters": there + 2}, "journey": {"picks": 3}})
    assert admits(store, config)
    store.add_session("first", store.add_rater("human"))
    store.reach("first", "finished")
    assert admits(store, config)
    store.add_session("second", store.add_rater("human"))
    assert not admits(store, config)  # who is under way holds a place
    store.reach("second", "failed")
    assert admits(store, config)
    set_quota(store, there + 1)
    assert not admits(store, config)
    set_quota(store, there + 5)
    assert admits(store, config)
    finish(store)
    assert not admits(store, config)
