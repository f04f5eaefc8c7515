"""Flags follow from the log alone; the declared rule keeps picks out of training; a jump raises one alarm."""

from collections.abc import Callable
from typing import Any

import pytest

from data.records import Pick
from data.store import Store, queries
from loop.config import QualityConfig
from loop.raters.quality import answer_flags, count_flags, jumps, refresh, session_flags

QUALITY = QualityConfig(least_answers=4, consistency_repeats=2)


def row(**more: Any) -> dict[str, Any]:
    base = {"outcome": "pick", "position": 0, "rt_ms": 900, "server_ms": 950, "purpose": "curation", "answer": None}
    return {**base, "repeats": 0, **more}


@pytest.mark.parametrize(
    ("answer", "flags"),
    [
        (row(), []),
        (row(rt_ms=299), ["too_fast"]),
        (row(rt_ms=None, server_ms=299), ["too_fast"]),
        (row(rt_ms=900, server_ms=1), []),  # it had waited for a connection
        (row(rt_ms=10, outcome="timeout", position=None), []),
        (row(purpose="attention", answer=0), []),
        (row(purpose="attention", answer=1), ["failed_attention"]),
        (row(purpose="attention", answer=1, outcome="none", position=None), []),
        (row(purpose="attention", answer=1, repeats=1), ["inconsistent"]),
        (row(purpose="attention", answer=1, repeats=1, outcome="none", position=None), ["inconsistent"]),
    ],
)
def test_flags_of_an_answer(answer: dict, flags: list[str]):
    assert answer_flags(QUALITY, answer) == flags


@pytest.mark.parametrize(
    ("answers", "flags"),
    [
        ([row(position=i % 3) for i in range(9)], []),
        ([row()] * 3, []),  # too few to say
        ([row()] * 4, ["one_position"]),
        ([row(purpose="practice", rt_ms=1)] * 9, []),
        ([row(rt_ms=1, position=0), row(position=1), row(rt_ms=1, position=2), row(position=1)], ["too_fast"]),
        ([row(purpose="attention", answer=1)] * 2, ["failed_attention"]),
        ([row(purpose="attention", answer=1, repeats=1)] * 2, ["inconsistent"]),
        ([row(purpose="attention", answer=0, repeats=1)] * 2, []),
    ],
)
def test_flags_of_a_session(answers: list[dict], flags: list[str]):
    assert session_flags(QUALITY, answers) == flags


def flag_counts(store: Store) -> dict[str, dict[str, int]]:
    """The numbers of people's answers and sessions with each flag."""
    return {
        "picks": queries.flagged_picks(store, 0, store.last_pick()),
        "sessions": queries.flagged_sessions(store),
    }


def test_a_jump_needs_history_and_more_than_chance():
    clean, fast = [{}] * 400, [{"too_fast": True}] * 100
    assert jumps([*fast, *clean[:99]]) == {}
    assert jumps([*fast, *clean]) == {"too_fast": (1.0, 0.0)}
    assert jumps([{}] * 500) == {}
    mixed = [{"too_fast": True} if i % 2 else {} for i in range(500)]
    assert jumps(mixed) == {}


@pytest.fixture
def answered(store: Store, fill: Callable[..., list[int]]) -> Store:
    """Ann picks the first image in no time, six times; bob takes care."""
    fill(store, n=12)
    for i in range(6):
        for session, position, rt in (("ann", 0, 50), ("bob", i % 3, 2_000)):
            slate = store.lease(session, ("curation",), 0, 60)
            assert slate is not None
            store.record_pick(session, Pick(slate.id, "pick", position, rt_ms=rt))
    return store


def flags(store: Store) -> list[tuple]:
    return [
        *((row["id"], row["flags_json"]) for row in store.rows("SELECT id, flags_json FROM pick ORDER BY id")),
        *((row["id"], row["flags_json"]) for row in store.rows("SELECT id, flags_json FROM session ORDER BY id")),
    ]


def test_flags_are_written_and_can_be_computed_again(answered: Store):
    assert refresh(answered, QUALITY) == 2
    assert flag_counts(answered) == {"picks": {"too_fast": 6}, "sessions": {"one_position": 1, "too_fast": 1}}
    assert refresh(answered, QUALITY) == 0
    first = flags(answered)
    with answered.write() as db:
        for table in ("pick", "session"):
            db.conn.execute(f"UPDATE {table} SET flags_json = '{{}}'")
        db.conn.execute("DELETE FROM status WHERE key = 'flags'")
    refresh(answered, QUALITY)
    assert flags(answered) == first


def test_flags_are_counted_from_the_log_whether_written_or_not(answered: Store):
    counts = {"too_fast": {"answers": 6, "sessions": 1}, "one_position": {"answers": 0, "sessions": 1}}
    assert count_flags(answered, QUALITY) == counts
    refresh(answered, QUALITY)
    assert count_flags(answered, QUALITY) == counts


def test_other_thresholds_judge_everyone_again(answered: Store):
    refresh(answered, QUALITY)
    assert refresh(answered, QUALITY.model_copy(update={"too_fast_ms": 10, "one_position_share": 1.0})) == 2
    assert flag_counts(answered) == {"picks": {}, "sessions": {"one_position": 1}}


def test_a_jump_is_told_once(answered: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("loop.raters.quality.jumps", lambda recent: {"too_fast": (0.5, 0.01)})
    refresh(answered, QUALITY)
    slate = answered.lease("bob", ("curation",), 0, 60)
    assert slate is not None
    answered.record_pick("bob", Pick(slate.id, "none", rt_ms=2_000))
    refresh(answered, QUALITY)
    (event,) = answered.events(kinds=("flag_rate_jumped",))
    assert event["detail"] == {"flag": "too_fast", "rate": 0.5, "before": 0.01}
