"""What can be said where the reward is people's own: their choices between generations in audit slates.

The raters whose choices count are those who have finished, so that neither a look in the middle of someone's session
nor the moment of the report weighs on the rate. Intervals are always valid, or for a number of raters set in advance.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from data.store import Store
from loop.config import StudyConfig
from loop.evidence.budget import WIN_RATES, comparisons, error_level
from loop.evidence.confidence_sequence import always_valid
from loop.evidence.schema import Estimate, IntervalKind, WinRate, side_of

Wins = Mapping[tuple[str, int, int, int, int], int]
PLAIN = 0.05  # error level of intervals that are shown
DISSENT = 0.25  # raters of the greatest disagreement that are counted beside the real ones in their variance


@dataclass(frozen=True)
class Raters:
    """The raters whose choices count at a moment, and by which intervals.

    Attributes:
        sessions: of the raters who count, none that withdrew.
        ids: of these raters.
        under_way: sessions of people who have neither finished nor left.
        finished: raters who finished.
        last: the last generation, where it was set before the first pick (`stop.generations`); else 0.
        planned: raters that were set before the first pick (`stop.raters`); 0 where the number was left open.
        kind: of the intervals. 'fixed n' where all planned ones have finished; then they alone count.
    """

    sessions: frozenset[str]
    ids: frozenset[int]
    under_way: frozenset[str] = frozenset()
    finished: int = 0
    last: int = 0
    planned: int = 0
    kind: IntervalKind = "always valid"

    @property
    def waiting(self) -> str:
        """Why there can't be a verdict yet: the planned number hasn't finished. Empty where there can be one."""
        if not self.planned or self.finished >= self.planned:
            return ""
        return f"{self.finished:,} of the {self.planned:,} raters that were set in advance have finished."


def raters_of(store: Store, config: StudyConfig, live: bool = False) -> Raters:
    """The raters who count now.

    A rater counts from the end of the last session on: when it finished, or when nothing was heard of it for longer
    than a lease (`pool.lease_s`). What [stop] says was set in advance where generation 0 was published with the same.

    Args:
        store: the study's.
        config: the study's settings now.
        live: intervals stay always valid, for a page that is watched.
    """
    first = store.generation(0)
    at_first = (first.config.get("stop") or {}) if first else {}
    planned, last = (n if at_first.get(key) == n else 0 for key, n in config.stop)
    rows = store.human_sessions(config.pool.lease_s)
    under_way = {row["rater"] for row in rows if not row["ended"]}
    times = {row["rater"]: row["finished_at"] for row in rows if row["finished_at"]}
    finished = sorted(times, key=lambda rater: times[rater])
    fixed = not live and 0 < planned <= len(finished)
    ids = set(finished[:planned]) if fixed else {row["rater"] for row in rows} - under_way
    return Raters(
        sessions=frozenset(row["session"] for row in rows if row["rater"] in ids),
        ids=frozenset(ids),
        under_way=frozenset(row["session"] for row in rows if not row["ended"]),
        finished=len(finished),
        last=last,
        planned=planned,
        kind="fixed n" if fixed else "always valid",
    )


def win_rates(store: Store, config: StudyConfig, latest: int, level: float = WIN_RATES) -> list[WinRate]:
    """Win rate of each generation against generation 0 and against the one before, from people's audit picks.

    Every picked sample is compared with each unpicked one of another generation in its slate. Withdrawn sessions don't
    count. In a replay, nobody compared those generations that another study's log stands for.

    Args:
        store: the study's.
        config: the study's.
        latest: the latest generation.
        level: of error that all win rates share.
    """
    wins, raters = store.audit_wins(0, store.last_pick()), raters_of(store, config)
    return rates_of(wins, raters, latest, store.foreign_generations(), level)


def rates_of(
    wins: Wins,
    raters: Raters,
    latest: int,
    foreign: Collection[int] = (),
    level: float = WIN_RATES,
) -> list[WinRate]:
    """Win rates from counts by (session, rater, K, t that won, t that lost), as `Store.audit_wins` gives them.

    Args:
        wins: all counts.
        raters: those who count.
        latest: the latest generation.
        foreign: generations that are left out: the samples were another's.
        level: of error that all win rates share.
    """
    known = raters.sessions | raters.under_way
    counts = [
        (rater, k, won, lost, n, session in raters.sessions)
        for (session, rater, k, won, lost), n in wins.items()
        if session in known
    ]
    rows = np.array(counts, dtype=np.int64).reshape(-1, 6)
    found = (_rate(rows, raters, t, s, error_level(t, s, level, raters.last)) for t, s in comparisons(latest, foreign))
    return [rate for rate in found if rate]


def _rate(rows: np.ndarray, raters: Raters, t: int, against: int, level: float) -> WinRate | None:
    rows = rows[((rows[:, 2] == t) & (rows[:, 3] == against)) | ((rows[:, 2] == against) & (rows[:, 3] == t))]
    finished = rows[:, 5] == 1
    under_way, rows = len(np.unique(rows[~finished, 0])), rows[finished]
    if not len(rows):
        return None
    if (rows[:, 1] == 2).any():
        rows = rows[rows[:, 1] == 2]
    sizes = np.unique(rows[:, 1]).tolist()
    ids, place = np.unique(rows[:, 0], return_inverse=True)
    won = np.bincount(place, rows[:, 4] * (rows[:, 2] == t), len(ids))
    all_ = np.bincount(place, rows[:, 4], len(ids))
    other: IntervalKind = "fixed n" if raters.kind == "always valid" else "always valid"
    corrected = mean_share(won, all_, raters.kind, level)
    reason = raters.waiting
    if sizes != [2]:
        reason = "In slates of more than two a rate of 0.5 isn't indifference, so it has no line to be held against."
    return WinRate(
        t=t,
        against=against,
        n=int(all_.sum()),
        raters=len(ids),
        under_way=under_way,
        slate_sizes=sizes,
        estimand=estimand(sizes),
        indifference=0.5 if sizes == [2] else None,
        rate=mean_share(won, all_, raters.kind),
        interval_kind=raters.kind,
        other=mean_share(won, all_, other),
        corrected=corrected,
        level=level,
        verdict="can't tell" if reason else side_of(corrected, 0.5),
        reason=reason,
    )


def estimand(sizes: Collection[int]) -> str:
    """What a win rate in slates of these sizes is the mean of, in words."""
    if set(sizes) == {2}:
        return "mean over raters of each one's share of pairs won"
    between = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
    return f"mean over raters of each one's share of picked-against-unpicked pairs won, in slates of {between}"


def mean_share(won: np.ndarray, all_: np.ndarray, kind: IntervalKind, level: float = PLAIN) -> Estimate:
    """The mean over raters of each one's share of comparisons won, with an interval of a kind.

    Args:
        won: (raters,) comparisons won; they may be 0.
        all_: (raters,) comparisons, each at least 1.
        kind: of interval.
        level: of error.
    """
    fixed = clustered_share(won, all_, level)
    if kind == "fixed n" or len(won) < 2:
        return fixed
    low, high = always_valid(won / all_, level)
    return fixed.model_copy(update={"low": low, "high": high})


def clustered_share(won: np.ndarray, all_: np.ndarray, level: float = PLAIN) -> Estimate:
    """The mean over raters of each one's share of comparisons won, with an interval for this number of raters.

    Wilson's interval for as many independent comparisons as would have the same variance (the idea of Korn and
    Graubard, Survey Methodology 24:193, 1998), with Student's t because few raters estimate that variance badly. A
    quarter of a rater more, who disagrees with the others as much as anyone can, is counted in the variance: without
    it the interval covered 85 to 92 % where a few raters stray from many who agree. Where raters agree entirely, each
    counts once; one rater alone says nothing of others, so the interval is all. benchmarks/win_rates.py has coverages.

    Args:
        won: (raters,) comparisons won; they may be 0.
        all_: (raters,) comparisons, each at least 1.
        level: of error, 0.05 for a 95 % interval.
    """
    shares, raters = won / all_, len(won)
    value = float(shares.mean())
    if raters < 2:
        return Estimate(value=value, se=0.5, low=0.0, high=1.0)
    spread = value * (1 - value)
    squares = float(((shares - value) ** 2).sum()) + DISSENT * spread
    variance = squares / (raters - 1 + DISSENT) / raters
    independent = min(float(all_.sum()), spread / variance) if variance else float(raters)
    quantile = float(stdtrit(raters - 1, 1 - level / 2))
    ratio = quantile**2 / independent
    centre = (value + ratio / 2) / (1 + ratio)
    half = math.sqrt(ratio * (spread + ratio / 4)) / (1 + ratio)
    return Estimate(value=value, se=half / quantile, low=max(0.0, centre - half), high=min(1.0, centre + half))
