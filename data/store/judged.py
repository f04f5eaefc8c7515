"""What the self-check reads: who stood in which slate, what they were worth to the user, and what was picked."""

from collections.abc import Iterator
from typing import Any

from data.store.connection import Connection


class Judged(Connection):
    """Curation slates with the rewards by which they were judged, as plain rows in bulk."""

    def judged_items(self, t: int) -> Iterator[tuple]:
        """One row per position of every curation slate of generation t, answered or not, by slate and position.

        Each is (slate id, K or 0 for infinite, position, sample id, sample's generation, its seed, reward, operative
        reward (the reward where none is stored), picked position or -1, rater id or -1).
        """
        yield from self.db.conn.execute(
            """SELECT slate.id, coalesce(slate.k, 0), slate_item.position, sample.id, sample.t, sample.seed,
            sample.reward, coalesce(sample.operative_reward, sample.reward),
            coalesce(pick.position, -1), coalesce(session.rater_id, -1)
            FROM slate JOIN slate_item ON slate_item.slate_id = slate.id JOIN sample ON sample.id = sample_id
            LEFT JOIN pick ON pick.slate_id = slate.id LEFT JOIN session ON session.id = pick.session_id
            WHERE slate.t = ? AND slate.purpose = 'curation' ORDER BY slate.id, slate_item.position""",
            [t],
        )

    def rater_types(self) -> dict[int, tuple[str, str | None]]:
        """The kind and the type of every rater, by id."""
        return {row["id"]: (row["kind"], row["type"]) for row in self.rows("SELECT id, kind, type FROM rater")}

    def stored_picks(self, after: int, until: int, t: int) -> list[dict[str, Any]]:
        """Picks of curation slates that generation t + 1 may have been trained on, counted.

        Those that a rule on flags left out aren't among them. People's and simulated users' with
        `after < pick id <= until`, the proxies' of slates of generation t: kind,
        name (the rater's in its panel), withdrawn (0 or 1), n.
        """
        return list(
            self.rows(
                """SELECT rater.kind, CASE kind WHEN 'proxy' THEN rater.panel_rater_id END AS name,
                session.withdrawn_at IS NOT NULL AS withdrawn, count(*) AS n
                FROM pick JOIN slate ON slate.id = pick.slate_id JOIN session ON session.id = pick.session_id
                JOIN rater ON rater.id = session.rater_id
                WHERE slate.purpose = 'curation' AND pick.outcome = 'pick' AND
                CASE kind WHEN 'proxy' THEN slate.t = ? ELSE pick.id > ? AND pick.id <= ? END AND NOT EXISTS
                (SELECT 1 FROM exclusion WHERE exclusion.t = ? AND exclusion.pick_id = pick.id) GROUP BY 1, 2, 3""",
                [t, after, until, t + 1],
            )
        )
