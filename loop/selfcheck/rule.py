"""The declared rule, and how far observed counts may stray from it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax
from scipy.stats import chi2

from loop.selfcheck.tables import Choices

LEAST_VARIANCE = 10.0  # of a count, so that it is nearly normal and a single odd pick makes no verdict


@dataclass(frozen=True, slots=True)
class Rule:
    """`P(pick j) = lapse / K + (1 - lapse) softmax_j(r + bias)`: how simulated users are said to pick.

    Attributes:
        lapse: share of picks made at random.
        bias: (K,) utility added by position; empty for none.
    """

    lapse: float = 0.0
    bias: tuple[float, ...] = ()

    def fits(self, block: Choices) -> bool:
        """Whether the bias speaks of slates of this size."""
        return not self.bias or len(self.bias) == block.rewards.shape[1]

    def luce(self, rewards: np.ndarray) -> np.ndarray:
        """(n, K) the probabilities of a pick that is no lapse, from (n, K) rewards."""
        return softmax(rewards + np.asarray(self.bias or 0.0), axis=1)

    def probabilities(self, rewards: np.ndarray) -> np.ndarray:
        """(n, K) the probability of each pick, from (n, K) rewards."""
        return self.lapse / rewards.shape[1] + (1 - self.lapse) * self.luce(rewards)

    def by_lapse(self, rewards: np.ndarray) -> np.ndarray:
        """(n, K) derivative of the probabilities in the share of picks made at random."""
        return 1 / rewards.shape[1] - self.luce(rewards)


@dataclass(frozen=True, slots=True)
class Tally:
    """Picks counted in B bins of (slate, position) pairs, and what the rule expects.

    Attributes:
        observed: (B,) picks.
        expected: (B,) their expectation.
        covariance: (B, B) exact: the sum over slates of the multinomial covariances.
        items: (B,) pairs.
    """

    observed: np.ndarray
    expected: np.ndarray
    covariance: np.ndarray
    items: np.ndarray


@dataclass(frozen=True, slots=True)
class ChiSquare:
    """A quadratic form of counts less their expectation, with its degrees of freedom and its p-value."""

    value: float
    df: int
    p: float


def tally(
    blocks: Sequence[tuple[Choices, np.ndarray]], bin_of: Callable[[np.ndarray], np.ndarray], n_bins: int
) -> Tally:
    """Counts picks in bins that depend on the slates alone, not on what was picked.

    Args:
        blocks: slates with their (n, K) probabilities.
        bin_of: (n, K) bins in [0, n_bins) from such probabilities.
        n_bins: B.
    """
    observed, expected, items = np.zeros(n_bins), np.zeros(n_bins), np.zeros(n_bins)
    covariance = np.zeros((n_bins, n_bins))
    for choices, p in blocks:
        rows, bins = np.arange(len(choices)), bin_of(p)
        cells = (rows[:, None] * n_bins + bins).ravel()
        shares = np.bincount(cells, weights=p.ravel(), minlength=len(rows) * n_bins).reshape(-1, n_bins)
        observed += np.bincount(bins[rows, choices.picked], minlength=n_bins)
        expected += shares.sum(axis=0)
        covariance -= shares.T @ shares
        items += np.bincount(bins.ravel(), minlength=n_bins)
    return Tally(observed, expected, covariance + np.diag(expected), items)


def chi_square(difference: np.ndarray, covariance: np.ndarray) -> ChiSquare:
    """The chi-square of (B,) counts less their expectation, in the directions in which they vary enough.

    A pseudo-inverse: counts that add up have directions without variance. Directions of less variance than
    `LEAST_VARIANCE` are left out too, since a chi-square is not the law of rare counts.
    """
    values, vectors = _varying(covariance)
    value = float(((vectors.T @ difference) ** 2 / values).sum())
    df = len(values)
    return ChiSquare(value, df, float(chi2.sf(value, df)) if df else 1.0)


def noncentrality(shift: np.ndarray, covariance: np.ndarray) -> float:
    """What a (B,) shift of the counts' expectation adds to `chi_square` on the average."""
    values, vectors = _varying(covariance)
    return float(((vectors.T @ shift) ** 2 / values).sum())


def _varying(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(m,) variances of at least `LEAST_VARIANCE` and their (B, m) directions."""
    values, vectors = np.linalg.eigh(covariance)
    keep = values >= LEAST_VARIANCE
    return values[keep], vectors[:, keep]
