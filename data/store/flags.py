"""Flags on answers and sessions, and which answers a turn left out because of them. Rows are marked, never deleted."""

import json
from collections.abc import Iterable, Sequence

from data.records import Rule
from data.store.connection import Connection


class Flags(Connection):
    """What `loop.crowd.quality` reads and writes."""

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
        """How many of people's answers and sessions have each flag: {'picks': {flag: n}, 'sessions': {flag: n}}."""
        found: dict[str, dict[str, int]] = {}
        for name, source in (("picks", "pick JOIN session ON session.id = session_id"), ("sessions", "session")):
            table = "pick" if name == "picks" else "session"
            rows = self.rows(
                f"""SELECT flag.key AS flag, count(*) AS n FROM {source} JOIN rater ON rater.id = rater_id,
                json_each({table}.flags_json) AS flag WHERE kind = 'human' GROUP BY 1 ORDER BY 1"""
            )
            found[name] = {row["flag"]: row["n"] for row in rows}
        return found

    def exclude(self, t: int, after: int, until: int, rule: Rule) -> dict[str, int]:
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


FLAGGED_RATER = """EXISTS (SELECT 1 FROM session AS flagged
    WHERE flagged.rater_id = rater.id AND json_extract(flagged.flags_json, ?))"""
