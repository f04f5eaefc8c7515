"""Coverage of the two intervals of win rates: studies of raters with known tastes, through the report's own functions.

    python -m benchmarks.win_rates            # the table; an hour on two cores
    python -m benchmarks.win_rates --studies 200

A rater's chance to prefer the generation is drawn from a beta distribution; a rater makes 20 comparisons, or between 3
and 200. The fixed-n interval is looked at once; the confidence sequence after every rater, and misses where any of its
intervals does.
"""

import argparse
from dataclasses import dataclass

import numpy as np

from loop.evidence.intervals import always_valid, log_wealth
from loop.evidence.people import PLAIN, clustered_share

RATERS = (2, 3, 5, 7, 9, 10, 14, 20, 30, 50, 100, 200)
PICKS = ("20", "3 to 200", "3")


@dataclass(frozen=True)
class Tastes:
    """A population of raters, whose chances to prefer the generation are beta(a, b); where a = 0, all have `mean`."""

    name: str
    mean: float
    a: float = 0.0

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """(n,) raters' chances."""
        return rng.beta(self.a, self.a / self.mean - self.a, n) if self.a else np.full(n, self.mean)


TASTES = (
    Tastes("indifferent, alike", 0.5),
    Tastes("indifferent, differing", 0.5, 3.0),
    Tastes("0.6, alike", 0.6),
    Tastes("0.6, differing", 0.6, 3.0),
    Tastes("0.9, differing", 0.9, 4.5),
    Tastes("0.8, two camps", 0.8, 0.8),
    Tastes("0.97, alike", 0.97),
)


@dataclass(frozen=True)
class Calibration:
    """The coverage and the widths of simulated studies' intervals.

    Attributes:
        fixed: share of studies whose fixed-n interval covered the mean.
        watched: share whose always-valid intervals covered it after each rater, all together.
        fixed_looks: share that fixed-n intervals would have covered after each rater, all together.
        fixed_width: median.
        watched_width: median, after the last rater.
    """

    fixed: float
    watched: float
    fixed_looks: float
    fixed_width: float
    watched_width: float


def calibrate(
    tastes: Tastes, raters: int, picks: str, studies: int, rng: np.random.Generator, level: float = PLAIN
) -> Calibration:
    """Simulates studies with so many raters and counts what their intervals cover."""
    covered, widths = np.zeros((studies, 3), dtype=bool), np.zeros((studies, 2))
    for i in range(studies):
        n = np.full(raters, int(picks)) if picks.isdigit() else spread_out(raters, rng)
        won = rng.binomial(n, tastes.draw(raters, rng))
        looks = [clustered_share(won[:seen], n[:seen], level) for seen in range(2, raters + 1)]
        inside = [interval.low <= tastes.mean <= interval.high for interval in looks]
        low, high = always_valid(won / n, level)
        covered[i] = inside[-1], log_wealth(won / n, tastes.mean).max() < -np.log(level), all(inside)
        widths[i] = looks[-1].high - looks[-1].low, high - low
    return Calibration(*covered.mean(axis=0).tolist(), *np.median(widths, axis=0).tolist())


def spread_out(raters: int, rng: np.random.Generator) -> np.ndarray:
    """(raters,) numbers of comparisons from 3 to 200, evenly in the logarithm."""
    return np.exp(rng.uniform(np.log(3), np.log(200), raters)).astype(np.int64)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1_000, help="of each row")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    limits = 1.96 * (0.0475 / options.studies) ** 0.5
    print(f"{options.studies} studies a row; a share of 95% has 95% limits of ± {limits:.1%}")
    heads = ("tastes", "comparisons of a rater", "raters", "fixed n, one look", "fixed n, every look",
             "always valid, every look", "width, fixed n", "width, always valid")  # fmt: skip
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for tastes in TASTES:
        for picks in PICKS:
            for raters in RATERS:
                calibration = calibrate(tastes, raters, picks, options.studies, rng)
                shares = f"{calibration.fixed:.1%} | {calibration.fixed_looks:.1%} | {calibration.watched:.1%}"
                widths = f"{calibration.fixed_width:.3f} | {calibration.watched_width:.3f}"
                print(f"| {tastes.name} | {picks} | {raters} | {shares} | {widths} |", flush=True)


if __name__ == "__main__":
    main()
