"""Copies of slates in another order: the same samples, the right answer at its new place, a template once a session."""

import pytest

from data.records import NewSlate, Pick, Sample, timestamp
from data.store import Store, queries

ORDER = [2, 0, 1]  # position 0 shows what was at 2


@pytest.fixture
def template(store: Store) -> int:
    """An attention slate whose right answer is position 0."""
    (made,) = store.add_slates([NewSlate(0, "attention", 3, 1, [Sample(0, i) for i in range(3)], answer=0)])
    return made


def samples(store: Store, slate: int) -> list[int]:
    return [row["sample_id"] for row in queries.slate_samples(store, [slate])]


def test_a_copy_shows_the_same_samples_in_its_order(store: Store, template: int):
    copy = store.lease_copy("ann", template, ORDER, 7, 60)
    assert samples(store, copy.id) == [samples(store, template)[place] for place in ORDER]
    row = store.row("SELECT * FROM slate WHERE id = ?", [copy.id])
    assert row is not None
    assert (row["answer"], row["copy_of"], row["seed"], row["purpose"]) == (1, template, 7, "attention")
    assert queries.uneven_slates(store) == [] and queries.count_shared_samples(store) == 0


def test_a_session_gets_a_template_once_and_others_still_do(store: Store, template: int):
    store.lease_copy("ann", template, ORDER, 7, 60)
    assert queries.templates(store, "attention", "ann", 3) == []
    assert queries.templates(store, "attention", "bob", 3) == [template]


def test_a_repeat_is_right_where_the_rater_picked_before_and_never_trains(store: Store):
    first, second = (store.lease("ann", ("curation",), 0, 60) for _ in range(2))
    assert first and second
    store.record_pick("ann", Pick(first.id, "pick", 2))
    assert queries.repeatable_slates(store, "ann", lag=1) == []
    store.record_pick("ann", Pick(second.id, "none"))
    assert queries.repeatable_slates(store, "ann", lag=1) == [first.id]
    again = store.lease_copy("ann", first.id, ORDER, 8, 60)
    assert (again.purpose, store.value("SELECT answer FROM slate WHERE id = ?", [again.id])) == ("attention", 0)
    assert queries.repeatable_slates(store, "ann", lag=0) == []
    before = queries.count_curation_picks(store, after=0)
    store.record_pick("ann", Pick(again.id, "pick", 0))
    assert queries.count_curation_picks(store, after=0) == before == 1
    assert queries.count_shared_samples(store) == 0


def test_a_lapsed_copy_goes_to_no_one_else(store: Store, template: int):
    copy = store.lease_copy("ann", template, ORDER, 7, 60)
    with store.write() as db:
        db.conn.execute("UPDATE slate SET lease_until = ? WHERE id = ?", [timestamp(-1), copy.id])
    store.pool_size("curation", 0)
    row = store.row("SELECT leased_to, retired_at FROM slate WHERE id = ?", [copy.id])
    assert row is not None and row["leased_to"] is None and row["retired_at"]
