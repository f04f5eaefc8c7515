"""Recording an answer, once and for good; live counts of answers; and the flags on them."""

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any

from data.errors import PickRefusedError
from data.records import ExclusionRule, Pick, StoredPick, timestamp
from data.store.connection import Connection
from data.store.sessions import Clock

_CURATION = """FROM pick JOIN slate ON slate.id = pick.slate_id
    JOIN slate_item ON slate_item.slate_id = pick.slate_id AND slate_item.position = pick.position
    JOIN sample ON sample.id = slate_item.sample_id
    JOIN session ON session.id = session_id JOIN rater ON rater.id = rater_id
    WHERE slate.purpose = 'curation' AND pick.outcome = 'pick' AND session.withdrawn_at IS NULL"""
_NOT_EXCLUDED = "AND NOT EXISTS (SELECT 1 FROM exclusion WHERE exclusion.t = ? AND exclusion.pick_id = pick.id)"
FLAGGED_RATER = """EXISTS (SELECT 1 FROM session AS flagged
    WHERE flagged.rater_id = rater.id AND json_extract(flagged.flags_json, ?))"""
EFFORT = 50  # a full count that took a second is not repeated within this many


class Picks(Clock):
    """The answers. None is ever changed or deleted."""

    def record_pick(self, session_id: str, pick: Pick) -> StoredPick:
        """Commits an answer and only then returns.

        The same answer again gives the first one's id.

        Raises:
            PickRefusedError: the slate was never this session's, its lease lapsed, another answer is stored, or the
                session has withdrawn.
            ValueError: a position outside the slate.
        """
        with self.write() as db:
            self.follow_clock()
            row = self.one(
                """SELECT slate.leased_to, slate.lease_until, slate.served_at, slate.k, pick.id AS pick_id,
                pick.session_id, pick.outcome, pick.position,
                (SELECT withdrawn_at FROM session WHERE id = :session) AS withdrawn_at,
                (SELECT picked_at FROM pick WHERE session_id = :session ORDER BY id DESC LIMIT 1) AS answered_at
                FROM slate LEFT JOIN pick ON pick.slate_id = slate.id WHERE slate.id = :slate""",
                {"session": session_id, "slate": pick.slate_id},
            )
            if row is not None and row["pick_id"] is not None and row["session_id"] == session_id:
                if (row["outcome"], row["position"]) == (pick.outcome, pick.position):
                    return StoredPick(id=row["pick_id"], duplicate=True)
                raise PickRefusedError("contradicts", f"Slate {pick.slate_id} has another answer already.")
            if row is None or row["leased_to"] != session_id:
                raise self._not_yours(session_id, pick.slate_id)
            if row["withdrawn_at"] is not None:
                raise PickRefusedError("lapsed", "This session has withdrawn; nothing more is stored.")
            if row["lease_until"] is None or row["lease_until"] < timestamp():
                raise PickRefusedError("lapsed", f"Slate {pick.slate_id} was open too long and went to someone else.")
            self._check_position(pick, row["k"])
            now = timestamp()
            # as the server sees it, a slate came into view when it was served, or after the answer before it
            waited_since = max(row["served_at"], row["answered_at"] or "")
            db.conn.execute("UPDATE slate SET lease_until = NULL WHERE id = ?", [pick.slate_id])
            cursor = db.conn.execute(
                """INSERT INTO pick(slate_id, session_id, outcome, position, shown_at, picked_at, rt_ms, input,
                viewport, blur_count, server_ms)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                [
                    pick.slate_id,
                    session_id,
                    pick.outcome,
                    pick.position,
                    row["served_at"] if pick.rt_ms is None else timestamp(-pick.rt_ms / 1000),
                    now,
                    pick.rt_ms,
                    pick.input,
                    pick.viewport,
                    pick.blur_count,
                    _milliseconds(waited_since, now) if waited_since <= now else None,  # the clock was set back
                ],
            )
            assert cursor.lastrowid is not None
        return StoredPick(id=cursor.lastrowid, duplicate=False)

    def add_picks(self, answers: Iterable[tuple[int, str, int, dict[str, Any]]]) -> None:
        """Stores simulated or proxy picks in bulk: (slate id, session id, position, flags) each."""
        now = timestamp()
        with self.write() as db:
            db.conn.executemany(
                """INSERT INTO pick(slate_id, session_id, outcome, position, picked_at, flags_json)
                VALUES (?, ?, 'pick', ?, ?, ?)""",
                (
                    (slate_id, session_id, position, now, json.dumps(flags) if flags else "{}")
                    for slate_id, session_id, position, flags in answers
                ),
            )

    def curation_picks(
        self,
        *,
        after: int = 0,
        until: int | None = None,
        session_id: str | None = None,
        kinds: Sequence[str] = ("human", "sim"),
        without: int = 0,
    ) -> Iterator[dict]:
        """Picks of curation slates by raters of the given kinds, with `after < pick id <= until`, by id.

        `session_id` keeps those of one session; `without` leaves out what is excluded from generation `without`.

        Only answers that picked something count; withdrawn sessions don't. Each row has pick_id, slate_id, position,
        t, sample_id, seed, reward, image_sha256, point_json of the picked sample, and the rater's kind.
        """
        yield from self.rows(
            f"""SELECT pick.id AS pick_id, pick.slate_id, slate.t, pick.position, sample.id AS sample_id, sample.seed,
            sample.reward, sample.image_sha256, sample.point_json, rater.kind
            {_CURATION} AND pick.id > ? AND (? IS NULL OR pick.id <= ?) AND (? IS NULL OR session.id = ?)
            AND kind IN ({_marks(kinds)}) {_NOT_EXCLUDED} ORDER BY pick.id""",
            [after, until, until, session_id, session_id, *kinds, without],
        )

    def count_curation_picks(
        self,
        *,
        after: int,
        until: int | None = None,
        kinds: Sequence[str] = ("human", "sim"),
        without: int = 0,
        rule: ExclusionRule | None = None,
    ) -> int:
        """The number of picks that `curation_picks` would give; with a rule, of those that its flags would leave."""
        rule = rule or ExclusionRule()
        # whose picks don't count is settled once for each session, not for each of a million picks
        return self.value(
            f"""SELECT count(*) FROM pick CROSS JOIN slate ON slate.id = pick.slate_id
            WHERE slate.purpose = 'curation' AND pick.outcome = 'pick' AND pick.id > ? AND (? IS NULL OR pick.id <= ?)
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

    def last_pick(self) -> int:
        """The highest pick id so far; 0 before the first."""
        return self.value("SELECT max(id) FROM pick") or 0

    def last_pick_time(self, kind: str) -> str | None:
        """When a rater of this kind last answered."""
        return self.value(
            """SELECT picked_at FROM pick JOIN session ON session.id = session_id JOIN rater ON rater.id = rater_id
            WHERE kind = ? ORDER BY pick.id DESC LIMIT 1""",
            [kind],
        )

    def session_picks(self, session_id: str) -> int:
        """The number of a session's answers, without those to practice slates."""
        return self.value(
            """SELECT count(*) FROM pick JOIN slate ON slate.id = slate_id
            WHERE session_id = ? AND purpose != 'practice'""",
            [session_id],
        )

    def count_session_picks(self, session_ids: Sequence[str], t: int) -> int:
        """The number of answers of some sessions to slates of generation t."""
        return self.value(
            f"""SELECT count(*) FROM pick JOIN slate ON slate.id = slate_id
            WHERE session_id IN ({_marks(session_ids)}) AND slate.t = ?""",
            [*session_ids, t],
        )

    def pick_counts(self, *, after: int = 0, until: int | None = None) -> list[dict]:
        """Answers with `after < pick id <= until` by rater kind, purpose and outcome: kind, purpose, outcome, t, n."""
        return list(
            self.rows(
                """SELECT rater.kind, slate.purpose, pick.outcome, slate.t, count(*) AS n FROM pick
                JOIN slate ON slate.id = slate_id JOIN session ON session.id = session_id
                JOIN rater ON rater.id = rater_id WHERE pick.id > ? AND (? IS NULL OR pick.id <= ?)
                GROUP BY 1, 2, 3, 4 ORDER BY 4, 1, 2, 3""",
                [after, until, until],
            )
        )

    def answers(self, t: int, kind: str) -> list[dict]:
        """Curation answers of one generation by one kind of rater: slate_id, position."""
        return list(
            self.rows(
                """SELECT pick.slate_id, pick.position FROM pick JOIN slate ON slate.id = slate_id
                JOIN session ON session.id = session_id JOIN rater ON rater.id = rater_id
                WHERE slate.t = ? AND slate.purpose = 'curation' AND kind = ? ORDER BY pick.slate_id""",
                [t, kind],
            )
        )

    @staticmethod
    def _check_position(pick: Pick, k: int) -> None:
        if (pick.outcome == "pick") != (pick.position is not None):
            raise ValueError("position goes with outcome 'pick', and only with it")
        if pick.position is not None and not 0 <= pick.position < k:
            raise ValueError(f"position must lie between 0 and {k - 1}, not {pick.position}")

    def lost_picks(self) -> list[tuple[int, int, int]]:
        """Picks of a position that their slate doesn't have: (pick id, position, slate id)."""
        return self.db.conn.execute(
            """SELECT pick.id, pick.position, pick.slate_id FROM pick LEFT JOIN slate_item
            ON slate_item.slate_id = pick.slate_id AND slate_item.position = pick.position
            WHERE pick.position IS NOT NULL AND sample_id IS NULL"""
        ).fetchall()

    def choices(self, after: int = 0, until: int | None = None) -> Iterator[dict]:
        """The choice log, of answers with `after < pick id <= until`: a row per position, by pick and position."""
        with self.read():
            yield from self.rows(
                """SELECT * FROM v_choice_long WHERE choice_id > ? AND (? IS NULL OR choice_id <= ?)
                ORDER BY choice_id, position""",
                [after, until, until],
            )

    def _not_yours(self, session_id: str, slate_id: int) -> PickRefusedError:
        lapsed = self.value(
            """SELECT 1 FROM event WHERE kind = 'lease_lapsed' AND actor = ?
            AND json_extract(detail_json, '$.slate_id') = ?""",
            [session_id, slate_id],
        )
        if lapsed:
            return PickRefusedError("lapsed", f"Slate {slate_id} was open too long and went to someone else.")
        return PickRefusedError("unknown", f"There is no slate {slate_id} in this session.")


def _milliseconds(since: str, until: str) -> int:
    return round((datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds() * 1000)


def _marks(values: Sequence[str]) -> str:
    return ",".join("?" * len(values))


class Flags(Connection):
    """Flags on answers and sessions, for `loop.raters.quality`."""

    def people_since(self, pick_id: int) -> list[str]:
        """People's sessions with an answer above a pick id."""
        return [
            row["session_id"]
            for row in self.rows(
                """SELECT DISTINCT session_id FROM pick JOIN session ON session.id = session_id
                JOIN rater ON rater.id = rater_id WHERE pick.id > ? AND kind = 'human' ORDER BY session_id""",
                [pick_id],
            )
        ]

    def answers_of(self, session_ids: Sequence[str]) -> Iterable[dict]:
        """All answers of some sessions, by session and id.

        Each has id, session_id, outcome, position, rt_ms, server_ms, flags_json, purpose, answer (the position that
        is right, if one is) and repeats (1 for a slate that the rater saw before).
        """
        for start in range(0, len(session_ids), 500):
            some = session_ids[start : start + 500]
            yield from self.rows(
                f"""SELECT pick.id, pick.session_id, pick.outcome, pick.position, rt_ms, server_ms, pick.flags_json,
                slate.purpose, slate.answer, coalesce(source.purpose = 'curation', 0) AS repeats FROM pick
                JOIN slate ON slate.id = pick.slate_id LEFT JOIN slate AS source ON source.id = slate.copy_of
                WHERE pick.session_id IN ({",".join("?" * len(some))}) ORDER BY pick.session_id, pick.id""",
                some,
            )

    def set_flags(self, picks: Iterable[tuple[int, dict]], sessions: Iterable[tuple[str, dict]]) -> None:
        """Replaces the flags of answers and of sessions."""
        with self.write() as db:
            db.conn.executemany(
                "UPDATE pick SET flags_json = ? WHERE id = ?", [(json.dumps(flags), id_) for id_, flags in picks]
            )
            db.conn.executemany(
                "UPDATE session SET flags_json = ? WHERE id = ? AND flags_json != ?",
                [(json.dumps(flags), id_, json.dumps(flags)) for id_, flags in sessions],
            )

    def recent_flags(self, n: int) -> list[dict]:
        """The flags of people's last n answers, newest first: those of the answer and those of its session."""
        return [
            {**json.loads(row["session"]), **json.loads(row["pick"])}
            for row in self.rows(
                """SELECT pick.flags_json AS pick, session.flags_json AS session FROM pick
                JOIN session ON session.id = session_id JOIN rater ON rater.id = rater_id
                WHERE kind = 'human' ORDER BY pick.id DESC LIMIT ?""",
                [n],
            )
        ]

    def flag_counts(self) -> dict[str, dict[str, int]]:
        """The numbers of people's answers and sessions with each flag: {'picks': {flag: n}, 'sessions': {flag: n}}."""
        found: dict[str, dict[str, int]] = {}
        for name, source in (("picks", "pick JOIN session ON session.id = session_id"), ("sessions", "session")):
            table = "pick" if name == "picks" else "session"
            rows = self.rows(
                f"""SELECT flag.key AS flag, count(*) AS n FROM {source} JOIN rater ON rater.id = rater_id,
                json_each({table}.flags_json) AS flag WHERE kind = 'human' GROUP BY 1 ORDER BY 1"""
            )
            found[name] = {row["flag"]: row["n"] for row in rows}
        return found

    def exclude(self, t: int, after: int, until: int, rule: ExclusionRule) -> dict[str, int]:
        """Settles which curation picks with `after < id <= until` don't train generation t; how many by flag.

        A pick with several flags counts for the first of the rule: those of picks, then those of raters.
        """
        counts = {}
        with self.write() as db:
            for flag, flagged in (
                *((flag, "json_extract(pick.flags_json, ?)") for flag in rule.picks),
                *((flag, FLAGGED_RATER) for flag in rule.raters),
            ):
                cursor = db.conn.execute(
                    f"""INSERT OR IGNORE INTO exclusion(t, pick_id, flag)
                    SELECT ?, pick.id, ? FROM pick JOIN slate ON slate.id = slate_id
                    JOIN session ON session.id = session_id JOIN rater ON rater.id = session.rater_id
                    WHERE kind = 'human' AND purpose = 'curation' AND outcome = 'pick' AND withdrawn_at IS NULL
                    AND pick.id > ? AND pick.id <= ? AND {flagged}""",
                    [t, flag, after, until, f"$.{flag}"],
                )
                counts[flag] = counts.get(flag, 0) + cursor.rowcount
        return counts


@dataclass(frozen=True, slots=True)
class _Count:
    cut: int
    rule: ExclusionRule
    until: int
    n: int
    counted_at: float
    took_s: float


class Counted(Picks, Flags):
    """Picks toward the next generation; exact to another process's withdrawals and flags of a moment ago."""

    _count: _Count | None = None
    _counting = Lock()

    def curation_picks_since(self, cut: int, rule: ExclusionRule) -> int:
        """`count_curation_picks(after=cut, rule=rule)` at the price of the picks since the last call.

        A pick counts at once, and so does a flag that this store set. A withdrawal or another process's flag counts
        with the next full count, which is made as often as it is cheap, and never inside a transaction.
        """
        known, last = self._count, self.last_pick()
        if known is None or (known.cut, known.rule) != (cut, rule) or known.until > last:
            return self._count_anew(cut, rule, last)
        due = time.monotonic() - known.counted_at > EFFORT * known.took_s and not self.db.conn.in_transaction
        if due and self._counting.acquire(blocking=False):
            try:
                return self._count_anew(cut, rule, last)
            finally:
                self._counting.release()
        if known.until == last:
            return known.n
        n = known.n + self.count_curation_picks(after=known.until, until=last, rule=rule)
        if not self.db.conn.in_transaction:  # what isn't committed yet may be rolled back
            self._count = _Count(cut, rule, last, n, known.counted_at, known.took_s)
        return n

    def set_flags(self, picks: Iterable[tuple[int, dict]], sessions: Iterable[tuple[str, dict]]) -> None:
        """Replaces the flags of answers and of sessions."""
        super().set_flags(picks, sessions)
        self._count = None

    def _count_anew(self, cut: int, rule: ExclusionRule, last: int) -> int:
        began = time.monotonic()
        n = self.count_curation_picks(after=cut, until=last, rule=rule)
        if not self.db.conn.in_transaction:
            now = time.monotonic()
            self._count = _Count(cut, rule, last, n, now, now - began)
        return n


class Figures(Picks):
    """Figures of picks and the pool for the researcher's page and /metrics."""

    _tally: tuple[int, Counter[tuple[str, str, str, int]]] = (0, Counter())
    _tallying = Lock()

    def tally(self) -> list[dict]:
        """`pick_counts` at the price of the picks since the last call."""
        with self._tallying:
            until, counts = self._tally
            last = self.last_pick()
            for row in self.pick_counts(after=until, until=last):
                counts = counts + Counter({(row["t"], row["kind"], row["purpose"], row["outcome"]): row["n"]})
            if not self.db.conn.in_transaction:  # what isn't committed yet may be rolled back
                self._tally = (last, counts)
        return [
            {"kind": kind, "purpose": purpose, "outcome": outcome, "t": t, "n": n}
            for (t, kind, purpose, outcome), n in sorted(counts.items())
        ]

    def free_slates(self) -> list[dict]:
        """Slates that lie free in the pool: purpose, t, n."""
        return list(
            self.rows(
                """SELECT purpose, t, count(*) AS n FROM slate
                WHERE leased_to IS NULL AND retired_at IS NULL GROUP BY purpose, t ORDER BY t, purpose"""
            )
        )

    def has_free_slate(self, t: int) -> bool:
        """True if a rater could get a slate of generation t now."""
        return bool(
            self.value(
                """SELECT 1 FROM slate WHERE purpose IN ('curation', 'audit') AND t = ? AND leased_to IS NULL
                AND retired_at IS NULL LIMIT 1""",
                [t],
            )
        )
