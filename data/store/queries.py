"""Reads of the study database: counts, lists and joins, as functions of a store.

Counts over a range of picks, `after < pick id <= until`, add up: those of adjoining ranges give those of both.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, get_args
from weakref import WeakKeyDictionary

from data.records import OUTCOMES, PURPOSES, ExclusionRule, Purpose, timestamp
from data.store.connection import Connection
from data.store.sessions import Milestone
from data.store.slates import FLAGGED_RATER

_TRAINS = "outcome IN ('pick', 'tie')"  # of a tie one of the two samples trains, as `records.tied_position` says
_NOT_EXCLUDED = "AND NOT EXISTS (SELECT 1 FROM exclusion WHERE exclusion.t = ? AND exclusion.pick_id = pick.id)"
_STANDING = {False: "undone_at IS NULL", True: "undone_at IS NOT NULL"}
_UP_TO_CUT: WeakKeyDictionary[Connection, tuple[int, int]] = WeakKeyDictionary()
"""By store: a pick id up to which picks are final, and the number of curation picks up to it."""


def _marks(values: Sequence[Any]) -> str:
    """Question marks for the values of an SQL list."""
    return ",".join("?" * len(values))


# curation picks and the tally


def curation_picks(
    store: Connection,
    *,
    after: int = 0,
    until: int | None = None,
    session_id: str | None = None,
    kinds: Sequence[str] = ("human", "sim"),
    without: int = 0,
) -> Iterator[dict]:
    """Picks of curation slates by raters of the given kinds, with `after < pick id <= until`, by id.

    Only answers that picked something count, and ties, of which the row is that of the sample that trains; those taken
    back and withdrawn sessions don't. Each row has pick_id, slate_id, position, outcome, worst (a position or None), t,
    sample_id, seed, reward, image_sha256, point_json of the picked sample, the rater's kind, and the slate's k and
    condition.

    Args:
        store: the study's.
        after: the pick id above which they lie.
        until: the last pick id; None for no bound.
        session_id: the session that they are of; None for all.
        kinds: of raters.
        without: the generation from whose training none of them is excluded; 0 for all picks.
    """
    yield from store.rows(
        f"""SELECT pick.id AS pick_id, pick.slate_id, slate.t, slate_item.position, outcome, worst,
        sample.id AS sample_id, sample.seed, sample.reward, sample.image_sha256, sample.point_json, rater.kind,
        slate.k, slate.condition
        FROM pick JOIN slate ON slate.id = pick.slate_id
        JOIN slate_item ON slate_item.slate_id = pick.slate_id
            AND slate_item.position = coalesce(pick.position, slate.seed & 1)
        JOIN sample ON sample.id = slate_item.sample_id
        JOIN session ON session.id = session_id JOIN rater ON rater.id = rater_id
        WHERE slate.purpose = 'curation' AND {_TRAINS} AND undone_at IS NULL
        AND session.withdrawn_at IS NULL
        AND pick.id > ? AND (? IS NULL OR pick.id <= ?) AND (? IS NULL OR session.id = ?)
        AND kind IN ({_marks(kinds)}) {_NOT_EXCLUDED} ORDER BY pick.id""",
        [after, until, until, session_id, session_id, *kinds, without],
    )


def count_curation_picks(
    store: Connection,
    *,
    after: int,
    until: int | None = None,
    kinds: Sequence[str] = ("human", "sim"),
    without: int = 0,
    rule: ExclusionRule | None = None,
) -> int:
    """The number of picks that `curation_picks` would give; with a rule, of those that it wouldn't exclude."""
    rule = rule or ExclusionRule()
    # sessions that don't count are looked up once, not for each of a million picks
    return store.value(
        f"""SELECT count(*) FROM pick CROSS JOIN slate ON slate.id = pick.slate_id
        WHERE slate.purpose = 'curation' AND {_TRAINS} AND undone_at IS NULL
        AND pick.id > ? AND (? IS NULL OR pick.id <= ?)
        AND session_id NOT IN (SELECT session.id FROM session JOIN rater ON rater.id = rater_id
            WHERE withdrawn_at IS NOT NULL OR kind NOT IN ({_marks(kinds)})
            {f" OR {FLAGGED_RATER}" * len(rule.raters)})
        {_NOT_EXCLUDED if without else ""}
        {" AND json_extract(pick.flags_json, ?) IS NULL" * len(rule.picks)}""",
        [
            *(after, until, until, *kinds),
            *(f"$.{flag}" for flag in rule.raters),
            *([without] if without else []),
            *(f"$.{flag}" for flag in rule.picks),
        ],
    )


def tally(store: Connection) -> list[dict]:
    """The answers that stand, by rater kind, purpose, outcome and generation of the slate.

    Rows have kind, purpose, outcome, t and n. Answers that raters took back are in `undone_tally`.
    """
    return _tally(store, "n")


def undone_tally(store: Connection) -> list[dict]:
    """All answers that were taken back, counted as in `tally`."""
    return _tally(store, "undone")


def _tally(store: Connection, column: str) -> list[dict]:
    return list(
        store.rows(
            f"""SELECT kind, purpose, outcome, t, {column} AS n FROM tally WHERE {column} > 0
            ORDER BY t, kind, purpose, outcome"""
        )
    )


def count_picks_since(store: Connection, cut: int, rule: ExclusionRule) -> int:
    """`count_curation_picks(after=cut, rule=rule)` from the tally, at the price of the few picks that don't count.

    Those are the picks of withdrawn sessions and those that the rule excludes; the schema has an index of each.
    """
    lasting = not store.db.conn.in_transaction  # else the picks up to the cut may yet be rolled back
    with store.read():
        total = store.value(
            f"""SELECT coalesce(sum(n), 0) FROM tally
            WHERE purpose = 'curation' AND {_TRAINS} AND kind IN ('human', 'sim')"""
        )
        known, up_to_cut = _UP_TO_CUT.get(store, (0, 0))
        if known != cut:
            up_to_cut = total - store.value(
                f"""SELECT count(*) FROM pick CROSS JOIN slate ON slate.id = pick.slate_id
                JOIN session ON session.id = session_id JOIN rater ON rater.id = rater_id
                WHERE pick.id > ? AND purpose = 'curation' AND {_TRAINS} AND undone_at IS NULL
                AND kind IN ('human', 'sim')""",
                [cut],
            )
            if lasting:
                _UP_TO_CUT[store] = cut, up_to_cut
        return total - up_to_cut - _count_uncounted(store, cut, rule)


def _count_uncounted(store: Connection, cut: int, rule: ExclusionRule) -> int:
    """The number of people's and simulated users' curation picks after a cut that don't count.

    Their session withdrew, or the rule excludes them by a flag of their own or of a session of their rater.
    """
    flags = {f"flag_{i}": f"$.{flag}" for i, flag in enumerate((*rule.raters, *rule.picks))}
    extracts = [f"json_extract(flags_json, :{name})" for name in flags]
    of_raters, of_picks = extracts[: len(rule.raters)], extracts[len(rule.raters) :]
    sessions = "SELECT id FROM session WHERE withdrawn_at IS NOT NULL"
    if of_raters:
        sessions += f"""\nUNION SELECT id FROM session WHERE rater_id IN
            (SELECT rater_id FROM session WHERE flags_json != '{{}}' AND ({" OR ".join(of_raters)}))"""
    picks = f"SELECT id FROM pick WHERE session_id IN ({sessions}) AND id > :cut"
    if of_picks:
        any_of = " OR ".join(f"{extract} IS NOT NULL" for extract in of_picks)
        picks += f"\nUNION SELECT id FROM pick WHERE flags_json != '{{}}' AND id > :cut AND ({any_of})"
    return store.value(
        f"""SELECT count(*) FROM ({picks}) AS uncounted CROSS JOIN pick ON pick.id = uncounted.id
        JOIN slate ON slate.id = pick.slate_id JOIN session ON session.id = session_id JOIN rater ON rater.id = rater_id
        WHERE purpose = 'curation' AND {_TRAINS} AND undone_at IS NULL AND kind IN ('human', 'sim')""",
        {"cut": cut, **flags},
    )


# slates


def count_slates(store: Connection, purpose: Purpose, t: int) -> int:
    """The number of slates of a purpose and generation ever made: the index of the next slate's seed."""
    return store.value("SELECT count(*) FROM slate WHERE purpose = ? AND t = ?", [purpose, t])


def slate_purpose(store: Connection, slate_id: int) -> str | None:
    """A slate's purpose; None where there is no such slate."""
    return store.value("SELECT purpose FROM slate WHERE id = ?", [slate_id])


def slate_samples(store: Connection, slate_ids: Sequence[int]) -> Iterator[dict]:
    """The samples of slates, by slate and position: slate_id, position, sample_id, t, seed, reward, label."""
    for start in range(0, len(slate_ids), 500):
        chunk = slate_ids[start : start + 500]
        yield from store.rows(
            f"""SELECT slate_id, position, sample_id, t, seed, reward, label, image_sha256, point_json
            FROM slate_item JOIN sample ON sample.id = sample_id
            WHERE slate_id IN ({_marks(chunk)}) ORDER BY slate_id, position""",
            chunk,
        )


def lease_counts(store: Connection) -> dict[str, int]:
    """The number of slates that each session has leased and not answered."""
    sql = "SELECT leased_to, count(*) AS n FROM slate WHERE lease_until > ? GROUP BY leased_to"
    return {row["leased_to"]: row["n"] for row in store.rows(sql, [timestamp()])}


def free_slates(store: Connection) -> list[dict]:
    """Counts of the free slates in the pool: purpose, t, n."""
    return list(
        store.rows(
            """SELECT purpose, t, count(*) AS n FROM slate
            WHERE leased_to IS NULL AND retired_at IS NULL GROUP BY purpose, t ORDER BY t, purpose"""
        )
    )


def has_free_slate(store: Connection, t: int) -> bool:
    """True if a rater could get a slate of generation t now."""
    return bool(
        store.value(
            """SELECT 1 FROM slate WHERE purpose IN ('curation', 'audit') AND t = ? AND leased_to IS NULL
            AND retired_at IS NULL LIMIT 1""",
            [t],
        )
    )


def count_templates(store: Connection, purpose: Literal["attention", "practice"], t: int, k: int) -> int:
    """The number of templates of K samples of generation t."""
    return store.value(
        "SELECT count(*) FROM slate WHERE purpose = ? AND t = ? AND k = ? AND copy_of IS NULL", [purpose, t, k]
    )


def templates(store: Connection, purpose: Literal["attention", "practice"], session_id: str, k: int) -> list[int]:
    """Templates of K samples that a session has had no copy of yet, of the newest generation that has any."""
    return [
        row["id"]
        for row in store.rows(
            """SELECT id FROM slate WHERE purpose = :purpose AND k = :k AND copy_of IS NULL AND t =
            (SELECT max(t) FROM slate WHERE purpose = :purpose AND k = :k AND copy_of IS NULL)
            AND id NOT IN (SELECT copy_of FROM slate WHERE leased_to = :session AND copy_of IS NOT NULL)
            ORDER BY id""",
            {"purpose": purpose, "session": session_id, "k": k},
        )
    ]


def repeatable_slates(store: Connection, session_id: str, lag: int) -> list[int]:
    """Curation slates from which a session picked, at least `lag` answers ago, and that it saw only once."""
    return [
        row["slate_id"]
        for row in store.rows(
            """SELECT slate_id FROM pick JOIN slate ON slate.id = slate_id
            WHERE session_id = :session AND outcome = 'pick' AND undone_at IS NULL AND purpose = 'curation'
            AND k IS NOT NULL AND pick.id <= (SELECT id FROM pick WHERE session_id = :session AND undone_at IS NULL
                ORDER BY id DESC LIMIT 1 OFFSET :lag)
            AND slate_id NOT IN (SELECT copy_of FROM slate WHERE leased_to = :session AND copy_of IS NOT NULL)
            ORDER BY pick.id DESC LIMIT 50""",
            {"session": session_id, "lag": lag},
        )
    ]


# people and their sessions


def count_raters(store: Connection) -> dict[str, int]:
    """The number of raters of each kind with a session."""
    return {
        row["kind"]: row["n"]
        for row in store.rows(
            """SELECT kind, count(DISTINCT rater.id) AS n FROM rater
            JOIN session ON rater_id = rater.id GROUP BY kind"""
        )
    }


def count_answers(store: Connection, session_id: str) -> int:
    """The number of a session's answers, without those to practice slates."""
    return store.value(
        """SELECT count(*) FROM pick JOIN slate ON slate.id = slate_id
        WHERE session_id = ? AND undone_at IS NULL AND purpose != 'practice'""",
        [session_id],
    )


def count_answers_of_generation(store: Connection, session_ids: Sequence[str], t: int) -> int:
    """The number of answers of some sessions to slates of generation t."""
    return store.value(
        f"""SELECT count(*) FROM pick JOIN slate ON slate.id = slate_id
        WHERE session_id IN ({_marks(session_ids)}) AND undone_at IS NULL AND slate.t = ?""",
        [*session_ids, t],
    )


def count_places_taken(store: Connection, lease_s: float) -> int:
    """The number of people who have finished or are under way.

    Under way is who came within `lease_s` seconds or has a slate whose lease runs, and has neither failed nor
    withdrawn.
    """
    return store.value(
        """SELECT count(*) FROM session JOIN rater ON rater.id = rater_id
        WHERE kind = 'human' AND withdrawn_at IS NULL AND failed_at IS NULL AND (
            finished_at IS NOT NULL OR session.created_at > ? OR EXISTS (
                SELECT 1 FROM slate WHERE leased_to = session.id AND lease_until > ?))""",
        [timestamp(-lease_s), timestamp()],
    )


def funnel(store: Connection) -> dict[str, int]:
    """People's sessions by how far they came: arrived, each milestone, withdrawn; and declined, of no session."""
    columns = ", ".join(f"count({name}_at) AS {name}" for name in (*get_args(Milestone), "withdrawn"))
    row = store.row(
        f"""SELECT count(*) AS arrived, {columns} FROM session JOIN rater ON rater.id = rater_id
        WHERE kind = 'human'"""
    )
    assert row is not None
    declined = store.value("SELECT count(*) FROM event WHERE kind = 'declined'")
    return {**row, "arrived": row["arrived"] + declined, "declined": declined}


def human_sessions(store: Connection, lease_s: float) -> list[dict[str, Any]]:
    """People's sessions that haven't withdrawn: session, rater, finished_at (or None), ended.

    A session has ended when it finished, failed the question, or was last heard of over `lease_s` seconds ago.
    """
    return list(
        store.rows(
            """SELECT session.id AS session, rater_id AS rater, finished_at,
        finished_at IS NOT NULL OR failed_at IS NOT NULL OR max(session.created_at, coalesce(
            (SELECT picked_at FROM pick WHERE session_id = session.id ORDER BY id DESC LIMIT 1), '')) < ? AS ended
        FROM session JOIN rater ON rater.id = rater_id WHERE kind = 'human' AND withdrawn_at IS NULL
        ORDER BY session.rowid""",
            [timestamp(-lease_s)],
        )
    )


def count_people_at_work(store: Connection, within_s: float, here_s: float = 0.0) -> int:
    """The number of people who came, got a slate or answered within the last seconds, and haven't left since.

    Of those alone who came at least `here_s` seconds ago.
    """
    moment = timestamp(-within_s)
    return store.value(
        """SELECT count(DISTINCT rater_id) FROM session JOIN rater ON rater.id = rater_id
        WHERE kind = 'human' AND finished_at IS NULL AND failed_at IS NULL AND withdrawn_at IS NULL
        AND (:here_s = 0 OR session.created_at <= :came) AND session.id IN (
            SELECT session_id FROM pick WHERE id > :since
            UNION SELECT leased_to FROM slate WHERE lease_until IS NOT NULL AND served_at > :moment
            UNION SELECT id FROM session WHERE created_at > :moment)""",
        {"since": pick_before(store, moment), "moment": moment, "here_s": here_s, "came": timestamp(-here_s)},
    )


def count_people_who_picked(store: Connection) -> int:
    """The number of people's sessions with a pick that isn't practice."""
    return store.value(
        f"""SELECT count(*) FROM session JOIN rater ON rater.id = rater_id WHERE kind = 'human' AND EXISTS (
        SELECT 1 FROM pick JOIN slate ON slate.id = slate_id
        WHERE session_id = session.id AND purpose != 'practice' AND {_TRAINS} AND undone_at IS NULL)"""
    )


# counts over ranges of picks


def picks_by_rater(store: Connection) -> list[dict]:
    """People's picks in curation and audit slates that stand, by rater: rater, n. Withdrawn sessions' are left out."""
    return list(
        store.rows(
            """SELECT session.rater_id AS rater, count(*) AS n FROM rater JOIN session ON session.rater_id = rater.id
            JOIN pick ON pick.session_id = session.id JOIN slate ON slate.id = pick.slate_id
            WHERE kind = 'human' AND withdrawn_at IS NULL AND outcome = 'pick' AND undone_at IS NULL
            AND purpose IN ('curation', 'audit') GROUP BY 1 ORDER BY 1"""
        )
    )


def pick_before(store: Connection, moment: str) -> int:
    """The highest id of the picks before a moment; 0 where there is none."""
    low, high = 0, store.value("SELECT max(id) FROM pick") or 0
    while low < high:
        middle = (low + high + 1) // 2
        if store.value("SELECT picked_at FROM pick WHERE id <= ? ORDER BY id DESC LIMIT 1", [middle]) < moment:
            low = middle
        else:
            high = middle - 1
    return low


def answers_by_minute(
    store: Connection, after: int, until: int, undone: bool = False
) -> dict[tuple[str, str, str], int]:
    """Answers by kind of rater, outcome and minute, such as ('human', 'pick', '2026-11-21T09:30').

    Those that stand, or those that were taken back. The outcome of any answer to a practice slate is 'practice'.
    """
    return {
        (row["kind"], row["outcome"], row["minute"]): row["n"]
        for row in store.rows(
            f"""SELECT kind, CASE slate.purpose WHEN 'practice' THEN 'practice' ELSE pick.outcome END AS outcome,
            substr(picked_at, 1, 16) AS minute, count(*) AS n FROM pick CROSS JOIN slate ON slate.id = pick.slate_id
            JOIN session ON session.id = session_id JOIN rater ON rater.id = rater_id
            WHERE pick.id > ? AND pick.id <= ? AND {_STANDING[undone]} GROUP BY 1, 2, 3""",
            [after, until],
        )
    }


def audit_wins(
    store: Connection, after: int, until: int, undone: bool = False
) -> dict[tuple[str, int, int, int, int], int]:
    """People's choices between generations in audit slates, by (session, rater, K, t that won, t that lost).

    A picked sample is compared with each unpicked one of another generation in its slate. Of answers that stand, or of
    those that were taken back.
    """
    return {
        (row["session"], row["rater"], row["k"], row["won"], row["lost"]): row["n"]
        for row in store.rows(
            f"""SELECT session.id AS session, session.rater_id AS rater, slate.k AS k, winner.t AS won,
            loser.t AS lost, count(*) AS n FROM pick CROSS JOIN slate ON slate.id = pick.slate_id
            JOIN session ON session.id = pick.session_id JOIN rater ON rater.id = session.rater_id
            JOIN slate_item AS chosen ON chosen.slate_id = slate.id AND chosen.position = pick.position
            JOIN sample AS winner ON winner.id = chosen.sample_id
            JOIN slate_item AS other ON other.slate_id = slate.id AND other.position != pick.position
            JOIN sample AS loser ON loser.id = other.sample_id
            WHERE pick.id > ? AND pick.id <= ? AND slate.purpose = 'audit' AND pick.outcome = 'pick'
            AND {_STANDING[undone]} AND rater.kind = 'human' AND winner.t != loser.t GROUP BY 1, 2, 3, 4, 5""",
            [after, until],
        )
    }


def flagged_picks(store: Connection, after: int, until: int, undone: bool = False) -> dict[str, int]:
    """The number of people's answers with each flag: of those that stand, or of those that were taken back."""
    return {
        row["flag"]: row["n"]
        for row in store.rows(
            f"""SELECT flag.key AS flag, count(*) AS n FROM pick JOIN session ON session.id = session_id
            JOIN rater ON rater.id = rater_id, json_each(pick.flags_json) AS flag
            WHERE pick.id > ? AND pick.id <= ? AND pick.flags_json != '{{}}' AND {_STANDING[undone]}
            AND kind = 'human' GROUP BY 1""",
            [after, until],
        )
    }


def flagged_sessions(store: Connection) -> dict[str, int]:
    """The number of people's sessions with each flag."""
    return {
        row["flag"]: row["n"]
        for row in store.rows(
            """SELECT flag.key AS flag, count(*) AS n FROM session JOIN rater ON rater.id = rater_id,
            json_each(session.flags_json) AS flag
            WHERE session.flags_json != '{}' AND kind = 'human' GROUP BY 1"""
        )
    }


# answers that flags are computed from


def answered_sessions(store: Connection, pick_id: int) -> list[str]:
    """People's sessions with an answer above a pick id."""
    return [
        row["session_id"]
        for row in store.rows(
            """SELECT DISTINCT session_id FROM pick JOIN session ON session.id = session_id
            JOIN rater ON rater.id = rater_id WHERE pick.id > ? AND kind = 'human' ORDER BY session_id""",
            [pick_id],
        )
    ]


def session_answers(store: Connection, session_ids: Sequence[str]) -> Iterable[dict]:
    """All answers of some sessions that stand, by session and id.

    Each has id, session_id, outcome, position, worst, rt_ms, server_ms, flags_json, purpose, answer (the position that
    is right, if one is) and repeats (1 for a slate that the rater saw before).
    """
    for start in range(0, len(session_ids), 500):
        some = session_ids[start : start + 500]
        yield from store.rows(
            f"""SELECT pick.id, pick.session_id, pick.outcome, pick.position, worst, rt_ms, server_ms, pick.flags_json,
            slate.purpose, slate.answer, coalesce(source.purpose = 'curation', 0) AS repeats FROM pick
            JOIN slate ON slate.id = pick.slate_id LEFT JOIN slate AS source ON source.id = slate.copy_of
            WHERE pick.session_id IN ({_marks(some)}) AND undone_at IS NULL ORDER BY pick.session_id, pick.id""",
            some,
        )


def recent_flags(store: Connection, n: int) -> list[dict]:
    """The flags of people's last n answers, newest first: those of the answer and those of its session."""
    return [
        {**json.loads(row["session"]), **json.loads(row["pick"])}
        for row in store.rows(
            """SELECT pick.flags_json AS pick, session.flags_json AS session FROM pick
            JOIN session ON session.id = session_id JOIN rater ON rater.id = rater_id
            WHERE kind = 'human' AND undone_at IS NULL ORDER BY pick.id DESC LIMIT ?""",
            [n],
        )
    ]


# whole logs, in bulk


def curation_items(store: Connection, t: int) -> Iterator[tuple]:
    """One row per position of every curation slate of generation t, answered or not, by slate and position.

    Each is (slate id, K or 0 for infinite, position, sample id, sample's generation, its seed, reward, operative
    reward (the reward where none is stored), picked position (K for a tie) or -1, the position picked as
    the worst or -1, rater id or -1).
    """
    yield from store.db.conn.execute(
        """SELECT slate.id, coalesce(slate.k, 0), slate_item.position, sample.id, sample.t, sample.seed,
        sample.reward, coalesce(sample.operative_reward, sample.reward),
        coalesce(pick.position, CASE outcome WHEN 'tie' THEN slate.k END, -1), coalesce(worst, -1),
        coalesce(session.rater_id, -1)
        FROM slate JOIN slate_item ON slate_item.slate_id = slate.id JOIN sample ON sample.id = sample_id
        LEFT JOIN pick ON pick.slate_id = slate.id AND pick.undone_at IS NULL
        LEFT JOIN session ON session.id = pick.session_id
        WHERE slate.t = ? AND slate.purpose = 'curation' ORDER BY slate.id, slate_item.position""",
        [t],
    )


def slate_conditions(store: Connection) -> dict[int, str]:
    """The condition of every slate that has one, by the slate's id."""
    return {
        row["id"]: row["condition"] for row in store.rows("SELECT id, condition FROM slate WHERE condition IS NOT NULL")
    }


_DRAWN = """FROM sample JOIN slate_item ON sample_id = sample.id JOIN slate ON slate.id = slate_id
    WHERE purpose IN ('curation', 'audit') AND reward IS NOT NULL"""


def drawn_samples(store: Connection) -> list[tuple[int, int]]:
    """(generation, id) of every sample in curation and audit slates."""
    return store.db.conn.execute(f"SELECT DISTINCT sample.t, sample.id {_DRAWN} ORDER BY 2").fetchall()


def samples_by_id(store: Connection, ids: Sequence[int]) -> list[dict[str, Any]]:
    """Seed, rewards, label, point_json and the slate's condition of some of these samples, by id."""
    return list(
        store.rows(
            f"""SELECT sample.seed, reward, operative_reward, label, point_json, condition {_DRAWN}
            AND sample.id IN ({_marks(ids)}) GROUP BY sample.id ORDER BY sample.id""",
            list(ids),
        )
    )


def asked_conditions(store: Connection, t: int) -> list[tuple[int, int, str]]:
    """(slate id, its seed, its condition or an empty text) of every curation slate of generation t."""
    return store.db.conn.execute(
        "SELECT id, seed, coalesce(condition, '') FROM slate WHERE t = ? AND purpose = 'curation' ORDER BY id", [t]
    ).fetchall()


def rater_types(store: Connection) -> dict[int, tuple[str, str | None]]:
    """The kind and the type of every rater, by id."""
    return {row["id"]: (row["kind"], row["type"]) for row in store.rows("SELECT id, kind, type FROM rater")}


def training_pick_counts(store: Connection, after: int, until: int, t: int) -> list[dict[str, Any]]:
    """Counts of the curation picks that generation t + 1 may have been trained on: kind, name, withdrawn (0 or 1), n.

    These are people's and simulated users' picks with `after < pick id <= until`, and the proxies' from slates of
    generation t, without those that were excluded by a flag. `name` is a proxy's; None for other raters.
    """
    return list(
        store.rows(
            f"""SELECT rater.kind, CASE kind WHEN 'proxy' THEN rater.panel_rater_id END AS name,
            session.withdrawn_at IS NOT NULL AS withdrawn, count(*) AS n
            FROM pick JOIN slate ON slate.id = pick.slate_id JOIN session ON session.id = pick.session_id
            JOIN rater ON rater.id = session.rater_id
            WHERE slate.purpose = 'curation' AND {_TRAINS} AND undone_at IS NULL AND
            CASE kind WHEN 'proxy' THEN slate.t = ? ELSE pick.id > ? AND pick.id <= ? END AND NOT EXISTS
            (SELECT 1 FROM exclusion WHERE exclusion.t = ? AND exclusion.pick_id = pick.id) GROUP BY 1, 2, 3""",
            [t, after, until, t + 1],
        )
    )


def foreign_generations(store: Connection) -> list[int]:
    """Generations whose slates hold samples of another study's generator instead of their own; of replays alone."""
    return [
        row["t"]
        for row in store.rows(
            """SELECT t FROM drawn_by JOIN generation USING (t)
            WHERE drawn_by.checkpoint_sha256 != generation.checkpoint_sha256 ORDER BY t"""
        )
    ]


def answered_slates(
    store: Connection, kinds: Sequence[str], picks: Sequence[str] = (), raters: Sequence[str] = ()
) -> Iterator[tuple]:
    """One row per answer that stands, by slate.

    Each is (slate id, K or 0 for infinite, generation of the slate, purpose as an index into `PURPOSES`, outcome as
    an index into `OUTCOMES`, picked position or -1, the position picked as the worst or -1, rater id, id of the slate
    that this one is a copy of or 0, whether that one was for curation, whether the session withdrew, whether the answer
    has one of the flags `picks` or its rater one of the flags `raters`, id of the answer).
    """
    flagged = [
        *(("json_extract(pick.flags_json, ?) IS NOT NULL", flag) for flag in picks),
        *((FLAGGED_RATER, flag) for flag in raters),
    ]
    yield from store.db.conn.execute(
        f"""SELECT slate.id, coalesce(slate.k, 0), slate.t, {_index("slate.purpose", PURPOSES)},
        {_index("outcome", OUTCOMES)}, coalesce(pick.position, -1), coalesce(worst, -1), rater.id,
        coalesce(slate.copy_of, 0),
        coalesce(source.purpose = 'curation', 0), session.withdrawn_at IS NOT NULL,
        {" OR ".join(sql for sql, _ in flagged) or "0"}, pick.id
        FROM slate JOIN pick ON pick.slate_id = slate.id JOIN session ON session.id = pick.session_id
        JOIN rater ON rater.id = session.rater_id LEFT JOIN slate AS source ON source.id = slate.copy_of
        WHERE pick.undone_at IS NULL AND rater.kind IN ({_marks(kinds)}) ORDER BY slate.id""",
        [*(f"$.{flag}" for _, flag in flagged), *kinds],
    )


def answered_items(store: Connection, kinds: Sequence[str]) -> Iterator[tuple]:
    """One row per position of every answered slate of finite K, by slate and position.

    Each is (slate id, position, sample id, its generation, label or -1, reward or None, operative reward or None:
    the reward where none is stored).
    """
    yield from store.db.conn.execute(
        f"""SELECT slate.id, slate_item.position, sample.id, sample.t, coalesce(sample.label, -1), sample.reward,
        coalesce(sample.operative_reward, sample.reward)
        FROM slate JOIN pick ON pick.slate_id = slate.id JOIN session ON session.id = pick.session_id
        JOIN rater ON rater.id = session.rater_id JOIN slate_item ON slate_item.slate_id = slate.id
        JOIN sample ON sample.id = slate_item.sample_id
        WHERE slate.k IS NOT NULL AND pick.undone_at IS NULL AND rater.kind IN ({_marks(kinds)})
        ORDER BY slate.id, slate_item.position""",
        list(kinds),
    )


def sample_details(store: Connection, kinds: Sequence[str]) -> Iterator[tuple]:
    """(id, image's sha256, numbers as JSON, more on the reward as JSON, text) of every sample in `answered_items`."""
    yield from store.db.conn.execute(
        f"""SELECT DISTINCT sample.id, sample.image_sha256, sample.point_json, sample.reward_json, sample.text
        FROM slate JOIN pick ON pick.slate_id = slate.id JOIN session ON session.id = pick.session_id
        JOIN rater ON rater.id = session.rater_id JOIN slate_item ON slate_item.slate_id = slate.id
        JOIN sample ON sample.id = slate_item.sample_id
        WHERE slate.k IS NOT NULL AND pick.undone_at IS NULL AND rater.kind IN ({_marks(kinds)})""",
        list(kinds),
    )


# faults of a study


def images(store: Connection) -> Iterable[tuple[str, bytes]]:
    """All (sha256, png) pairs, without images of an imported log that are known by their hash alone."""
    rows = store.rows("SELECT sha256, png FROM image WHERE length(png) > 0")
    return ((row["sha256"], row["png"]) for row in rows)


def count_shared_samples(store: Connection) -> int:
    """The number of samples in more than one curation slate of finite K; a disjoint study has none.

    Slates of an imported log that a study started from don't count.
    """
    return store.value(
        """SELECT count(*) FROM (SELECT 1 FROM slate_item JOIN slate ON slate.id = slate_id
        WHERE purpose = 'curation' AND k IS NOT NULL AND t NOT IN (SELECT t FROM drawn_by WHERE checkpoint_sha256 = '')
        GROUP BY sample_id HAVING count(*) > 1)"""
    )


def uneven_slates(store: Connection) -> list[tuple[int, int, int]]:
    """Slates whose number of samples isn't their K: (id, K, samples)."""
    return store.db.conn.execute(
        """SELECT slate.id, coalesce(k, 1) AS expected, count(sample_id) AS n FROM slate
        LEFT JOIN slate_item ON slate_id = slate.id GROUP BY slate.id HAVING n != expected"""
    ).fetchall()


def lost_picks(store: Connection) -> list[tuple[int, int, int]]:
    """Picks of a position that their slate lacks: (pick id, position, slate id)."""
    return store.db.conn.execute(
        """SELECT pick.id, pick.position, pick.slate_id FROM pick LEFT JOIN slate_item
        ON slate_item.slate_id = pick.slate_id AND slate_item.position = pick.position
        WHERE pick.position IS NOT NULL AND sample_id IS NULL"""
    ).fetchall()


def _index(column: str, words: Sequence[str]) -> str:
    """SQL for a word's place in a list."""
    cases = " ".join(f"WHEN '{word}' THEN {i}" for i, word in enumerate(words))
    return f"CASE {column} {cases} END"
