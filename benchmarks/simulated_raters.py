"""Raters with tastes of their own, in memory: audit choices of known truth, judged as every report judges them.

A rater's chance to prefer the newer of two samples is drawn from a Beta law around the true mean, so raters differ; how
many comparisons each makes differs, too.
"""

from dataclasses import dataclass

import numpy as np

from loop.evidence.intervals import WIN_RATES, comparisons, error_level, log_wealth
from loop.evidence.people import PLAIN, Raters, clustered_share, rates_of
from loop.evidence.schema import WinRate, side_of

LEAST, MOST = 2, 24  # comparisons of a rater for each pair of generations


@dataclass(frozen=True)
class Crowd:
    """A kind of study with raters.

    Attributes:
        raters: who finish.
        preference: mean chance that the newer generation of a pair is preferred; 0.5 is none.
        generations: after generation 0.
        planned: whether the number of raters was set before the first pick, and the report is looked at then alone.
        intraclass: correlation of one rater's comparisons; 0 where all have the same taste.
    """

    raters: int
    preference: float = 0.5
    generations: int = 3
    planned: bool = False
    intraclass: float = 0.1


@dataclass(frozen=True)
class Outcome:
    """The verdict and the intervals of one study's win rates.

    Attributes:
        verdict: True if any rate, at any look, got another verdict than "can't tell".
        covered: by pair of generations, whether the 95% interval held the truth, at all looks together.
        widths: of these intervals at the end; empty where they weren't made.
    """

    verdict: bool
    covered: list[bool]
    widths: list[float]


def judge(crowd: Crowd, rng: np.random.Generator, through_report: bool = True) -> Outcome:
    """Simulates a study and judges it: once at its end where that was planned, else after each rater.

    At a look of an always valid interval the mean m is refuted where the wealth against it has reached 1 / level:
    that is the interval of a report (`always_valid` inverts it), at all looks in one pass.

    Args:
        crowd: the kind of study.
        rng: draws it.
        through_report: the win rates at the end are made as in a report, too, and must agree; without it there are no
            widths, and it takes a fifth of the time.
    """
    pairs = comparisons(crowd.generations)
    played, won = _choices(crowd, len(pairs), rng)
    verdict, covered = False, []
    for (t, against), all_, newer in zip(pairs, played, won, strict=True):
        level = error_level(t, against, WIN_RATES, crowd.generations if crowd.planned else 0)
        if crowd.planned:
            plain, corrected = clustered_share(newer, all_), clustered_share(newer, all_, level)
            verdict |= side_of(corrected, 0.5) != "can't tell"
            covered.append(plain.low <= crowd.preference <= plain.high)
        else:
            values = newer / all_
            verdict |= bool((log_wealth(values, 0.5) >= -np.log(level)).any())
            covered.append(not (log_wealth(values, crowd.preference) >= -np.log(PLAIN)).any())
    if not through_report:
        return Outcome(verdict, covered, [])
    rates = _rates(crowd, pairs, played, won)
    reported = any(rate.verdict != "can't tell" for rate in rates)
    if reported > verdict or (crowd.planned and reported != verdict):
        raise AssertionError(f"the report's verdicts differ from these: {crowd}")
    return Outcome(verdict, covered, [rate.rate.high - rate.rate.low for rate in rates])


def _choices(crowd: Crowd, pairs: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(pairs, raters) comparisons, and those that the newer generation won."""
    shape = (pairs, crowd.raters)
    played, taste = rng.integers(LEAST, MOST + 1, shape), np.full(shape, crowd.preference)
    if crowd.intraclass:
        size = 1 / crowd.intraclass - 1
        taste = rng.beta(crowd.preference * size, (1 - crowd.preference) * size, shape)
    return played, rng.binomial(played, taste)


def _rates(crowd: Crowd, pairs: list[tuple[int, int]], played: np.ndarray, won: np.ndarray) -> list[WinRate]:
    """The win rates of the report at the end."""
    wins = {}
    for (t, s), all_, newer in zip(pairs, played, won, strict=True):
        for rater, (n, k) in enumerate(zip(all_, newer, strict=True)):
            wins[(str(rater), rater, 2, t, s)] = int(k)
            wins[(str(rater), rater, 2, s, t)] = int(n - k)
    raters = Raters(
        sessions=frozenset(map(str, range(crowd.raters))), ids=frozenset(range(crowd.raters)), finished=crowd.raters,
        last=crowd.generations if crowd.planned else 0, planned=crowd.raters if crowd.planned else 0,
        kind="fixed n" if crowd.planned else "always valid",
    )  # fmt: skip
    return rates_of({key: n for key, n in wins.items() if n}, raters, crowd.generations, level=WIN_RATES)
