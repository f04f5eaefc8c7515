"""Flags on people's answers, computed from the log in this one place: the same log and thresholds give the same flags.

The worker brings them up to date every few seconds and whenever a turn is settled. They mark rows and delete none;
what they keep out of training is the study's declared rule. Torch-free.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from math import sqrt
from typing import Any

from data.store import Store, queries
from loop.config import FLAGS, Flag, QualityConfig

RECENT, BEFORE = 100, 400  # answers whose flags are compared for the alarm
JUMP = 0.1


def answer_flags(quality: QualityConfig, answer: Mapping[str, Any]) -> list[Flag]:
    """The flags of one answer, a row of `queries.session_answers`.

    Time is the browser's, where it gave one: answers that waited for a connection reach the server all at once.
    """
    flags: list[Flag] = []
    took = answer["rt_ms"] if answer["rt_ms"] is not None else answer["server_ms"]
    if answer["outcome"] in ("pick", "none", "tie") and took is not None and took < quality.too_fast_ms:
        flags.append("too_fast")
    if answer["purpose"] == "attention" and answer["answer"] is not None:
        wrong = answer["position"] != answer["answer"]
        if answer["repeats"] and answer["outcome"] in ("pick", "none") and wrong:
            flags.append("inconsistent")  # a tie contradicts nothing: a pick is a narrow preference at times
        elif not answer["repeats"] and answer["outcome"] in ("pick", "tie") and wrong:
            flags.append("failed_attention")  # 'none of these' is no failure: someone may like nothing
    return flags


def session_flags(quality: QualityConfig, answers: Sequence[Mapping[str, Any]]) -> list[Flag]:
    """The flags of a session with these answers; practice doesn't count."""
    counted = [row for row in answers if row["purpose"] != "practice"]
    totals = Counter(flag for row in counted for flag in answer_flags(quality, row))
    plain = [row for row in counted if row["purpose"] != "attention"]
    places = Counter(
        row["position"] for row in plain if row["outcome"] in ("pick", "tie")
    )  # ties are a place of theirs
    worst = Counter(row["worst"] for row in plain if row.get("worst") is not None)
    repeats = sum(bool(row["repeats"]) for row in counted if row["outcome"] != "tie")
    enough = len(counted) >= quality.least_answers
    held: dict[Flag, bool] = {
        "too_fast": enough and totals["too_fast"] >= quality.too_fast_share * len(counted),
        "failed_attention": totals["failed_attention"] >= quality.failed_attention,
        "one_position": any(
            n >= quality.least_answers and max(answers.values()) >= quality.one_position_share * n
            for answers, n in ((places, places.total()), (worst, worst.total()))
        ),
        "inconsistent": repeats >= quality.consistency_repeats
        and repeats - totals["inconsistent"] < quality.consistency * repeats,
    }
    return [flag for flag in FLAGS if held[flag]]


def refresh(store: Store, quality: QualityConfig) -> int:
    """Brings the flags up to date with the log, and raises the alarm where a flag's rate jumped.

    Sessions with new answers are judged anew from all of theirs; after a change of thresholds all sessions are.

    Returns:
        The number of sessions that were judged.
    """
    last = store.status("flags")
    thresholds = quality.model_dump(exclude={"exclude_picks", "exclude_raters"})
    until = store.last_pick()
    since = last.get("until", 0) if last.get("thresholds") == thresholds else 0
    if until <= since:
        return 0
    sessions = queries.answered_sessions(store, since)
    picks, flagged = judged(quality, queries.session_answers(store, sessions))
    alarmed = last.get("alarmed", [])
    with store.write():
        store.set_flags(picks, flagged)
        jumped = jumps(queries.recent_flags(store, RECENT + BEFORE))
        for flag, (rate, before) in jumped.items():
            if flag not in alarmed:
                store.log("quality", "flag_rate_jumped", flag=flag, rate=round(rate, 3), before=round(before, 3))
        store.set_status("flags", until=until, thresholds=thresholds, alarmed=sorted(jumped))
    return len(sessions)


def count_flags(store: Store, quality: QualityConfig) -> dict[Flag, dict[str, int]]:
    """People's answers and sessions with each flag, of those that there are; judged from the whole log as it stands."""
    answers = list(queries.session_answers(store, queries.answered_sessions(store, 0)))
    picks = Counter(flag for row in answers for flag in answer_flags(quality, row))
    sessions = Counter(flag for _, flags in judged(quality, answers)[1] for flag in flags)
    return {
        flag: {"answers": picks[flag], "sessions": sessions[flag]} for flag in FLAGS if picks[flag] or sessions[flag]
    }


def jumps(recent: Sequence[Mapping[str, bool]]) -> dict[str, tuple[float, float]]:
    """Flags that became more frequent than chance and a tenth: the rate of the latest answers, and the one before.

    Args:
        recent: the flags of the last answers, newest first.
    """
    new, old = recent[:RECENT], recent[RECENT:]
    if len(old) < RECENT:
        return {}
    jumped = {}
    for flag in FLAGS:
        rate, before = (sum(flag in flags for flags in part) / len(part) for part in (new, old))
        noise = sqrt(max(before * (1 - before), 1 / len(old)) * (1 / len(new) + 1 / len(old)))
        if rate - before > max(JUMP, 3 * noise):
            jumped[flag] = (rate, before)
    return jumped


def judged(
    quality: QualityConfig, answers: Iterable[Mapping[str, Any]]
) -> tuple[list[tuple[int, dict]], list[tuple[str, dict]]]:
    """(id, flags) of the answers whose flags changed, and of all sessions.

    Args:
        quality: the thresholds.
        answers: rows of `Store.answers_of`, those of a session in a row.
    """
    picks, sessions = [], []
    for session_id, rows in groupby(answers, lambda row: row["session_id"]):
        own = list(rows)
        for row in own:
            was = json.loads(row["flags_json"])
            flags = {key: value for key, value in was.items() if key not in FLAGS}
            flags |= dict.fromkeys(answer_flags(quality, row), True)
            if flags != was:
                picks.append((row["id"], flags))
        sessions.append((session_id, dict.fromkeys(session_flags(quality, own), True)))
    return picks, sessions
