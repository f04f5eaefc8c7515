"""The researcher's panels: generations, people at work, and their curves.

Counts read each pick once: a refresh costs what came since the last one.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any, Generic, TypeVar

from curate_app.assets import TEXT, render
from curate_app.plots.svg import Chart, Line, Point, number
from curate_app.rater.page import class_name
from curate_app.report.charts import BOUND, is_simulated, predictions
from curate_app.report.tables import slate_sizes
from data.measurements import CuratedCounts, Mean, Measurements
from data.records import Generation
from data.store import Store
from loop.config import FLAGS, StudyConfig
from loop.evidence.people import raters_of, rates_of
from loop.evidence.schema import Evidence, WinRate
from loop.evidence.study import stored_quick_evidence
from loop.study import Study

BUDGET_S = 0.25
CHUNK = 10_000  # picks
MINUTES = 60
EFFORT = 20  # what took a second is not read anew within this many
AT_WORK_S = 120.0  # people who did something within so many seconds are at work
T = TypeVar("T")
MEASURED = "measured, with its 95% interval"
MOVED = 0.01  # of the samples: a share that changed by less has not moved
COPYING = 0.5  # a nearest-neighbour ratio under this smells of copying
SAY = TEXT["admin"]
WIDTH, HEIGHT = 360.0, 56.0


@dataclass(frozen=True)
class People:
    """Counts of people: by the step they reached, with an answer that isn't practice, at work now, and by flag."""

    funnel: dict[str, int]
    picked: int
    at_work: int
    flagged: dict[str, int]


@dataclass(frozen=True)
class Counts:
    """The counts.

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
        """The number of pick ids that have been read."""
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


class KeptEvidence:
    """The evidence that the worker left last, read anew only when there is something new."""

    def __init__(self, study: Study):
        self._study = study
        self._read: tuple[str | None, Evidence | None] = (None, None)

    def __call__(self) -> Evidence | None:
        """The evidence; None before the first generation, or where another version left it."""
        at = self._study.store.status("evidence").get("at")
        if at != self._read[0]:
            self._read = (at, stored_quick_evidence(self._study))
        return self._read[1]


def reward_chart(
    generations: Sequence[Generation], real: Measurements, evidence: Evidence | None = None
) -> Chart | None:
    """Mean reward with its interval and predictions; None before the first measurement."""
    points = _points(generations, lambda measurements: measurements.mean_reward)
    if not points:
        return None
    a, b = points[0], points[-1]
    spoken = f"Mean reward from {number(a.value, 3)} at generation {a.t} to {number(b.value, 3)} at generation {b.t}."
    ahead = predictions(evidence.generations, lambda law: law.mean_reward) if evidence else []
    lines = [Line("generator", points, loud=True, legend=MEASURED if ahead else ""), *ahead]
    return Chart("mean reward", spoken, lines, real.mean_reward.value if real.mean_reward else None, "real data")


def weight_chart(generations: Sequence[Generation], real: Measurements, evidence: Evidence | None) -> Chart | None:
    """E[w] with its predictions and floors; None where nothing was predicted, as of people's picks."""
    points = _points(generations, lambda measurements: measurements.mean_w)
    if (
        not points
        or evidence is None
        or not is_simulated(evidence)
        or not any(g.predicted for g in evidence.generations)
    ):
        return None
    names = sorted({name for one in evidence.generations for name in one.floors})
    floors = [
        Line(
            name,
            [Point(g.t, g.floors[name]) for g in evidence.generations if name in g.floors],
            look="bound",
            legend=BOUND,
        )
        for name in names
    ]
    ahead = predictions(evidence.generations, lambda law: law.mean_w)
    lines = [Line("generator", points, loud=True, legend=MEASURED), *ahead, *floors]
    spoken = f"E[w], w = exp(r), is {number(points[-1].value)} at generation {points[-1].t}."
    return Chart("E[w]", spoken, lines, real.mean_w.value if real.mean_w else None, "real data")


def shares_chart(
    generations: Sequence[Generation], real: Measurements, evidence: Evidence | None = None
) -> Chart | None:
    """The share of every class; the one that moved most is loud, and the real data's share of it is the reference."""
    measured = [generation for generation in generations if generation.measurements.class_shares]
    if not measured:
        return None
    first, last = measured[0].measurements.class_shares, measured[-1].measurements.class_shares
    classes = range(min(len(generation.measurements.class_shares) for generation in measured))
    moved = max(classes, key=lambda label: abs(last[label] - first[label]))
    ahead = predictions(evidence.generations, lambda law: law.class_shares[moved]) if evidence else []
    lines = [
        Line(
            class_name(measured[-1], label),
            [Point(generation.t, generation.measurements.class_shares[label]) for generation in measured],
            loud=label == moved,
            legend="measured" if ahead and label == moved else "",
        )
        for label in classes
    ]
    name, shares = class_name(measured[-1], moved), real.class_shares
    spoken = f"Share of class {name} moved most: from {first[moved]:.0%} to {last[moved]:.0%} of the samples."
    if abs(last[moved] - first[moved]) < MOVED:
        spoken = "The share of no class has moved by a percentage point."
    reference = shares[moved] if moved < len(shares) else None
    return Chart("share of samples", spoken, [*lines, *ahead], reference, f"{name}, real", "{:.0%}".format, floor=0.0)


def _points(generations: Sequence[Generation], mean: Callable[[Measurements], Mean | None]) -> list[Point]:
    return [
        Point(generation.t, found.value, found.se)
        for generation in generations
        if (found := mean(generation.measurements))
    ]


def timeline(generations: Sequence[Generation], rates: Sequence[WinRate]) -> str:
    """A row per generation, newest first: when it was published, from how many picks, in what time, and who wins."""
    won = {(rate.t, rate.against): rate for rate in rates}
    rows = [_row(generation, won) for generation in reversed(generations)]
    return render("admin_timeline.html", text=SAY, rows=rows, notes=_notes(rates))


def _notes(rates: Sequence[WinRate]) -> list[str]:
    """Notes on the rates; nothing where there are none."""
    larger = [rate for rate in rates if rate.indifference is None]
    found = [SAY["rates_note"]] if rates else []
    found += [SAY["rates_larger"].format(sizes=slate_sizes(larger))] if larger else []
    return [*found, *sorted({rate.reason for rate in rates if rate.reason and rate not in larger})]


def sheets(generations: Sequence[Generation]) -> str:
    """The sample grids, newest first."""
    return render("admin_sheets.html", text=SAY, sheets=[_sheet(generation) for generation in reversed(generations)])


def _row(generation: Generation, won: dict[tuple[int, int], WinRate]) -> dict[str, Any]:
    t, seconds = generation.t, generation.measurements.seconds
    published = generation.published_at
    return {
        "t": t,
        "at": published,
        "day": f"{datetime.fromisoformat(published):%-d %b}" if published else "–",
        "time": published[11:16],
        "picks": _curated(generation) if t else "–",
        "train": span(seconds.train if seconds else None),
        "evaluate": span(seconds.evaluate if seconds else None),
        "parent": _rate(won.get((t, t - 1))),
        "first": _rate(won.get((t, 0))),
    }


def _rate(rate: WinRate | None) -> dict[str, Any] | None:
    if rate is None:
        return None
    one, other = rate.rate, rate.other
    return {
        "value": f"{one.value:.0%}",
        "interval": SAY["interval"].format(low=f"{one.low:.0%}", high=f"{one.high:.0%}"),
        "from": SAY["compared_under_way" if rate.under_way else "compared"].format(
            n=f"{rate.n:,}", raters=f"{rate.raters:,}", under_way=f"{rate.under_way:,}"
        ),
        "other": other and SAY["fixed_interval"].format(low=f"{other.low:.0%}", high=f"{other.high:.0%}"),
        "side": {"holds": "wins", "fails": "loses"}.get(rate.verdict, ""),
    }


def span(seconds: float | None) -> str:
    """Seconds as people say them."""
    if seconds is None:
        return "–"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _sheet(generation: Generation) -> dict[str, Any]:
    measurements = generation.measurements
    ratio = measurements.nn_ratio
    return {
        "t": generation.t,
        "image": measurements.grid_sha256,
        "points": measurements.grid_columns is None,
        "facts": [
            (SAY["fact_real"], f"{generation.n_real:,}"),
            (SAY["fact_curated"], _curated(generation)),
            (SAY["fact_policy"], generation.policy),
            (SAY["fact_ratio"], "–" if ratio is None else f"{ratio:.2f}"),
        ],
        "copying": ratio is not None and ratio < COPYING,
    }


def _curated(generation: Generation) -> str:
    curated = generation.measurements.curated or CuratedCounts()
    kinds = [f"{n:,} {word}" for kind, word in SAY["kinds"].items() if (n := curated.of_kind(kind))]
    return " + ".join(kinds) or f"{generation.n_curated:,}"


def crowd_panel(config: StudyConfig, counts: Counts, alarmed: Sequence[str]) -> str:
    """The panel as HTML, with the flags whose rate has jumped; empty where no person ever came."""
    funnel = counts.people.funnel
    if not funnel["arrived"]:
        return ""
    return render(
        "admin_crowd.html",
        text=SAY,
        pace=_pace(counts.minutes),
        stages=stages(config, funnel, counts.people.picked),
        exits=[(SAY["exits"][name], funnel[name]) for name in ("declined", "failed", "withdrawn") if funnel[name]],
        flags=_flags(config, counts, alarmed),
        rule=_rule(config),
    )


def stages(config: StudyConfig, funnel: Mapping[str, int], picked: int) -> list[dict[str, Any]]:
    """The steps that this study has, in order, with how many people did each and their share of those who came."""
    journey = config.journey
    found = [
        ("arrived", funnel["arrived"], True),
        ("consented", funnel["consented"], journey.consent),
        ("instructed", funnel["instructed"], journey.instructions),
        ("understood", funnel["understood"], journey.question),
        ("picked", picked, True),
        ("closed", funnel["closed"], journey.closing),
        ("finished", funnel["finished"], journey.picks),
    ]
    arrived = max(1, funnel["arrived"])
    return [{"name": SAY["stages"][name], "n": n, "share": n / arrived} for name, n, is_there in found if is_there]


def alarms(store: Store, alarmed: Sequence[str]) -> list[str]:
    """A sentence for each flag whose rate has jumped and hasn't come down since."""
    if not alarmed:
        return []
    events = store.events(kinds=("flag_rate_jumped",), newest=50)
    latest = {event["detail"]["flag"]: event["detail"] for event in events}
    return [
        SAY["alarm"].format(
            flag=SAY["flags"][flag], rate=f"{latest[flag]['rate']:.0%}", before=f"{latest[flag]['before']:.0%}"
        )
        for flag in alarmed
        if flag in latest
    ]


def _pace(minutes: list[int]) -> dict[str, Any]:
    """Bars of the last hour; the present minute, which isn't over, is told apart."""
    top, step = max([*minutes, 1]), WIDTH / len(minutes)
    return {
        "last": minutes[-2],
        "hour": sum(minutes),
        "top": max(minutes),
        "width": WIDTH,
        "height": HEIGHT,
        "step": round(step - 1.2, 2),
        "bars": [
            {"x": round(i * step, 2), "y": round(HEIGHT * (1 - n / top), 2), "h": round(HEIGHT * n / top, 2)}
            for i, n in enumerate(minutes)
        ],
    }


def _flags(config: StudyConfig, counts: Counts, alarmed: Sequence[str]) -> list[dict[str, Any]]:
    leaves_out = {*config.quality.exclude_picks, *config.quality.exclude_raters}
    return [
        {
            "name": SAY["flags"][flag],
            "picks": counts.flags[flag] if flag != "one_position" else None,
            "sessions": counts.people.flagged.get(flag, 0),
            "alarmed": flag in alarmed,
            "left_out": flag in leaves_out,
        }
        for flag in FLAGS
    ]


def _rule(config: StudyConfig) -> str:
    quality = config.quality
    if not quality.excludes:
        return SAY["rule_none"]
    parts = [
        SAY[key].format(flags=", ".join(SAY["flags"][flag] for flag in flags))
        for key, flags in (("rule_picks", quality.exclude_picks), ("rule_raters", quality.exclude_raters))
        if flags
    ]
    return SAY["rule"].format(parts=SAY["and"].join(parts))
