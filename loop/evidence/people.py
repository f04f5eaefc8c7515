"""People's verdicts on the generations: win rates in audit slates, and gains of the utilities fitted to their picks.

`raters_of` says whose choices count at a moment. A win rate is a mean over raters; a gain is a difference of fitted
utilities. Both have intervals that are right at every look, or once, after a number of raters that was set in advance.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from data.records import PURPOSES, Evaluated
from data.store import Store, queries
from loop.analysis.design import NotIdentifiedError, class_name
from loop.analysis.log import AnswerFilter, Log, Slates, read_log
from loop.analysis.logit import Fit, fit
from loop.config import StudyConfig
from loop.evidence.intervals import (
    LEVEL,
    UTILITY_GAINS,
    WIN_RATES,
    all_pairs,
    always_valid,
    comparisons,
    error_level,
    reach_of_asymptotic,
)
from loop.evidence.schema import Estimate, IntervalKind, Ranked, UtilityGain, WinRate, side_of

Wins = Mapping[tuple[str, int, int, int, int], int]
PLAIN = 0.05  # error level of intervals that are shown
DISSENT = 0.25  # raters of the greatest disagreement that are counted beside the real ones in their variance
RARE = 0.01  # share of a generation's samples that may be of classes which nobody was shown


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
    rows = queries.human_sessions(store, config.pool.lease_s)
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
    count. In a replay, nobody compared those generations that another study's log stands for. In an audit of several
    studies, any two generations are compared, and no other verdicts share the error.

    Args:
        store: the study's.
        config: the study's.
        latest: the latest generation.
        level: of error that all win rates share.
    """
    wins, raters = queries.audit_wins(store, 0, store.last_pick()), raters_of(store, config)
    if store.status("audit"):
        return rates_of(wins, raters, latest, level=LEVEL, audits=True)
    return rates_of(wins, raters, latest, queries.foreign_generations(store), level)


def rates_of(
    wins: Wins,
    raters: Raters,
    latest: int,
    foreign: Collection[int] = (),
    level: float = WIN_RATES,
    *,
    audits: bool = False,
) -> list[WinRate]:
    """Win rates from counts by (session, rater, K, t that won, t that lost), as `queries.audit_wins` gives them.

    Args:
        wins: all counts.
        raters: those who count.
        latest: the latest generation.
        foreign: generations that are left out: the samples were another's.
        level: of error that all win rates share.
        audits: any two generations are compared, at equal shares of the level (Bonferroni).
    """
    known = raters.sessions | raters.under_way
    counts = [
        (rater, k, won, lost, n, session in raters.sessions)
        for (session, rater, k, won, lost), n in wins.items()
        if session in known
    ]
    rows = np.array(counts, dtype=np.int64).reshape(-1, 6)
    pairs = all_pairs(latest) if audits else comparisons(latest, foreign)
    rates = (
        win_rate(
            rows, raters, t, against, level / len(pairs) if audits else error_level(t, against, level, raters.last)
        )
        for t, against in pairs
    )
    return [rate for rate in rates if rate]


def ranking(rates: Sequence[WinRate], n: int) -> list[Ranked]:
    """The n generations of an audit by their mean win rate against the others, the highest first; unknown ones last.

    Args:
        rates: of pairs of them, each once.
        n: generations.
    """
    ranked = []
    for t in range(n):
        own = [rate for rate in rates if t in (rate.t, rate.against)]
        shares = [rate.rate.value if rate.t == t else 1 - rate.rate.value for rate in own]
        others = [rate.against if rate.t == t else rate.t for rate in own]
        words = [(rate.verdict, "holds" if rate.t == t else "fails") for rate in own]
        over = [other for other, (word, better) in zip(others, words, strict=True) if word == better]
        under = [
            other
            for other, (word, better) in zip(others, words, strict=True)
            if word in ("holds", "fails") and word != better
        ]
        best = "holds" if len(over) == n - 1 else "fails" if under else "can't tell"
        mean = sum(shares) / len(shares) if len(shares) == n - 1 else None
        ranked.append(Ranked(t=t, mean_rate=mean, preferred_to=over, less_than=under, best=best))
    return sorted(ranked, key=lambda row: (row.mean_rate is None, -(row.mean_rate or 0.0)))


def win_rate(rows: np.ndarray, raters: Raters, t: int, against: int, level: float) -> WinRate | None:
    """The win rate of generation t against another; None where nobody who has finished compared them.

    Args:
        rows: (m, 6) whole numbers: rater, K, t that won, t that lost, comparisons, 1 for raters who count.
        raters: those who count.
        t: the generation.
        against: the other.
        level: of error of the corrected interval.
    """
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
    compared = np.bincount(place, rows[:, 4], len(ids))
    other: IntervalKind = "fixed n" if raters.kind == "always valid" else "always valid"
    corrected = mean_share(won, compared, raters.kind, level)
    reason = raters.waiting
    if sizes != [2]:
        reason = "In slates of more than two a rate of 0.5 isn't indifference, so it has no line to be held against."
    return WinRate(
        t=t,
        against=against,
        n=int(compared.sum()),
        raters=len(ids),
        under_way=under_way,
        slate_sizes=sizes,
        estimand=estimand(sizes),
        indifference=0.5 if sizes == [2] else None,
        rate=mean_share(won, compared, raters.kind),
        interval_kind=raters.kind,
        other=mean_share(won, compared, other),
        corrected=corrected,
        level=level,
        verdict="can't tell" if reason else side_of(corrected, 0.5),
        reason=reason,
    )


def estimand(sizes: Collection[int]) -> str:
    """The estimand of a win rate in slates of these sizes, in words."""
    if set(sizes) == {2}:
        return "mean over raters of each one's share of pairs won"
    between = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
    return f"mean over raters of each one's share of picked-against-unpicked pairs won, in slates of {between}"


def mean_share(won: np.ndarray, compared: np.ndarray, kind: IntervalKind, level: float = PLAIN) -> Estimate:
    """The mean over raters of each one's share of comparisons won, with an interval of a kind.

    Args:
        won: (raters,) comparisons won; they may be 0.
        compared: (raters,) comparisons, each at least 1.
        kind: of interval.
        level: of error.
    """
    fixed = clustered_share(won, compared, level)
    if kind == "fixed n" or len(won) < 2:
        return fixed
    low, high = always_valid(won / compared, level)
    return fixed.model_copy(update={"low": low, "high": high})


def clustered_share(won: np.ndarray, compared: np.ndarray, level: float = PLAIN) -> Estimate:
    """The mean over raters of each one's share of comparisons won, with an interval for this number of raters.

    Wilson's interval for as many independent comparisons as would have the same variance (the idea of Korn and
    Graubard, Survey Methodology 24:193, 1998), with Student's t because few raters estimate that variance badly. A
    quarter of a rater more, who disagrees with the others as much as anyone can, is counted in the variance: without
    it the interval covered 85 to 92% where a few raters stray from many who agree. Where raters agree entirely, each
    counts once; one rater alone says nothing of others, so the interval is all. benchmarks/win_rates.py has coverages.

    Args:
        won: (raters,) comparisons won; they may be 0.
        compared: (raters,) comparisons, each at least 1.
        level: of error, 0.05 for a 95% interval.
    """
    shares, raters = won / compared, len(won)
    value = float(shares.mean())
    if raters < 2:
        return Estimate(value=value, se=0.5, low=0.0, high=1.0)
    spread = value * (1 - value)
    squares = float(((shares - value) ** 2).sum()) + DISSENT * spread
    variance = squares / (raters - 1 + DISSENT) / raters
    independent = min(float(compared.sum()), spread / variance) if variance else float(raters)
    quantile = float(stdtrit(raters - 1, 1 - level / 2))
    ratio = quantile**2 / independent
    centre = (value + ratio / 2) / (1 + ratio)
    half = math.sqrt(ratio * (spread + ratio / 4)) / (1 + ratio)
    return Estimate(value=value, se=half / quantile, low=max(0.0, centre - half), high=min(1.0, centre + half))


class UnknownGainError(ValueError):
    """The reason for which a gain can't be known, in a sentence."""


def utility_gains(
    store: Store,
    config: StudyConfig,
    evaluations: Sequence[Evaluated],
    class_names: Sequence[str],
    level: float = UTILITY_GAINS,
) -> list[UtilityGain]:
    """The gain of each generation over generation 0 and over the one before, by people's utilities of classes.

    Generation t is judged by picks that didn't train it: those in audit slates, and curation picks from samples of t
    or later. Picks that trained it would flatter it, because it learned their errors too. Raters count when they have
    finished, as in win rates; withdrawn sessions don't.

    Args:
        store: holds the picks.
        config: the study's.
        evaluations: the samples of generations 0, 1, ...
        class_names: by label, for messages.
        level: of error that all gains share.

    Returns:
        Nothing where nobody picked.
    """
    log, raters = read_log(store, AnswerFilter()), raters_of(store, config)
    if not len(log.slates) or len(evaluations) < 2:
        return []
    labels = [samples.labels for samples in evaluations]
    return [gain for t in range(1, len(labels)) for gain in gains_of(log, raters, labels, t, class_names, level)]


def gains_of(
    log: Log, raters: Raters, evaluated: Sequence[np.ndarray], t: int, names: Sequence[str], level: float
) -> Iterator[UtilityGain]:
    """The gains of generation t over generation 0 and over the one before.

    Args:
        log: people's picks.
        raters: those who count.
        evaluated: (n,) classes of the samples of generations 0, 1, ...
        t: the generation, from 1.
        names: of classes, for messages.
        level: of error that the gains of all generations share.
    """
    fresh = (log.answers["purpose"] == PURPOSES.index("audit")) | (log.answers["t"] >= t)
    slates, rows = log.slates.subset(fresh & np.isin(log.slates.raters, sorted(raters.ids)))
    labels, people = log.items["label"][rows], len(np.unique(slates.raters))
    shown: IntervalKind = "fixed n" if raters.kind == "fixed n" else "always valid in large numbers"
    other: IntervalKind = "always valid in large numbers" if raters.kind == "fixed n" else "fixed n"
    for against in sorted({0, t - 1}):
        share, gain, reason = error_level(t, against, level, raters.last), None, raters.waiting
        try:
            gain = fitted_gain(slates, labels, evaluated[t], evaluated[against], names)
        except UnknownGainError as error:
            reason = str(error)
        corrected = gain and with_reach(gain, people, shown, share)
        yield UtilityGain(
            t=t,
            against=against,
            n=len(slates),
            raters=people,
            gain=gain and with_reach(gain, people, shown),
            interval_kind=shown,
            other=gain and with_reach(gain, people, other),
            corrected=corrected,
            level=share,
            verdict=side_of(corrected, 0.0) if corrected and not reason else "can't tell",
            reason=reason,
        )


def with_reach(gain: Estimate, raters: int, kind: IntervalKind, level: float = PLAIN) -> Estimate:
    """An estimate over raters with the interval of a kind, at an error level."""
    fixed = float(stdtrit(raters - 1, 1 - level / 2))
    half = (fixed if kind == "fixed n" else reach_of_asymptotic(raters, level)) * gain.se
    return Estimate(value=gain.value, se=gain.se, low=gain.value - half, high=gain.value + half)


def fitted_gain(
    slates: Slates, labels: np.ndarray, now: np.ndarray, before: np.ndarray, names: Sequence[str] = ()
) -> Estimate:
    """The mean fitted utility of some samples less that of others, with a 95% interval for this number of raters.

    The error is that of the utilities (delta method; clustered by rater, or taking picks as independent where that is
    larger, as it may be with few raters) and that of the samples, with Student's t for the number of raters.

    Args:
        slates: n picks.
        labels: (rows,) classes of the samples in them.
        now: (m,) classes of one generation's samples.
        before: (m',) classes of the other's.
        names: of classes, for messages.

    Raises:
        UnknownGainError: there is no telling, and why.
    """
    classes, utilities = fit_classes(slates, labels)
    shares, errors = zip(*(class_shares(samples, classes, names) for samples in (now, before)), strict=True)
    weights = (shares[0] - shares[1])[1:]
    value = float(weights @ utilities.coefficients)
    variance = float(utilities.se_of(weights[None])[0]) ** 2
    worth = np.concatenate([[0.0], utilities.coefficients])
    variance += sum(float(worth @ matrix @ worth) for matrix in errors)
    return with_reach(Estimate.of(value, math.sqrt(variance)), utilities.raters, "fixed n")


def fit_classes(slates: Slates, labels: np.ndarray) -> tuple[np.ndarray, Fit]:
    """The classes, the one that is shown most first, and the utilities of the others relative to it.

    Args:
        slates: n picks.
        labels: (rows,) classes of the samples in them.

    Raises:
        UnknownGainError: the picks don't determine the utilities.
    """
    raters = len(np.unique(slates.raters))
    if raters < 2:
        who = "one person" if raters else "nobody"
        raise UnknownGainError(f"Apart from picks that trained it, {who} picked; a gain needs at least two people.")
    if (labels < 0).any():
        raise UnknownGainError("The samples have no classes that utilities could be fitted to.")
    shown, counts = np.unique(labels, return_counts=True)
    if len(shown) < 2:
        raise UnknownGainError("All samples in the picks that did not train it are of one class.")
    classes = shown[np.argsort(-counts, kind="stable")]
    columns = (labels[:, None] == classes[1:]).astype(float)
    try:
        return classes, fit(slates, columns, [str(label) for label in classes[1:]])
    except (NotIdentifiedError, np.linalg.LinAlgError):
        raise UnknownGainError(
            f"The {len(slates):,} picks that did not train it don't determine the utilities of {len(classes)} classes: "
            "they are too few, or a class was always or never picked, or never seen beside another. Collect more."
        ) from None


def class_shares(labels: np.ndarray, classes: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(classes,) shares of a generation's samples, and their covariance.

    Args:
        labels: (n,) classes of the samples.
        classes: those that have utilities.
        names: of classes, for messages.

    Raises:
        UnknownGainError: more than a few samples are of classes that have none.
    """
    known = np.isin(labels, classes)
    if (~known).mean() > RARE:
        missing = ", ".join(class_name(int(label), names) for label in np.unique(labels[~known]))
        raise UnknownGainError(f"In the picks that did not train it nobody was shown these classes: {missing}.")
    shares = (labels[known, None] == classes).mean(axis=0)
    return shares, (np.diag(shares) - np.outer(shares, shares)) / known.sum()
