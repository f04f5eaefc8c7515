"""Counts for the researcher's page that read each pick once: a refresh costs what came since the last one.

A page that opens on a million picks counts for a moment at each refresh until it has caught up, and says how far it is.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any, Generic, TypeVar

from loop.evidence.people import raters_of, rates_of
from loop.evidence.schema import WinRate
from loop.study import Study

BUDGET_S = 0.25
CHUNK = 10_000  # picks
MINUTES = 60
EFFORT = 20  # what took a second is not read anew within this many
AT_WORK_S = 120.0  # people who did something within so many seconds are at work
T = TypeVar("T")


@dataclass(frozen=True)
class People:
    """How far people came, how many did an answer that isn't practice, are at work now, and are flagged, by flag."""

    funnel: dict[str, int]
    picked: int
    at_work: int
    flagged: dict[str, int]


@dataclass(frozen=True)
class Counts:
    """What was counted.

    Attributes:
        kinds: answers by kind of rater.
        minutes: people's answers in each of the last 60 minutes, the present one last.
        flags: people's answers with each flag.
        rates: of generations in audit slates.
        people: see `People`.
        share: of the picks that has been read, 0 .. 1.
    """

    kinds: Counter[str]
    minutes: list[int]
    flags: Counter[str]
    rates: list[WinRate]
    people: People
    share: float


class Seldom(Generic[T]):
    """A value that is read anew only as often as that is cheap."""

    def __init__(self, read: Callable[[], T]):
        self._read = read
        self._value: T | None = None
        self._until = 0.0

    def __call__(self) -> T:
        """The value, at most `EFFORT` times as old as it took to read."""
        began = time.monotonic()
        if self._value is None or began > self._until:
            self._value = self._read()
            now = time.monotonic()
            self._until = now + EFFORT * (now - began)
        return self._value


class Running:
    """One count, kept up from pick to pick; the newest picks are read first.

    Args:
        read: the counts over a range of pick ids (above the first number, up to the second).
    """

    def __init__(self, read: Callable[[int, int], Mapping[Any, int]]):
        self._read = read
        self._low: int | None = None
        self._high = 0
        self.counts: Counter[Any] = Counter()

    @property
    def done(self) -> int:
        """How many pick ids have been read."""
        return self._high - (self._low or 0)

    def advance(self, last: int, deadline: float) -> None:
        """Counts on, up to the pick `last` and then down to the first, until the time (`time.monotonic`) is over."""
        if self._low is None:
            self._low = self._high = last
        while self._high < last or self._low > 0:
            if self._high < last:
                above = min(last, self._high + CHUNK)
                self.counts.update(self._read(self._high, above))
                self._high = above
            else:
                below = max(0, self._low - CHUNK)
                self.counts.update(self._read(below, self._low))
                self._low = below
            if time.monotonic() > deadline:
                return


class CrowdCounts:
    """All counts of one study; safe to share between the threads of its pages."""

    def __init__(self, study: Study):
        store = study.store
        self._store, self._config = store, study.config
        self._lock = Lock()
        self._picks = Running(store.picks_by_minute)
        self._wins = Running(store.audit_wins)
        self._flags = Running(store.flagged_picks)
        self._thresholds: Any = None
        self._latest = 0
        self._rates = Seldom(self._read_rates)
        self._people = Seldom(self._read_people)

    def __call__(self, latest: int, budget_s: float = BUDGET_S) -> Counts:
        """The counts as of now, or of as many picks as can be read in the time given.

        Args:
            latest: the generation that is served.
            budget_s: seconds.
        """
        with self._lock:
            self._latest = latest
            deadline, last = time.monotonic() + budget_s, self._store.last_pick()
            flagged = self._flagged_until()
            for running, until in ((self._picks, last), (self._wins, last), (self._flags, flagged)):
                running.advance(until, deadline)
            read = self._picks.done + self._wins.done + self._flags.done
            kinds: Counter[str] = Counter()
            for (kind, _), n in self._picks.counts.items():
                kinds[kind] += n
            share = read / (2 * last + flagged) if last else 1.0
            return Counts(kinds, self._minutes(), self._flags.counts.copy(), self._rates(), self._people(), share)

    def _flagged_until(self) -> int:
        """The last pick that was judged; other thresholds mean that all are judged anew."""
        kept = self._store.status("flags")
        if kept.get("thresholds") != self._thresholds:
            self._thresholds, self._flags = kept.get("thresholds"), Running(self._store.flagged_picks)
        return kept.get("until", 0)

    def _minutes(self) -> list[int]:
        now = datetime.now(UTC)
        names = [f"{now - timedelta(minutes=ago):%Y-%m-%dT%H:%M}" for ago in reversed(range(MINUTES))]
        return [self._picks.counts["human", name] for name in names]

    def _read_rates(self) -> list[WinRate]:
        raters, foreign = raters_of(self._store, self._config, live=True), self._store.foreign_generations()
        return rates_of(self._wins.counts, raters, self._latest, foreign)

    def _read_people(self) -> People:
        store = self._store
        return People(
            store.funnel(), store.people_who_picked(), store.people_at_work(AT_WORK_S), store.flagged_sessions()
        )
