"""Numbers of raters and picks that show an audit win rate, and the power of given numbers; raters are clusters.

The tests are those of the report: an interval of the win rate lies off 0.5. For a number of raters set in advance it is
`loop.evidence.people.clustered_share`, each rater a cluster, whose m comparisons count as `m / (1 + (m - 1) icc)` (the
design effect; Kish 1965). For a number that is left open it is the confidence sequence, looked at after each rater.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from scipy.stats import nct
from scipy.stats import t as t_law

from loop.evidence.intervals import BETS, log_growth

MOST_RATERS = 1_000_000
STUDIES = 400  # simulated for the power of a confidence sequence, whose standard error is 2.5 points
MOST_WATCHED = 5_000  # raters in each of them
BLOCK = 50


@dataclass(frozen=True, slots=True)
class Setting:
    """The assumptions of a plan.

    Attributes:
        icc: intraclass correlation of one rater's comparisons, in [0, 1).
        k: samples in an audit slate.
        generations: the latest generation's number t; audit slates show t and, in turn, 0 and t - 1.
        against: the earlier generation that t is held against.
        level: of the two-sided test.
    """

    icc: float = 0.1
    k: int = 2
    generations: int = 1
    level: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.icc < 1:
            raise ValueError(f"icc must lie from 0 to below 1, not {self.icc:g}")
        if self.k < 2 or self.generations < 1:
            raise ValueError(
                "an audit slate needs k of 2 or more, and there must be 1 generation or more after the first"
            )


@dataclass(frozen=True, slots=True)
class Plan:
    """Raters and picks, with the effect that they show and the power.

    Attributes:
        raters: number.
        picks: audit picks of each.
        effect: the true win rate.
        power: chance that the interval lies off 0.5.
        comparisons: independent comparisons that one rater's picks are worth, before clustering.
        design_effect: factor by which clustering raises the number of comparisons that are needed.
    """

    raters: int
    picks: float
    effect: float
    power: float
    comparisons: float
    design_effect: float


def worth_of_pick(effect: float, setting: Setting) -> float:
    """The number of independent comparisons of t with one earlier generation that an audit pick is worth.

    An audit slate shows t at every second position, and 0 and t - 1 in turn at the others. A pick counts each pair of
    the picked sample and an unpicked one of the other generation, so pairs of one pick go together, and picks of the
    third generation count for nothing. With `w` and `l` such pairs won and lost in a slate, the win rate has the
    variance `Var(w - effect (w + l)) / E(w + l)^2` a slate; a comparison has `effect (1 - effect)`.

    The odds of a sample of t to one of any earlier generation are taken as `effect : 1 - effect`.
    """
    latest = -(-setting.k // 2)  # samples of t
    rest = setting.k - latest
    total = np.zeros(2)  # pairs, and their squared deviations, averaged over the slates of one round
    others = min(setting.generations, 2)
    for first in range(others):
        earlier = sum((first + j) % others == 0 for j in range(rest))  # samples of the one generation
        odds = effect / (1 - effect)
        win, loss = latest * odds / (latest * odds + rest), earlier / (latest * odds + rest)
        total += [win * earlier + loss * latest,
                  win * (earlier * (1 - effect)) ** 2 + loss * (latest * effect) ** 2]  # fmt: skip
    pairs, squares = total / others
    return float(effect * (1 - effect) * pairs**2 / squares)


def power(raters: int, picks: float, effect: float, setting: Setting) -> Plan:
    """The chance that so many raters with so many audit picks each show a win rate.

    The test statistic is noncentral t with raters - 1 degrees of freedom; at 0.5 Wilson's interval has the spread of
    0.5, which is why the critical value is scaled by `0.5 / sqrt(effect (1 - effect))`.

    Raises:
        ValueError: numbers out of range.
    """
    check_effect(effect)
    if raters < 2 or picks <= 0:
        raise ValueError("a plan needs 2 raters or more, with a pick or more each")
    comparisons = picks * worth_of_pick(effect, setting)
    design_effect = max(1 + (comparisons - 1) * setting.icc, 1.0)
    independent = raters * comparisons / design_effect
    se = math.sqrt(effect * (1 - effect) / independent)
    crit = float(t_law.isf(setting.level / 2, raters - 1)) * 0.5 / math.sqrt(effect * (1 - effect))
    chance = float(nct.sf(crit, raters - 1, abs(effect - 0.5) / se))
    return Plan(raters, picks, effect, chance, comparisons, design_effect)


def raters_needed(wanted: float, picks: float, effect: float, setting: Setting) -> Plan:
    """The fewest raters with so many audit picks each that show a win rate with the wanted power.

    Raises:
        ValueError: numbers out of range, or an effect that a million raters wouldn't show.
    """
    check_effect(effect)
    if not 0.05 < wanted < 1:
        raise ValueError(f"power must lie between 0.05 and 1, not {wanted:g}")
    low, high = 1, 2
    while power(high, picks, effect, setting).power < wanted:
        low, high = high, high * 2
        if high > MOST_RATERS:
            raise ValueError(f"more than {MOST_RATERS:,} raters would be needed; a win rate of {effect:g} is too small")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if power(middle, picks, effect, setting).power < wanted else (low, middle)
    return power(high, picks, effect, setting)


def smallest_effect(wanted: float, raters: int, picks: float, setting: Setting) -> float | None:
    """The smallest win rate above 0.5 that so many raters and picks show with the wanted power; None without any."""
    if power(raters, picks, 0.99, setting).power < wanted:
        return None
    low, high = 0.5, 0.99
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if power(raters, picks, middle, setting).power < wanted else (low, middle)
    return high


def first_verdicts(
    picks: float, effect: float, setting: Setting, wanted: float, most: int = MOST_WATCHED
) -> np.ndarray:
    """(STUDIES,) raters after which simulated studies have their first verdict, looking after each; inf for none.

    Tastes are beta-distributed with the setting's icc. The simulation ends once a share `wanted` of the studies has a
    verdict, or after `most` raters; its random numbers are always the same.

    Raises:
        ValueError: numbers out of range.
    """
    check_effect(effect)
    rng, spread = np.random.default_rng(0), (1 - setting.icc) / max(setting.icc, 1e-9)
    comparisons = max(1, round(picks * worth_of_pick(effect, setting)))
    bets, first = np.zeros((BETS, 2, STUDIES, 1)), np.full(STUDIES, np.inf)
    for done in range(0, most, BLOCK):
        tastes = rng.beta(effect * spread, (1 - effect) * spread, (STUDIES, min(BLOCK, most - done)))
        shares = rng.binomial(comparisons, tastes) / comparisons
        bets = bets[..., -1:] + log_growth(shares, 0.5).cumsum(axis=-1)
        decided = np.asarray(logsumexp(bets, axis=(0, 1))) - math.log(2 * BETS) >= -math.log(setting.level)
        at = np.where(decided.any(axis=1), done + 1 + decided.argmax(axis=1), np.inf)
        first = np.minimum(first, at)
        if np.isfinite(first).mean() >= wanted:
            break
    return first


def watched_power(raters: int, picks: float, effect: float, setting: Setting) -> float:
    """The chance that a study that is looked at after each rater has a verdict after so many at the latest.

    Raises:
        ValueError: numbers out of range.
    """
    if raters > MOST_WATCHED:
        raise ValueError(f"the power at every look is simulated up to {MOST_WATCHED:,} raters, not {raters:,}")
    never = 1.1  # a share of studies that stops no simulation
    return float(np.isfinite(first_verdicts(picks, effect, setting, never, raters)).mean())


def watched_raters(wanted: float, picks: float, effect: float, setting: Setting) -> int | None:
    """The raters after which a study that is looked at after each has a verdict with the wanted power.

    None for more than `MOST_WATCHED`. Errors as in `first_verdicts`.
    """
    first = np.sort(first_verdicts(picks, effect, setting, wanted))
    needed = first[math.ceil(wanted * STUDIES) - 1]
    return int(needed) if math.isfinite(needed) else None


def check_effect(effect: float) -> None:
    """Raises ValueError unless the effect is a win rate from 0.01 to 0.99 other than 0.5."""
    if not 0.01 <= effect <= 0.99 or abs(effect - 0.5) < 0.001:
        raise ValueError(f"effect is a win rate between 0.01 and 0.99 other than 0.5 (no preference), not {effect:g}")
