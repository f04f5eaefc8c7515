"""Slates made of samples that are there already, in another order: attention, practice and repeated slates."""

from collections.abc import Sequence
from typing import Literal

from data.records import Slate, timestamp
from data.store.slates import Slates


class Checks(Slates):
    """Templates are slates that no one is ever leased; raters get copies, each with a seed of its own."""

    def template_count(self, purpose: Literal["attention", "practice"], t: int, k: int) -> int:
        """How many templates of K samples generation t has."""
        return self.value(
            "SELECT count(*) FROM slate WHERE purpose = ? AND t = ? AND k = ? AND copy_of IS NULL", [purpose, t, k]
        )

    def templates(self, purpose: Literal["attention", "practice"], session_id: str, k: int) -> list[int]:
        """Templates of K samples that a session has had no copy of yet, of the newest generation that has any."""
        return [
            row["id"]
            for row in self.rows(
                """SELECT id FROM slate WHERE purpose = :purpose AND k = :k AND copy_of IS NULL AND t =
                (SELECT max(t) FROM slate WHERE purpose = :purpose AND k = :k AND copy_of IS NULL)
                AND id NOT IN (SELECT copy_of FROM slate WHERE leased_to = :session AND copy_of IS NOT NULL)
                ORDER BY id""",
                {"purpose": purpose, "session": session_id, "k": k},
            )
        ]

    def repeatable(self, session_id: str, lag: int) -> list[int]:
        """Curation slates from which a session picked, at least `lag` answers ago, and that it saw only once."""
        return [
            row["slate_id"]
            for row in self.rows(
                """SELECT slate_id FROM pick JOIN slate ON slate.id = slate_id
                WHERE session_id = :session AND outcome = 'pick' AND purpose = 'curation' AND k IS NOT NULL
                AND pick.id <= (SELECT id FROM pick WHERE session_id = :session ORDER BY id DESC LIMIT 1 OFFSET :lag)
                AND slate_id NOT IN (SELECT copy_of FROM slate WHERE leased_to = :session AND copy_of IS NOT NULL)
                ORDER BY pick.id DESC LIMIT 50""",
                {"session": session_id, "lag": lag},
            )
        ]

    def lease_copy(self, session_id: str, of: int, order: Sequence[int], seed: int, lease_s: float) -> Slate:
        """Leases a session a slate with the samples of another one: position j shows what was at `order[j]`.

        A copy of a curation slate is an attention slate, whose right answer is what the session picked before.
        """
        with self.write() as db:
            source = self.one(
                """SELECT slate.t, purpose, k, answer, pick.position FROM slate
                LEFT JOIN pick ON pick.slate_id = slate.id WHERE slate.id = ?""",
                [of],
            )
            assert source is not None
            was = source["answer"] if source["answer"] is not None else source["position"]
            purpose = "attention" if source["purpose"] == "curation" else source["purpose"]
            (slate_id,) = self._random_ids(1)
            db.conn.execute(
                """INSERT INTO slate(
                    id, t, purpose, k, seed, created_at, leased_to, lease_until, served_at, copy_of, answer)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                [
                    slate_id,
                    source["t"],
                    purpose,
                    source["k"],
                    seed,
                    timestamp(),
                    session_id,
                    timestamp(lease_s),
                    self._serving_time(session_id),
                    of,
                    None if was is None else list(order).index(was),
                ],
            )
            db.conn.executemany(
                """INSERT INTO slate_item(slate_id, position, sample_id)
                SELECT ?, ?, sample_id FROM slate_item WHERE slate_id = ? AND position = ?""",
                [(slate_id, place, of, source_place) for place, source_place in enumerate(order)],
            )
            return self._slate(slate_id)
