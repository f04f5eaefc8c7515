"""Live counts, which each answer's transaction brings up to date, agree with counting all answers anew."""

import random
from pathlib import Path

import pytest

from data.records import ExclusionRule, Pick
from data.store import Store, queries

RECOUNT = """SELECT rater_kind AS kind, purpose, outcome, generation AS t, count(*) AS n FROM v_choice_long
    WHERE position = 0 GROUP BY 1, 2, 3, 4 ORDER BY 4, 1, 2, 3"""


def answer(store: Store, session: str, outcome: str = "pick", purpose: str = "curation") -> int:
    latest = store.latest_cut()
    assert latest
    slate = store.lease(session, (purpose,), latest[0], 60)  # type: ignore[arg-type]
    assert slate
    pick = Pick(slate.id, outcome, 0 if outcome == "pick" else None)  # type: ignore[arg-type]
    return store.record_pick(session, pick).id


def since(store: Store, cut: int = 0, rule: ExclusionRule | None = None) -> int:
    """The count from the tally, which agrees with counting anew."""
    rule = rule or ExclusionRule()
    n = queries.count_picks_since(store, cut, rule)
    assert n == queries.count_curation_picks(store, after=cut, rule=rule)
    return n


def test_every_pick_counts_at_once(store: Store, fill):
    fill(store, n=60)
    rng = random.Random(0)
    for _ in range(50):
        answer(store, rng.choice(["ann", "bob"]), rng.choice(["pick", "none"]))
        since(store)
        assert queries.tally(store) == list(store.rows(RECOUNT))


def test_every_kind_purpose_and_generation_counts_apart(store: Store, fill):
    fill(store, n=2, purpose="audit")
    answer(store, "ann", "pick", "audit")
    answer(store, "ann", "skip")
    slates = fill(store, t=1, n=3)
    answer(store, "bob")
    for kind, slate in (("sim", slates[1]), ("proxy", slates[2])):
        store.add_picks([(slate, store.bulk_session(kind, kind), 0, {})])  # type: ignore[arg-type]
    counts = queries.tally(store)
    assert [(row["t"], row["kind"], row["purpose"], row["outcome"], row["n"]) for row in counts] == [
        (0, "human", "audit", "pick", 1), (0, "human", "curation", "skip", 1),
        (1, "human", "curation", "pick", 1), (1, "proxy", "curation", "pick", 1), (1, "sim", "curation", "pick", 1),
    ]  # fmt: skip
    assert counts == list(store.rows(RECOUNT)) and since(store) == 2


def test_another_cut_is_counted_anew(store: Store, fill):
    fill(store, n=10)
    ids = [answer(store, "ann") for _ in range(6)]
    assert [since(store, cut) for cut in (0, ids[2], ids[5], 0)] == [6, 3, 0, 6]


def test_what_was_rolled_back_does_not_count(store: Store, fill):
    fill(store, n=10)
    assert since(store) == 0
    cut = 0
    with pytest.raises(RuntimeError), store.write():
        cut = answer(store, "ann")
        assert (since(store), since(store, cut)) == (1, 0)
        raise RuntimeError
    assert since(store) == 0 and queries.tally(store) == []
    assert answer(store, "bob", "none") == cut
    answer(store, "bob")
    assert (since(store), since(store, cut)) == (1, 1)


def test_flags_count_at_once(store: Store, fill):
    fill(store, n=10)
    flagged, _, _ = answer(store, "ann"), answer(store, "bob"), answer(store, "bob")
    of_picks, of_raters = ExclusionRule(picks=("too_fast", "inconsistent")), ExclusionRule(raters=("one_position",))
    both = ExclusionRule(of_picks.picks, of_raters.raters)
    assert [since(store, rule=rule) for rule in (of_picks, of_raters, both)] == [3, 3, 3]
    store.set_flags([(flagged, {"too_fast": True})], [("bob", {"one_position": True})])
    assert [since(store, rule=rule) for rule in (of_picks, of_raters, both)] == [2, 1, 0]
    assert since(store, flagged, of_picks) == 2
    store.set_flags([(flagged, {})], [("bob", {})])
    assert since(store, rule=both) == 3


def test_a_withdrawal_counts_at_once_in_every_process(store: Store, fill):
    fill(store, n=10)
    answer(store, "ann")
    answer(store, "bob")
    other = Store(store.path)
    assert since(store) == since(other) == 2
    store.withdraw("ann")
    assert since(store) == since(other) == 1
    other.close()


def test_copying_a_log_counts_its_answers(store: Store, fill, tmp_path: Path):
    answer(store, "ann")
    answer(store, "bob", "none")
    copy = Store.create(tmp_path / "copy.db")
    copy.copy_log(store.path)
    assert queries.tally(copy) == queries.tally(store) != []
    copy.close()
