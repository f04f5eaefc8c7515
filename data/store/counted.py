"""Counts that every request wants, kept up from pick to pick: counting anew reads every pick since the cut."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock

from data.records import Rule
from data.store.flags import Flags
from data.store.picks import Picks

EFFORT = 50  # a full count that took a second is not repeated within this many


@dataclass(frozen=True, slots=True)
class _Count:
    cut: int
    rule: Rule
    until: int
    n: int
    counted_at: float
    took_s: float


class Counted(Picks, Flags):
    """Picks toward the next generation; exact to another process's withdrawals and flags of a moment ago."""

    _count: _Count | None = None
    _counting = Lock()

    def curation_picks_since(self, cut: int, rule: Rule) -> int:
        """What `count_curation_picks(after=cut, rule=rule)` gives, at the price of the picks since the last call.

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

    def _count_anew(self, cut: int, rule: Rule, last: int) -> int:
        began = time.monotonic()
        n = self.count_curation_picks(after=cut, until=last, rule=rule)
        if not self.db.conn.in_transaction:
            now = time.monotonic()
            self._count = _Count(cut, rule, last, n, now, now - began)
        return n
