"""Answers that are taken back: rows stay, nothing counts or trains them, and a training that began makes them final."""

import threading
from collections.abc import Callable

import pytest

from data.errors import PickRefusedError
from data.records import Pick
from data.store import Store, queries
from loop.importing import import_log
from loop.raters import journey
from loop.raters.journey import next_slates, picks_progress, place
from loop.raters.quality import refresh
from loop.selfcheck import self_checks
from loop.study import Study, StudyConfig, configure, faults
from loop.users import People
from loop.worker import Worker

SETTINGS = ("schedule.picks=8", "pool.size=12", "pool.audit=4", "curation.extend=none")
CONFIG = StudyConfig()


def answer(store: Store, config: StudyConfig = CONFIG, session: str = "ann", **more) -> Pick:
    """Answers the slate a session is at by its first position, or as is said."""
    pick = Pick(next_slates(store, config, session)[0].id, **{"outcome": "pick", "position": 0, **more})
    store.record_pick(session, pick)
    return pick


def undo(store: Store, pick: Pick, session: str = "ann", attempt: int | None = None, config: StudyConfig = CONFIG):
    return journey.undo(store, config, session, pick.slate_id, attempt)


def refused(store: Store, pick: Pick, reason: str, **more) -> None:
    with pytest.raises(PickRefusedError) as error:
        undo(store, pick, **more)
    assert error.value.reason == reason


def test_an_undone_answer_stays_as_a_row_and_the_same_slate_comes_back(store: Store):
    first = answer(store)
    ahead = [slate.id for slate in next_slates(store, CONFIG, "ann")]
    undone = undo(store, first)
    assert not undone.duplicate and undo(store, first).duplicate and undo(store, first, attempt=1).id == undone.id
    at = place(store, CONFIG, "ann")
    assert [slate.id for slate in at.slates] == [first.slate_id, *ahead] and at.journey.answered == 0
    assert [slate.attempt for slate in at.slates] == [2, 1, 1]
    # what was sent before the undo and comes late is still the first answer; a new one is a new row
    assert store.record_pick("ann", Pick(first.slate_id, "pick", 0, attempt=1)).id == undone.id
    again = store.record_pick("ann", Pick(first.slate_id, "pick", 0, attempt=2))
    assert not again.duplicate and again.id != undone.id
    rows = list(store.rows("SELECT id, slate_id, position, undone_at IS NOT NULL AS undone FROM pick ORDER BY id"))
    assert [(row["id"], row["undone"]) for row in rows] == [(undone.id, 1), (again.id, 0)]
    assert [row["n"] for row in queries.tally(store)] == [1] == [row["n"] for row in queries.undone_tally(store)]
    assert queries.count_picks_since(store, 0, CONFIG.quality.rule) == 1 == picks_progress(store, CONFIG).done
    assert [row["pick_id"] for row in queries.curation_picks(store)] == [again.id]
    ann = store.row("SELECT answers, picks, undone FROM v_rater WHERE rater = 1")
    assert ann == {"answers": 1, "picks": 1, "undone": 1}
    assert list(store.rows("SELECT DISTINCT choice_id, undone FROM v_choice_long")) == [
        {"choice_id": undone.id, "undone": 1}, {"choice_id": again.id, "undone": 0},
    ]  # fmt: skip


def test_only_the_last_answer_can_be_taken_back_and_not_for_long(store: Store, fill):
    fill(store, n=8)
    first, second = answer(store), answer(store, outcome="none", position=None)
    refused(store, first, "late")
    refused(store, first, "unknown", attempt=2)
    refused(store, second, "unknown", session="bob")
    assert undo(store, second)
    refused(store, first, "late")  # one step back, no more
    third = answer(store)
    with store.write() as db:
        db.conn.execute("UPDATE pick SET picked_at = ? WHERE undone_at IS NULL", ["2020-01-01T00:00:00.000Z"])
    refused(store, third, "late")
    store.withdraw("ann")
    refused(store, third, "late")
    timed = answer(store, session="bob", outcome="timeout", position=None)
    refused(store, timed, "late", session="bob")


def test_a_row_is_marked_once_and_for_good(store: Store):
    undo(store, answer(store))
    for value in (None, "2030-01-01T00:00:00.000Z"):
        with pytest.raises(Exception, match="once and for good"), store.write() as db:
            db.conn.execute("UPDATE pick SET undone_at = ?", [value])


def test_the_answer_that_ends_a_session_and_practice_are_final(store: Store):
    config = StudyConfig.model_validate({"journey": {"picks": 2}})
    answer(store, config)
    last = answer(store, config)
    assert place(store, config, "ann").state == "finished"
    refused(store, last, "late", config=config)


def test_an_undone_slate_goes_to_someone_else_where_its_rater_leaves(store: Store):
    first = answer(store)
    undo(store, first)
    with store.write() as db:
        db.conn.execute("UPDATE slate SET lease_until = '2020-01-01T00:00:00.000Z' WHERE lease_until IS NOT NULL")
    store.return_lapsed()
    slates = [store.lease("bob", ("curation",), 0, 60) for _ in range(4)]
    mine = next(slate for slate in slates if slate and slate.id == first.slate_id)
    assert mine.attempt == 1 and not store.record_pick("bob", Pick(mine.id, "pick", 1, attempt=1)).duplicate
    with pytest.raises(PickRefusedError, match="went to someone else"):
        store.record_pick("ann", Pick(mine.id, "pick", 1, attempt=2))


def test_flags_forget_what_was_taken_back(store: Store, fill):
    fill(store, n=8)
    config = StudyConfig.model_validate({"quality": {"least_answers": 2, "too_fast_share": 0.6}})
    answer(store, config, rt_ms=900)
    answer(store, config, rt_ms=1, position=1)
    answer(store, config, rt_ms=1, session="bob")
    last = answer(store, config, rt_ms=1, session="bob")
    refresh(store, config.quality)
    flagged = "SELECT id FROM session WHERE flags_json != '{}'"
    assert [row["id"] for row in store.rows(flagged)] == ["bob"]
    undo(store, last, session="bob", config=config)
    assert refresh(store, config.quality) and list(store.rows(flagged)) == []


@pytest.fixture
def study(make: Callable[..., Study]) -> Study:
    made = make("digits", *SETTINGS)
    Worker(made).run(once=True)
    return made


def test_a_training_takes_what_stands_and_makes_it_final(study: Study, people):
    store, config = study.store, study.config
    *_, last = people(study, 8)
    session, slate = store.db.conn.execute("SELECT session_id, slate_id FROM pick WHERE id = ?", [last]).fetchone()
    undone = journey.undo(store, config, session, slate, None)
    worker = Worker(study)
    worker.run(once=True)
    assert undone.id == last and len(store.generations()) == 1  # seven picks stand
    latest = store.latest_generation()
    assert latest and not worker.settle(latest)  # nor where the undo came between the count and the turn
    again = store.record_pick(session, Pick(slate, "pick", 1, attempt=2))
    assert worker.settle(latest) and store.status("turn")["cut"] == again.id
    with pytest.raises(PickRefusedError, match="learning from that answer") as error:
        journey.undo(store, config, session, slate, None)
    assert error.value.reason == "final"
    Worker(study).run(once=True)
    generation = store.generations()[1]
    assert generation.n_curated == 8 and generation.pick_cut == again.id
    assert faults(study) == [] and {check.verdict for check in self_checks(store, config)} <= {"pass", "not applicable"}
    with pytest.raises(PickRefusedError):
        journey.undo(store, config, session, slate, None)
    with store.write() as db:  # as a tool could that goes round the rules
        db.conn.execute("UPDATE pick SET undone_at = picked_at WHERE id = ?", [again.id])
    failed = [check.sentence for check in self_checks(store, config) if check.verdict == "fail"]
    assert any("8 human picks trained it and 7 are stored" in sentence for sentence in failed)


def test_an_undo_and_a_training_that_meet_are_one_before_the_other(study: Study, people):
    """Whoever has the write lock first wins: what trains stands, and what was taken back doesn't train."""
    store, config, ends = study.store, study.config, []
    for _ in range(6):
        *_, last = people(study, 1)
        session, slate = store.db.conn.execute("SELECT session_id, slate_id FROM pick WHERE id = ?", [last]).fetchone()
        gate = threading.Barrier(2)

        def take_back(session: str = session, slate: int = slate, gate: threading.Barrier = gate) -> None:
            gate.wait()
            try:
                ends.append(journey.undo(store, config, session, slate, None))
            except PickRefusedError as error:
                ends.append(error)

        racing = threading.Thread(target=take_back)
        racing.start()
        gate.wait()
        with store.write():
            turn = People(study, None).settle(0)  # type: ignore[arg-type]
            picks = [row["pick_id"] for row in queries.curation_picks(store, after=turn.after, until=turn.cut)]
        racing.join()
        assert (last in picks) == isinstance(ends[-1], PickRefusedError)
        assert [row["pick_id"] for row in queries.curation_picks(store, after=turn.after, until=turn.cut)] == picks
        with store.write() as db:
            db.conn.execute("DELETE FROM status WHERE key = 'turn'")
    assert len(ends) == 6


def test_undone_answers_are_exported_with_their_mark_and_come_back(store: Store, tmp_path):
    from data.choice_log import Source, find_format

    first = answer(store)
    undo(store, first)
    store.record_pick("ann", Pick(first.slate_id, "pick", 2, attempt=2))
    answer(store, session="bob", outcome="none", position=None)
    undo(store, answer(store, session="bob"), session="bob")
    source = Source(store, "study")
    assert source.counts() | {"generations": 1} == {
        "answers": 2, "picks": 1, "raters": 2, "sessions": 2, "generations": 1,
    }  # fmt: skip
    for name in ("choix", "preflib"):
        written = find_format(name).write(source, tmp_path / name)
        assert (written.rows, written.left_out["taken back by the rater"]) == (1, 2)
    find_format("long-csv").write(source, tmp_path / "choices.csv")
    assert import_log(tmp_path / "choices.csv", tmp_path / "copy", configure("digits", [])) == (4, 9)
    copy = Study.open(tmp_path / "copy")
    find_format("long-csv").write(Source(copy.store, "study"), tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "choices.csv").read_bytes()
    assert queries.undone_tally(copy.store) == queries.undone_tally(store) != []
    copy.store.close()
