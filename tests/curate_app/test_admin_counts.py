"""The page's counts: each pick is read once, the newest first, and the sums are those of the whole log."""

from collections import Counter

import pytest

from curate_app.admin import counts as admin_counts
from curate_app.admin.counts import CrowdCounts, RunningCount
from curate_app.commands.status import status_of
from data.records import Pick
from loop.config import QualityConfig
from loop.raters import quality
from loop.study import Study

PAST = 0.0  # a deadline that is over


def pick(study: Study, session: str, n: int, purpose: str = "curation", rt_ms: int = 900, t: int | None = None) -> None:
    """A person's n picks; the person is new the first time."""
    store = study.store
    if not store.has_session(session):
        store.add_session(session, store.add_rater("human", panel="test", panel_rater_id=session))
    latest = store.latest_cut()
    assert latest
    for _ in range(n):
        slate = store.lease(session, (purpose,), latest[0] if t is None else t, 600)  # pyright: ignore[reportArgumentType]
        assert slate is not None, "the pool is empty"
        store.record_pick(session, Pick(slate.id, "pick", slate.id % slate.k, rt_ms=rt_ms))


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four picks are read at a time."""
    monkeypatch.setattr(admin_counts, "CHUNK", 4)


def test_every_range_is_read_once_and_the_newest_first(small_chunks: None):
    asked: list[tuple[int, int]] = []

    def read(after: int, until: int, undone: bool) -> dict[str, int]:
        asked.append((after, until))
        return {"n": until - after, "undone": 0 if undone else 1}

    running = RunningCount(read)
    running.advance(10, PAST)
    assert asked == [(6, 10)] and running.done == 4
    running.advance(12, PAST)
    assert asked[1:] == [(10, 12)]
    for _ in range(3):
        running.advance(12, PAST)
    assert asked[2:] == [(2, 6), (0, 2)]
    assert running.counts["n"] == 12 and running.done == 12
    running.take_back(13)  # not counted yet
    running.take_back(12)
    assert asked[4:] == [(11, 12)] and running.counts["n"] == 11


def test_counts_follow_what_people_do(study: Study, small_chunks: None):
    counts = CrowdCounts(study)
    assert counts(0).share == 1 and not any(counts(0).minutes)
    for session, n in (("ann", 5), ("bob", 3), ("ann", 2)):
        pick(study, session, n)
        found = counts(0)
    assert found.answers == Counter({("human", "pick"): 10}) and sum(found.minutes) == 10 and found.share == 1
    people = CrowdCounts(study)(0).people  # anew: the other's may be a moment old
    assert (people.picked, people.at_work) == (2, 2)


def test_practice_and_none_of_these_are_no_picks(make_study):
    study = make_study("journey.practice=1")
    store = study.store
    with store.write() as db:
        db.conn.execute("UPDATE slate SET purpose = 'practice' WHERE id = (SELECT min(id) FROM slate)")
    pick(study, "ann", 1, "practice")
    slate = store.lease("ann", ("curation",), 0, 600)
    assert slate
    store.record_pick("ann", Pick(slate.id, "none", None))
    counts = CrowdCounts(study)(0)
    assert counts.answers == Counter({("human", "practice"): 1, ("human", "none"): 1})
    assert sum(counts.minutes) == 0 and counts.people.picked == 0
    pick(study, "ann", 2)
    counts, state = CrowdCounts(study)(0), status_of(study)
    assert counts.answers["human", "pick"] == sum(counts.minutes) == 2 and counts.people.picked == 1
    assert (state["picks"], state["other_answers"]) == ({"human": 2}, {"practice": 1, "none": 1})


def test_what_is_not_counted_yet_is_said(study: Study, small_chunks: None):
    pick(study, "ann", 10)
    counts = CrowdCounts(study)
    found = counts(0, PAST)
    assert found.share < 1 and 0 < sum(found.minutes) < 10
    while found.share < 1:
        found = counts(0, PAST)
    assert sum(found.minutes) == 10


def test_flags_are_counted_once_they_are_judged(study: Study, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(admin_counts, "EFFORT", 0)
    counts = CrowdCounts(study)
    pick(study, "ann", 3, rt_ms=100)
    pick(study, "bob", 2)
    assert counts(0).flags == {}
    quality.refresh(study.store, QualityConfig())
    assert counts(0).flags == {"too_fast": 3}
    pick(study, "ann", 7, rt_ms=100)
    quality.refresh(study.store, QualityConfig())
    assert counts(0).flags == {"too_fast": 10}
    assert counts(0).people.flagged == {"too_fast": 1}


def test_other_thresholds_count_flags_anew(study: Study):
    counts = CrowdCounts(study)
    pick(study, "ann", 4, rt_ms=200)
    quality.refresh(study.store, QualityConfig())
    assert counts(0).flags == {"too_fast": 4}
    pick(study, "ann", 1, rt_ms=200)
    quality.refresh(study.store, QualityConfig(too_fast_ms=100))
    assert counts(0).flags == {}


def test_win_rates_are_of_those_who_have_finished_and_not_withdrawn(make_study, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(admin_counts, "EFFORT", 0)
    study = make_study(generations=2)
    with study.store.write() as db:  # of each audit slate the first two samples become the older generation's
        db.conn.execute(
            """UPDATE sample SET t = 0 WHERE id IN (SELECT sample_id FROM slate_item JOIN slate ON slate.id = slate_id
            WHERE purpose = 'audit' AND slate.t = 1 AND position < 2)"""
        )
    counts = CrowdCounts(study)
    pick(study, "ann", 2, "audit")
    pick(study, "bob", 2, "audit")
    assert counts(1).rates == []
    study.store.reach("ann", "finished")
    (rate,) = counts(1).rates
    assert (rate.n, rate.raters, rate.under_way) == (4, 1, 1)
    study.store.reach("bob", "finished")
    (rate,) = counts(1).rates
    assert (rate.t, rate.against, rate.n, rate.raters) == (1, 0, 8, 2)
    assert rate.slate_sizes == [4] and rate.verdict == "can't tell" and rate.indifference is None
    study.store.withdraw("bob")
    assert [(one.n, one.raters) for one in counts(1).rates] == [(4, 1)]
