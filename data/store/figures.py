"""Figures of a running study, cheap however many picks there are: an answer never changes, so it is counted once."""

from collections import Counter
from threading import Lock

from data.store.picks import Picks


class Figures(Picks):
    """What the researcher's page and /metrics show of picks and the pool."""

    _tally: tuple[int, Counter[tuple[str, str, str, int]]] = (0, Counter())
    _tallying = Lock()

    def tally(self) -> list[dict]:
        """What `pick_counts` gives, at the price of the picks since the last call."""
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
        """Whether a rater could get a slate of generation t now."""
        return bool(
            self.value(
                """SELECT 1 FROM slate WHERE purpose IN ('curation', 'audit') AND t = ? AND leased_to IS NULL
                AND retired_at IS NULL LIMIT 1""",
                [t],
            )
        )
