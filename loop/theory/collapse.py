"""Claims of Seddik et al. 2024 (arXiv 2404.05090) on collapse, as numbers and verdicts on a measurement of them.

Theorem 3 bounds how far a law that is learned from real rows and its own strays from the first; Theorem 1 how long a
law learned from its own rows alone keeps more than one token.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import t as student_t

Verdict = Literal["holds", "fails", "can't tell", "vacuous", "condition not met"]
C_0, C_1 = math.e**3 / (2 * math.pi), 6 * math.e / math.pi**1.5
LARGEST_L1 = 2.0  # of two laws
LONGEST = 100  # times the expected collapse time: then a simulation of it is given up


@dataclass(frozen=True, slots=True)
class MeasuredMean:
    """A mean over repetitions with Student's 95% interval.

    Attributes:
        value: the mean.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, se: float, n: int) -> "MeasuredMean":
        """The mean of n values with its standard error."""
        reach = float(student_t.ppf(0.975, n - 1)) * se
        return cls(value, value - reach, value + reach)

    def under(self, ceiling: float) -> Verdict:
        """The verdict on a claim that the true mean is at most `ceiling`."""
        return "holds" if self.high <= ceiling else "fails" if self.low > ceiling else "can't tell"


def theorem_3(real: int, synthetic: int, vocabulary: int) -> float | None:
    """Theorem 3's bound on `E ||p^(m) - p^(1)||_1`: `N^-1 sqrt(pi n / 2) C_1 s e^(C_0 n / 2e)`.

    It may come out as inf. None where its condition `C_0 n / e + 2 <= s` isn't met.

    Args:
        real: N rows.
        synthetic: n rows of the latest law beside them.
        vocabulary: s tokens.
    """
    if C_0 * synthetic / math.e + 2 > vocabulary:
        return None
    exponent = C_0 * synthetic / (2 * math.e)
    if exponent > 600:
        return math.inf
    return math.sqrt(math.pi * synthetic / 2) / real * C_1 * vocabulary * math.exp(exponent)


def allowed_synthetic(real: int, vocabulary: int, error: float) -> float:
    """Equation (11): the most synthetic rows n at which Theorem 3 promises a deviation of at most `error`.

    `n <= 2 pi e^-2 min(s - 2, log(sqrt(2 pi N) error / (6 e s)))`; below 0 where no number is allowed.
    """
    argument = math.sqrt(2 * math.pi * real) * error / (6 * math.e * vocabulary)
    return 2 * math.pi / math.e**2 * min(vocabulary - 2, math.log(argument))


@dataclass(frozen=True, slots=True)
class DeviationVerdict:
    """Theorem 3 held against a measured deviation, and the bound that was derived for this project beside it.

    Attributes:
        real: N.
        synthetic: n.
        vocabulary: s.
        measured: `||p^(m) - p^(1)||_1`.
        bound: Theorem 3's; None where its condition isn't met.
        verdict: 'vacuous' where the bound is over 2, which no two laws exceed.
        derived: `sqrt(s~ E ||p^(m) - p^(1)||_2^2)`, s~ the tokens with mass, for any n.
        derived_verdict: on that.
        allowed: by equation (11), the most synthetic rows for the measured deviation.
    """

    real: int
    synthetic: int
    vocabulary: int
    measured: MeasuredMean
    bound: float | None
    verdict: Verdict
    derived: float
    derived_verdict: Verdict
    allowed: float

    def __str__(self) -> str:
        m = self.measured
        if self.bound is None:
            said = (
                f"condition not met: C_0 n / e + 2 = {C_0 * self.synthetic / math.e + 2:,.0f} > s = {self.vocabulary:,}"
            )
        elif self.verdict == "vacuous":
            said = f"vacuous: the bound is {self.bound:.2g}, and L1 is 2 at most"
        else:
            said = f"{self.verdict}: the bound is {self.bound:.4f}"
        return (
            f"Theorem 3 (N = {self.real:,}, n = {self.synthetic:,}, s = {self.vocabulary:,}) {said}. Measured: "
            f"{m.value:.4f} (95%: {m.low:.4f} to {m.high:.4f}); derived bound {self.derived:.4f}: "
            f"{self.derived_verdict}."
        )


def deviation_verdict(
    measured: MeasuredMean, derived: float, real: int, synthetic: int, vocabulary: int
) -> DeviationVerdict:
    """The verdict of Theorem 3 on a mean L1 distance of the latest laws from the first ones.

    Args:
        measured: the distance.
        derived: the bound `sqrt(s~ E L2^2)`.
        real: N rows of each law.
        synthetic: n rows of each.
        vocabulary: s tokens.
    """
    bound = theorem_3(real, synthetic, vocabulary)
    verdict: Verdict = "condition not met"
    if bound is not None:
        verdict = "vacuous" if bound > LARGEST_L1 else measured.under(bound)
    allowed = allowed_synthetic(real, vocabulary, max(measured.value, 1e-12))
    return DeviationVerdict(
        real, synthetic, vocabulary, measured, bound, verdict, derived, measured.under(derived), allowed
    )


def collapse_time_bounds(law: np.ndarray, rows: int) -> tuple[float, float]:
    """Theorem 1's bounds on the expected number of fits until one token is left.

    `1 + (1 - S_0) (n - 1) / (1 - 1/s~) <= E[T] <= 1 + (1 - S_0) n (n - 1)`, s~ the tokens with mass.

    Args:
        law: (m,) masses that the first n rows are drawn from.
        rows: n of each fit.
    """
    spread, tokens = 1 - float((law**2).sum()), int((law > 0).sum())
    lower = 1 + spread * (rows - 1) / (1 - 1 / tokens) if tokens > 1 else 1.0
    return lower, 1 + spread * rows * (rows - 1)


def collapse_time(law: np.ndarray, rows: int) -> float:
    """The expected number of fits until one token is left, where rows are many: `-2n sum_i (1 - p_i) ln(1 - p_i)`.

    It is the diffusion's: `(1 / 2n) sum_ij p_i (d_ij - p_j) d^2/dp_i dp_j` takes it to -1, and it is 0 where one token
    has all. Of two tokens it is the known `-2n [x ln x + (1-x) ln(1-x)]`, of very many about 2n. Derived for this
    project.
    """
    others = 1 - law[law < 1]
    return float(-2 * rows * (others * np.log(others)).sum())


@dataclass(frozen=True, slots=True)
class CollapseTimes:
    """Simulated times of total collapse beside their law.

    Attributes:
        rows: n.
        mean: number of the first fit with one token.
        bounds: Theorem 1's.
        verdict: on these.
        by_diffusion: the expected time where rows are many.
        winner: share of the repetitions that the likeliest token won, and
        winner_expected: its mass, which is the probability of that.
    """

    rows: int
    mean: MeasuredMean
    bounds: tuple[float, float]
    verdict: Verdict
    by_diffusion: float
    winner: MeasuredMean
    winner_expected: float

    def __str__(self) -> str:
        m, low, high = self.mean, *self.bounds
        return (
            f"One token is left after {m.value:.1f} fits (95%: {m.low:.1f} to {m.high:.1f}; the law of many rows has "
            f"{self.by_diffusion:.1f}). Theorem 1, {low:.1f} to {high:,.0f}: {self.verdict}. The likeliest token wins "
            f"in {self.winner.value:.1%} (95%: {self.winner.low:.1%} to {self.winner.high:.1%}; its mass is "
            f"{self.winner_expected:.1%})."
        )


def simulate_collapse(law: np.ndarray, rows: int, repetitions: int, rng: np.random.Generator) -> CollapseTimes:
    """Learns a law from its own rows, again and again, until one token is left; and judges Theorem 1.

    Args:
        law: (m,) masses that the first rows are drawn from.
        rows: n of each fit, 2 or more.
        repetitions: of the whole.
        rng: draws.

    Raises:
        ValueError: some repetition goes on for far too long.
    """
    times, winners = np.zeros(repetitions, dtype=np.int64), np.zeros(repetitions, dtype=np.int64)
    running, laws, m = np.arange(repetitions), np.tile(law, (repetitions, 1)), 0
    longest = LONGEST * (collapse_time(law, rows) + 1)
    while len(running):
        m += 1
        if m > longest:
            raise ValueError(f"after {m:,} fits more than one token is left; take fewer rows")
        counts = rng.multinomial(rows, laws)
        is_over = counts.max(axis=1) == rows
        times[running[is_over]], winners[running[is_over]] = m, counts[is_over].argmax(axis=1)
        running, laws = running[~is_over], counts[~is_over] / rows
    bounds, mean = collapse_time_bounds(law, rows), _mean(times.astype(float))
    inside = bounds[0] <= mean.low and mean.high <= bounds[1]
    outside = mean.high < bounds[0] or mean.low > bounds[1]
    first = int(law.argmax())
    return CollapseTimes(
        rows, mean, bounds, "holds" if inside else "fails" if outside else "can't tell", collapse_time(law, rows),
        _mean((winners == first).astype(float)), float(law[first]),
    )  # fmt: skip


def _mean(values: np.ndarray) -> MeasuredMean:
    return MeasuredMean.of(float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values)), len(values))
