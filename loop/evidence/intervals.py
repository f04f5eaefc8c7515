"""The error that a report's verdicts share, and intervals: at every look (confidence sequences), and of ratios."""

import math
from collections.abc import Collection
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.special import logsumexp
from scipy.stats import norm
from scipy.stats import t as t_law

LEVEL = 0.05
CLAIMS, WIN_RATES, UTILITY_GAINS = 0.2 * LEVEL, 0.4 * LEVEL, 0.4 * LEVEL  # where people picked
BETS = 24
FRACTIONS = np.sqrt((np.arange(BETS) + 0.5) / BETS)  # of what may be bet; density 2 f, narrow at 10 to 200 values
STEPS = 40  # of a bisection, to 1e-12
TUNED = 30  # raters at which the asymptotic sequence is narrowest
Z95 = 1.959964
TestVerdict = Literal["found", "not found", "can't tell"]


class Part(BaseModel):
    """A part of a report."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Estimate(Part):
    """A value with its standard error (0 where it is exact) and its 95% interval."""

    value: float = Field(description="the estimate")
    se: float = Field(default=0.0, description="its standard error; 0 where it is exact")
    low: float = Field(description="lower end of the interval")
    high: float = Field(description="upper end of the interval")

    @classmethod
    def of(cls, value: float, se: float = 0.0) -> "Estimate":
        """An estimate with the interval of a normal error."""
        return cls(value=value, se=se, low=value - Z95 * se, high=value + Z95 * se)

    def __str__(self) -> str:
        """The value with the half of its 95% interval, both to the same decimal."""
        return self.beside()

    def beside(self, *others: "Estimate") -> str:
        """The same where it is read beside others: all to the decimal that the least certain of them deserves.

        That is the second digit of the largest error, or the first of the smallest where that is further on.
        """
        half = 1.96 * self.se
        if not 1e-12 < half < math.inf:
            return f"{self.value:.4g} ± {half:.2g}"
        halves = [half, *(1.96 * other.se for other in others if 1e-12 < 1.96 * other.se < math.inf)]
        places = [int(f"{some:.1e}".partition("e")[2]) for some in halves]  # of the first digit, once rounded to two
        decimals = max(0, 1 - max(places), -min(places))
        return f"{self.value:,.{decimals}f} ± {half:,.{decimals}f}"


def comparisons(latest: int, foreign: Collection[int] = ()) -> list[tuple[int, int]]:
    """The pairs (t, against) that a report compares: each generation with generation 0 and with the one before.

    Args:
        latest: the latest generation.
        foreign: generations whose samples were another study's, which nobody compared here.
    """
    own = [t for t in range(latest + 1) if t not in foreign]
    return [(t, against) for t in own[1:] for against in sorted({0, t - 1}) if against in own]


def all_pairs(latest: int) -> list[tuple[int, int]]:
    """The pairs (t, against) of an audit of several studies: any two of generations 0 to `latest`."""
    return [(t, against) for t in range(latest + 1) for against in range(t)]


def error_level(t: int, against: int, level: float, last: int = 0) -> float:
    """The error level of one pair of generations, such that those of all pairs add up to `level` at the most.

    Args:
        t: the generation, from 1.
        against: 0 or t - 1.
        level: of all pairs together.
        last: the last generation, where it was set in advance: all 2 last - 1 pairs get the same. 0 where it wasn't:
            the j-th pair gets 6 / (pi j)^2 of the level, which adds up to 1 over any number of generations.
    """
    if last >= t:
        return level / (2 * last - 1)
    j = 1 if t == 1 else 2 * t - 2 + (against != 0)
    return level * 6 / (math.pi * j) ** 2


def log_wealth(values: np.ndarray, mean: float) -> np.ndarray:
    """Log wealth of a gambler who bets against a mean, after each value; none grows above 1 / level but by chance.

    Half the money says that the mean is higher, half that it is lower, each spread over fixed fractions f:
    `sum_f prod_i (1 + f (x_i / m - 1)) / 2 BETS` and the same for 1 - x and 1 - m. If m is the mean of each value given
    those before, this is a martingale, and by Ville's inequality it ever exceeds 1 / level with probability at most
    `level`. Source: Waudby-Smith and Ramdas 2024 (JRSS B 86:1), section 4, the hedged capital process, with a mixture
    of constant bets (their appendix B) in place of predicted ones, so that the order of the values before a look
    doesn't matter.

    Args:
        values: (n,) in [0, 1], in the order in which they came.
        mean: in (0, 1).

    Returns:
        (n,) after 1, 2, ... n values.
    """
    return np.asarray(logsumexp(log_growth(values, mean).cumsum(axis=-1), axis=(0, 1))) - math.log(2 * BETS)


def log_growth(values: np.ndarray, mean: float) -> np.ndarray:
    """(BETS, 2, ...) log factors by which bets on a higher and on a lower mean grow with each of (...) values."""
    sides = np.stack([values / mean, (1 - values) / (1 - mean)])
    return np.log1p(np.expand_dims(FRACTIONS, tuple(range(1, sides.ndim + 1))) * (sides - 1))


def always_valid(values: np.ndarray, level: float) -> tuple[float, float]:
    """The interval of a confidence sequence for the mean of values in [0, 1]: the means that no bet has refuted.

    Wealth is convex in the mean and at most 1 at the values' own, so the means under 1 / level are an interval.

    Args:
        values: (n,) so far, n at least 1.
        level: chance that any of the intervals after 1, 2, ... values misses the mean.
    """
    centre, enough = float(values.mean()), -math.log(level)

    def end(outside: float) -> float:
        inside = centre
        for _ in range(STEPS):
            middle = (inside + outside) / 2
            if middle in (0.0, 1.0) or log_wealth(values, middle)[-1] >= enough:
                outside = middle
            else:
                inside = middle
        return outside

    low = end(0.0) if centre > 0 else 0.0
    high = end(1.0) if centre < 1 else 1.0
    return low, high


def reach_of_asymptotic(clusters: int, level: float) -> float:
    """The reach of an asymptotic confidence sequence in standard errors, for estimates that aren't means in [0, 1].

    `sqrt((n r^2 + 1) / (n r^2) 2 log(sqrt(n r^2 + 1) / level))`, r tuned for 30 clusters; then the same tail
    probability by Student's t with n - 1 degrees of freedom, because few clusters estimate their variance badly.
    Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024 (Annals of Statistics 52:6), theorem 2.2 and
    appendix B.

    Args:
        clusters: n so far, at least 2.
        level: chance that any of the intervals misses.
    """
    tuned = (-2 * math.log(level) + math.log(-2 * math.log(level)) + 1) / TUNED
    spread = clusters * tuned
    reach = math.sqrt((spread + 1) / spread * 2 * math.log(math.sqrt(spread + 1) / level))
    return float(t_law.isf(norm.sf(reach), clusters - 1))


def ratio_of(numerator: np.ndarray, denominator: np.ndarray, noise: float = 0.0) -> Estimate | None:
    """The ratio of two quantities with its 95% interval; None where the interval has no end.

    The interval holds every ratio rho whose `numerator - rho denominator` is within 1.96 standard errors of 0 (Fieller,
    J. R. Stat. Soc. B 16:175, 1954).

    Args:
        numerator: (B + 1,) the quantity and its bootstrap replicates.
        denominator: (B + 1,) likewise, from the same resamples.
        noise: a further standard error of the numerator.
    """
    a, b = float(numerator[0]), float(denominator[0])
    (var_a, cov), (_, var_b) = np.cov(numerator[1:], denominator[1:]) if len(numerator) > 2 else np.zeros((2, 2))
    var_a, z2 = var_a + noise**2, Z95**2
    leading = b**2 - z2 * var_b
    if leading <= 0:
        return None
    middle, last = a * b - z2 * cov, a**2 - z2 * var_a
    half = math.sqrt(max(0.0, middle**2 - leading * last)) / leading
    value = a / b
    se = math.sqrt(max(0.0, var_a - 2 * value * cov + value**2 * var_b)) / abs(b)
    return Estimate(value=value, se=se, low=middle / leading - half, high=middle / leading + half)
