"""Flags mark rows; a settled exclusion leaves picks out of one generation's training and deletes nothing."""

from collections.abc import Callable

from data.records import ExclusionRule, Pick
from data.store import Store, queries


def answer(store: Store, session: str, n: int = 1) -> list[int]:
    made = []
    for _ in range(n):
        slate = store.lease(session, ("curation",), 0, 60)
        assert slate is not None
        made.append(store.record_pick(session, Pick(slate.id, "pick", 1, rt_ms=50, blur_count=2)).id)
    return made


def test_excluded_picks_do_not_train_that_generation_and_stay(store: Store, fill: Callable[..., list[int]]):
    fill(store, n=4)
    ann, bob = answer(store, "ann", 3), answer(store, "bob", 2)
    store.set_flags([(ann[0], {"too_fast": True})], [("bob", {"one_position": True})])
    rule = ExclusionRule(picks=("too_fast",), raters=("one_position",))
    assert queries.count_curation_picks(store, after=0, rule=rule) == 2
    assert store.exclude(1, 0, bob[-1], rule) == {"too_fast": 1, "one_position": 2}
    assert [row["pick_id"] for row in queries.curation_picks(store, without=1)] == ann[1:]
    assert queries.count_curation_picks(store, after=0, without=1) == 2
    assert len(list(queries.curation_picks(store))) == len(list(queries.curation_picks(store, without=2))) == 5
    assert [(row["kind"], row["n"]) for row in queries.training_pick_counts(store, 0, bob[-1], 0)] == [("human", 2)]


def test_a_settled_exclusion_stands_whatever_is_flagged_later(store: Store):
    (ann,) = answer(store, "ann")
    store.exclude(1, 0, ann, ExclusionRule(picks=("too_fast",)))
    store.set_flags([(ann, {"too_fast": True})], [])
    assert queries.count_curation_picks(store, after=0, without=1) == 1


def test_a_pick_with_two_flags_counts_once(store: Store):
    (ann,) = answer(store, "ann")
    store.set_flags([(ann, {"too_fast": True})], [("ann", {"too_fast": True})])
    assert store.exclude(1, 0, ann, ExclusionRule(("too_fast",), ("too_fast",))) == {"too_fast": 1}


def test_flags_are_counted_and_listed(store: Store):
    (ann,), (bob,) = answer(store, "ann"), answer(store, "bob")
    store.set_flags([(ann, {"too_fast": True})], [("ann", {"one_position": True})])
    assert queries.flagged_picks(store, 0, bob) == {"too_fast": 1}
    assert queries.flagged_sessions(store) == {"one_position": 1}
    assert queries.recent_flags(store, 9) == [{}, {"one_position": True, "too_fast": True}]
    assert queries.answered_sessions(store, 0) == ["ann", "bob"] and queries.answered_sessions(store, ann) == ["bob"]
    rows = list(queries.session_answers(store, ["bob"]))
    assert [(row["id"], row["purpose"], row["answer"], row["repeats"]) for row in rows] == [(bob, "curation", None, 0)]


def test_the_servers_time_and_the_blurs_are_stored(store: Store):
    answer(store, "ann", 2)
    for row in store.rows("SELECT blur_count, server_ms FROM pick"):
        assert row["blur_count"] == 2 and 0 <= row["server_ms"] < 60_000
