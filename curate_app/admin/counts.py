"""Live counts of a study for the researcher's page: answers, flags, win rates, people at work.

Each answer is read once, so that a refresh costs what came since the last one, however long the log has become.
"""

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Lock, Thread
from typing import Any, Generic, TypeVar

from data.store import queries
from loop.analysis.taste import RaterTaste, read_tastes
from loop.evidence.intervals import LEVEL
from loop.evidence.people import raters_of, rates_of
from loop.evidence.schema import Evidence, WinRate
from loop.evidence.study import stored_quick_evidence
from loop.study import Study

BUDGET_S = 0.25
CHUNK = 10_000  # answers
MINUTES = 60
EFFORT = 20  # what took a second is not read anew within this many
AT_WORK_S = 120.0  # people who did something within so many seconds are at work
FIRST_S = 1.0  # that a page which opens waits for tastes
MOST_CHOICES = 50  # raters whose tastes are remembered
T = TypeVar("T")


@dataclass(frozen=True)
class PeopleCounts:
    """Counts of people.

    Attributes:
        funnel: by the step they reached.
        picked: with a pick that isn't practice.
        at_work: at work now.
        settled: of these, who have been here for two minutes.
        flagged: by flag.
    """

    funnel: dict[str, int]
    picked: int
    at_work: int
    settled: int
    flagged: dict[str, int]


@dataclass(frozen=True)
class Counts:
    """The counts at one moment.

    Attributes:
        answers: by kind of rater and outcome, such as ('human', 'pick'); any answer to a practice slate is 'practice',
            and one that was taken back 'undone'.
        minutes: people's picks in each of the last 60 minutes, the present one last.
        flags: people's answers with each flag.
        rates: of generations in audit slates.
        people: see `PeopleCounts`.
        share: of the answers that has been read, 0 .. 1.
    """

    answers: Counter[tuple[str, str]]
    minutes: list[int]
    flags: Counter[str]
    rates: list[WinRate]
    people: PeopleCounts
    share: float


class Throttled(Generic[T]):
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


class RunningCount:
    """A count that goes on from answer to answer; the newest are read first.

    Args:
        read: the counts over a range of pick ids (above the first number, up to the second), of the answers that
            stand or (with true) of those that were taken back.
    """

    def __init__(self, read: Callable[[int, int, bool], Mapping[Any, int]]):
        self._read = read
        self._low: int | None = None
        self._high = 0
        self.counts: Counter[Any] = Counter()

    @property
    def done(self) -> int:
        """The number of pick ids that have been read."""
        return self._high - (self._low or 0)

    def advance(self, last: int, deadline: float) -> None:
        """Counts on, up to the pick `last` and then down to the first, until the time (`time.monotonic`) is over."""
        if self._low is None:
            self._low = self._high = last
        while self._high < last or self._low > 0:
            if self._high < last:
                above = min(last, self._high + CHUNK)
                self.counts.update(self._read(self._high, above, False))
                self._high = above
            else:
                below = max(0, self._low - CHUNK)
                self.counts.update(self._read(below, self._low, False))
                self._low = below
            if time.monotonic() > deadline:
                return

    def take_back(self, pick_id: int) -> None:
        """Uncounts an answer that stood when it was counted and was taken back since."""
        if self._low is not None and self._low < pick_id <= self._high:
            self.counts -= Counter(self._read(pick_id - 1, pick_id, True))


class CrowdCounts:
    """All counts of one study; safe to share between the threads of its pages."""

    def __init__(self, study: Study):
        store = study.store
        self._store, self._config = store, study.config
        self._audits = bool(study.sources)
        self._lock = Lock()
        self._answers = RunningCount(partial(queries.answers_by_minute, store))
        self._wins = RunningCount(partial(queries.audit_wins, store))
        self._flags = RunningCount(partial(queries.flagged_picks, store))
        self._thresholds: Any = None
        self._undone = 0  # the last event of an undo that was followed
        self._latest = 0
        self._rates = Throttled(self.win_rates)
        self._people = Throttled(
            lambda: PeopleCounts(
                queries.funnel(store),
                queries.count_people_who_picked(store),
                queries.count_people_at_work(store, AT_WORK_S),
                queries.count_people_at_work(store, AT_WORK_S, AT_WORK_S),
                queries.flagged_sessions(store),
            )
        )

    def __call__(self, latest: int, budget_s: float = BUDGET_S) -> Counts:
        """The counts as of now, or of as many answers as can be read in the time given.

        Args:
            latest: the generation that is served.
            budget_s: seconds.
        """
        with self._lock, self._store.read():
            self._latest = latest
            deadline, last, judged = time.monotonic() + budget_s, self._store.last_pick(), self._store.status("flags")
            if judged.get("thresholds") != self._thresholds:  # then all answers are judged anew
                self._thresholds = judged.get("thresholds")
                self._flags = RunningCount(partial(queries.flagged_picks, self._store))
            flagged = judged.get("until", 0)
            for event in self._store.events(kinds=("pick_undone",), after=self._undone):
                self._undone = event["id"]
                for running in (self._answers, self._wins, self._flags):
                    running.take_back(event["detail"]["pick_id"])
            for running, until in ((self._answers, last), (self._wins, last), (self._flags, flagged)):
                running.advance(until, deadline)
            read = self._answers.done + self._wins.done + self._flags.done
            answers: Counter[tuple[str, str]] = Counter()
            for row in queries.tally(self._store):
                answers[row["kind"], "practice" if row["purpose"] == "practice" else row["outcome"]] += row["n"]
            for row in queries.undone_tally(self._store):
                answers[row["kind"], "undone"] += row["n"]
            now = datetime.now(UTC)
            hour = [f"{now - timedelta(minutes=ago):%Y-%m-%dT%H:%M}" for ago in reversed(range(MINUTES))]
            return Counts(
                answers,
                [self._answers.counts["human", "pick", minute] for minute in hour],
                self._flags.counts.copy(),
                self._rates(),
                self._people(),
                read / (2 * last + flagged) if last else 1.0,
            )

    def win_rates(self) -> list[WinRate]:
        """Win rates of the generations, from the comparisons that have been counted."""
        raters, foreign = raters_of(self._store, self._config, live=True), queries.foreign_generations(self._store)
        if self._audits:
            return rates_of(self._wins.counts, raters, self._latest, level=LEVEL, audits=True)
        return rates_of(self._wins.counts, raters, self._latest, foreign)


class LatestTastes:
    """Tastes of raters, worked out in a thread of their own whenever there are new picks: no refresh waits for them.

    Args:
        study: the study.
    """

    def __init__(self, study: Study):
        self._study = study
        self._lock = Lock()
        self._known: dict[int | None, tuple[int, float, list[RaterTaste], list[tuple[int, int]]]] = {}
        self._worker: Thread | None = None

    def __call__(self, rater: int | None = None) -> tuple[list[RaterTaste], list[tuple[int, int]]]:
        """The tastes as they were worked out last (see `read_tastes`); none before that.

        Args:
            rater: whose, by number; None for all raters together.
        """
        last = self._study.store.last_pick()
        with self._lock:
            until, not_before, tastes, raters = self._known.get(rater, (-1, 0.0, [], []))
            idle = self._worker is None or not self._worker.is_alive()
            if until != last and idle and time.monotonic() > not_before:
                self._worker = Thread(target=self._read, args=(rater, last), daemon=True)
                self._worker.start()
            worker = self._worker
        if until < 0 and worker is not None:  # a page that opens has all its parts at once, where that is quick
            worker.join(FIRST_S)
            with self._lock:
                _, _, tastes, raters = self._known.get(rater, (-1, 0.0, [], []))
        return tastes, raters

    def _read(self, rater: int | None, last: int) -> None:
        began = time.monotonic()
        try:
            tastes, raters = read_tastes(self._study.store, self._study.config, rater)
        except sqlite3.Error:  # the page says what is wrong with the database; the next refresh tries again
            return
        now = time.monotonic()
        with self._lock:
            if len(self._known) > MOST_CHOICES:
                self._known.clear()
            self._known[rater] = last, now + EFFORT * (now - began), tastes, raters


class LatestEvidence:
    """The evidence that the worker stored last, read anew only when there is something new."""

    def __init__(self, study: Study):
        self._study = study
        self._read: tuple[str | None, Evidence | None] = (None, None)

    def __call__(self) -> Evidence | None:
        """The evidence; None before the first generation, or where another version stored it."""
        at = self._study.store.status("evidence").get("at")
        if at != self._read[0]:
            self._read = (at, stored_quick_evidence(self._study))
        return self._read[1]
