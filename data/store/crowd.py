"""What the researcher's page counts of people's work, in ranges of pick ids, so that a refresh reads new picks only.

Pick ids are in the order of the answers, so a moment is found by looking at a few of them.
"""

from typing import Any

from data.records import timestamp
from data.store.connection import Connection


class Crowd(Connection):
    """Counts over `after < pick id <= until`; add those of adjoining ranges to get those of both."""

    def pick_before(self, moment: str) -> int:
        """The highest pick id that was given before a moment; 0 where there is none."""
        low, high = 0, self.value("SELECT max(id) FROM pick") or 0
        while low < high:
            middle = (low + high + 1) // 2
            if self.value("SELECT picked_at FROM pick WHERE id <= ? ORDER BY id DESC LIMIT 1", [middle]) < moment:
                low = middle
            else:
                high = middle - 1
        return low

    def picks_by_minute(self, after: int, until: int) -> dict[tuple[str, str], int]:
        """Answers by kind of rater and by minute, such as ('human', '2026-11-21T09:30')."""
        return {
            (row["kind"], row["minute"]): row["n"]
            for row in self.rows(
                """SELECT kind, substr(picked_at, 1, 16) AS minute, count(*) AS n FROM pick
                JOIN session ON session.id = session_id JOIN rater ON rater.id = rater_id
                WHERE pick.id > ? AND pick.id <= ? GROUP BY 1, 2""",
                [after, until],
            )
        }

    def flagged_picks(self, after: int, until: int) -> dict[str, int]:
        """How many of people's answers have each flag."""
        return {
            row["flag"]: row["n"]
            for row in self.rows(
                """SELECT flag.key AS flag, count(*) AS n FROM pick JOIN session ON session.id = session_id
                JOIN rater ON rater.id = rater_id, json_each(pick.flags_json) AS flag
                WHERE pick.id > ? AND pick.id <= ? AND pick.flags_json != '{}' AND kind = 'human' GROUP BY 1""",
                [after, until],
            )
        }

    def flagged_sessions(self) -> dict[str, int]:
        """How many of people's sessions have each flag."""
        return {
            row["flag"]: row["n"]
            for row in self.rows(
                """SELECT flag.key AS flag, count(*) AS n FROM session JOIN rater ON rater.id = rater_id,
                json_each(session.flags_json) AS flag
                WHERE session.flags_json != '{}' AND kind = 'human' GROUP BY 1"""
            )
        }

    def audit_wins(self, after: int, until: int) -> dict[tuple[str, int, int, int, int], int]:
        """People's choices between generations in audit slates, by (session, rater, K, t that won, t that lost).

        A picked sample is compared with each unpicked one of another generation in its slate.
        """
        return {
            (row["session"], row["rater"], row["k"], row["won"], row["lost"]): row["n"]
            for row in self.rows(
                """SELECT session.id AS session, session.rater_id AS rater, slate.k AS k, winner.t AS won,
                loser.t AS lost, count(*) AS n FROM pick CROSS JOIN slate ON slate.id = pick.slate_id
                JOIN session ON session.id = pick.session_id JOIN rater ON rater.id = session.rater_id
                JOIN slate_item AS chosen ON chosen.slate_id = slate.id AND chosen.position = pick.position
                JOIN sample AS winner ON winner.id = chosen.sample_id
                JOIN slate_item AS other ON other.slate_id = slate.id AND other.position != pick.position
                JOIN sample AS loser ON loser.id = other.sample_id
                WHERE pick.id > ? AND pick.id <= ? AND slate.purpose = 'audit' AND pick.outcome = 'pick'
                AND rater.kind = 'human' AND winner.t != loser.t GROUP BY 1, 2, 3, 4, 5""",
                [after, until],
            )
        }

    def human_sessions(self, lease_s: float) -> list[dict[str, Any]]:
        """People's sessions that haven't withdrawn: session, rater, finished_at (or None), ended.

        A session has ended when it finished, failed the question, or was last heard of over `lease_s` seconds ago.
        """
        return list(
            self.rows(
                """SELECT session.id AS session, rater_id AS rater, finished_at,
            finished_at IS NOT NULL OR failed_at IS NOT NULL OR max(session.created_at, coalesce(
                (SELECT picked_at FROM pick WHERE session_id = session.id ORDER BY id DESC LIMIT 1), '')) < ? AS ended
            FROM session JOIN rater ON rater.id = rater_id WHERE kind = 'human' AND withdrawn_at IS NULL
            ORDER BY session.rowid""",
                [timestamp(-lease_s)],
            )
        )

    def people_at_work(self, within_s: float) -> int:
        """People who came, got a slate or answered within the last so many seconds, and haven't left since."""
        moment = timestamp(-within_s)
        return self.value(
            """SELECT count(DISTINCT rater_id) FROM session JOIN rater ON rater.id = rater_id
            WHERE kind = 'human' AND finished_at IS NULL AND failed_at IS NULL AND withdrawn_at IS NULL
            AND session.id IN (
                SELECT session_id FROM pick WHERE id > :since
                UNION SELECT leased_to FROM slate WHERE lease_until IS NOT NULL AND served_at > :moment
                UNION SELECT id FROM session WHERE created_at > :moment)""",
            {"since": self.pick_before(moment), "moment": moment},
        )

    def people_who_picked(self) -> int:
        """People's sessions with an answer that isn't practice."""
        return self.value(
            """SELECT count(*) FROM session JOIN rater ON rater.id = rater_id WHERE kind = 'human' AND EXISTS (
            SELECT 1 FROM pick JOIN slate ON slate.id = slate_id
            WHERE session_id = session.id AND purpose != 'practice')"""
        )
