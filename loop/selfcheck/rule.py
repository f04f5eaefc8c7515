"""The declared rule, and a generation's slates as arrays, straight from the database."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax
from scipy.stats import chi2

from data.store import Store, queries

ITEM = np.dtype(
    [("slate", "i8"), ("k", "i4"), ("position", "i4"), ("sample", "i8"), ("t", "i4"), ("seed", "i8"),
     ("reward", "f8"), ("operative", "f8"), ("picked", "i4"), ("worst", "i4"), ("rater", "i4")]
)  # fmt: skip
LEAST_VARIANCE = 10.0  # of a count, so that it is nearly normal and a single odd pick makes no verdict


@dataclass(frozen=True, slots=True)
class AnsweredSlates:
    """Slates of one size K with their picks.

    Attributes:
        rewards: (n, K) finite, by which the user judged, in display order.
        picked: (n,) positions in [0, K); K for a tie, of pairs that allow them.
    """

    rewards: np.ndarray
    picked: np.ndarray

    def __len__(self) -> int:
        return len(self.picked)


def read_items(store: Store, t: int) -> np.ndarray:
    """(m,) `ITEM` rows of all curation slates of generation t, by slate and position."""
    return np.fromiter(queries.curation_items(store, t), dtype=ITEM)


def whole_slates(items: np.ndarray) -> dict[int, np.ndarray]:
    """The (n, K) items of the slates that hold all their K samples, for every finite K that occurs."""
    _, starts, counts = np.unique(items["slate"], return_index=True, return_counts=True)
    slates = {}
    for k in np.unique(items["k"]):
        whole = starts[(items["k"][starts] == k) & (counts == k)]
        whole = whole[items["position"][whole + k - 1] == k - 1]
        if k >= 1 and len(whole):
            slates[int(k)] = items[whole[:, None] + np.arange(k)]
    return slates


def answered_by(slates: Mapping[int, np.ndarray], raters: np.ndarray, ties: bool = False) -> list[AnsweredSlates]:
    """The answered slates of raters with these ids, a block for each K of 2 or more; with ties pairs alone."""
    blocks = []
    for k, items in slates.items():
        if k < 2 or (ties and k > 2):
            continue
        first = items[:, 0]
        usable = np.isin(first["rater"], raters) & (first["picked"] >= 0) & (first["picked"] < k + ties)
        usable &= np.isfinite(items["operative"]).all(axis=1)
        if usable.any():
            blocks.append(AnsweredSlates(items["operative"][usable], first["picked"][usable]))
    return blocks


def worst_of(slates: Mapping[int, np.ndarray], raters: np.ndarray, bias: tuple[float, ...]) -> list[AnsweredSlates]:
    """Samples that the best left, with minus the utilities, and the worst of them: picks by Luce's rule as well.

    Args:
        slates: (n, K) items by K.
        raters: ids of those whose picks count.
        bias: (K,) utility added by position; empty for none.
    """
    blocks = []
    for k, items in slates.items():
        first = items[:, 0]
        usable = np.isin(first["rater"], raters) & (first["picked"] >= 0) & (first["worst"] >= 0)
        usable &= np.isfinite(items["operative"]).all(axis=1) & (len(bias) in (0, k))
        best, worst = first["picked"][usable], first["worst"][usable]
        if len(best):
            left = np.arange(k) != best[:, None]
            disliked = -(items["operative"][usable] + np.asarray(bias or 0.0))
            blocks.append(AnsweredSlates(disliked[left].reshape(-1, k - 1), worst - (worst > best)))
    return blocks


@dataclass(frozen=True, slots=True)
class DeclaredRule:
    """`P(pick j) = lapse / K + (1 - lapse) softmax_j(r + bias)`: the rule by which simulated users are said to pick.

    Written apart from `model.luce.LuceRule` on purpose: a check that shared the users' code would share its faults.
    So nothing in these checks may import it.

    Attributes:
        lapse: share of picks made at random.
        bias: (K,) utility added by position; empty for none.
    """

    lapse: float = 0.0
    bias: tuple[float, ...] = ()

    def fits(self, block: AnsweredSlates) -> bool:
        """True if there is no bias, or one entry of it for each position of these slates."""
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
class TieRule(DeclaredRule):
    """Rao and Kupper's rule for pairs with ties, from the formula: `P(i beats j) = w_i / (w_i + theta w_j)`.

    Attributes:
        theta: 1 or more.
    """

    theta: float = 1.0

    def probabilities(self, rewards: np.ndarray) -> np.ndarray:
        """(n, 3) the probability of the first, the second and a tie, from (n, 2) rewards."""
        w = softmax(rewards + np.asarray(self.bias or 0.0), axis=1)
        wins = w / (w + self.theta * w[:, ::-1])
        ties = (self.theta**2 - 1) * wins.prod(axis=1, keepdims=True)
        return self.lapse * np.array([0.5, 0.5, 0.0]) + (1 - self.lapse) * np.hstack([wins, ties])


@dataclass(frozen=True, slots=True)
class BinCounts:
    """Picks counted in B bins of (slate, position) pairs, and their law under the rule.

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

    @property
    def worst(self) -> int:
        """The bin with the largest gap between observed and expected."""
        return int(np.abs(self.observed - self.expected).argmax())

    def figures(self, test: "ChiSquare") -> dict[str, object]:
        """The counts and their test as plain values; 'misplaced' is the share of picks that are in the wrong bin."""
        gap = np.abs(self.observed - self.expected)
        return {
            "chi_square": test.value,
            "df": test.df,
            "misplaced": float(gap.sum() / 2 / self.observed.sum()),
            "bins": [
                {"items": int(i), "expected": float(e), "observed": int(o)}
                for i, e, o in zip(self.items, self.expected, self.observed, strict=True)
            ],
        }


@dataclass(frozen=True, slots=True)
class ChiSquare:
    """A quadratic form of counts less their expectation, with its degrees of freedom and its p-value."""

    value: float
    df: int
    p: float


def count_by_bin(
    blocks: Sequence[tuple[AnsweredSlates, np.ndarray]], bin_of: Callable[[np.ndarray], np.ndarray], n_bins: int
) -> BinCounts:
    """Counts picks in bins that depend on the slates alone, not on what was picked.

    Args:
        blocks: slates with their (n, K) probabilities.
        bin_of: (n, K) bins in [0, n_bins) from such probabilities.
        n_bins: B.
    """
    observed, expected, items = np.zeros(n_bins), np.zeros(n_bins), np.zeros(n_bins)
    covariance = np.zeros((n_bins, n_bins))
    for slates, p in blocks:
        rows, bins = np.arange(len(slates)), bin_of(p)
        cells = (rows[:, None] * n_bins + bins).ravel()
        shares = np.bincount(cells, weights=p.ravel(), minlength=len(rows) * n_bins).reshape(-1, n_bins)
        observed += np.bincount(bins[rows, slates.picked], minlength=n_bins)
        expected += shares.sum(axis=0)
        covariance -= shares.T @ shares
        items += np.bincount(bins.ravel(), minlength=n_bins)
    return BinCounts(observed, expected, covariance + np.diag(expected), items)


def chi_square(difference: np.ndarray, covariance: np.ndarray) -> ChiSquare:
    """Pearson's test of (B,) counts less their expectation, `d' V^+ d`, in the directions in which they vary enough.

    V^+ is a pseudo-inverse: counts that add up have directions without variance. Directions of less variance than
    `LEAST_VARIANCE` are left out too, since a chi-square is not the law of rare counts. Its p-value is that of as large
    a value or larger under chi-square on the number of directions.
    """
    values, vectors = varying_directions(covariance)
    value = float(((vectors.T @ difference) ** 2 / values).sum())
    df = len(values)
    return ChiSquare(value, df, float(chi2.sf(value, df)) if df else 1.0)


def noncentrality(shift: np.ndarray, covariance: np.ndarray) -> float:
    """The amount that a (B,) shift of the counts' expectation adds to `chi_square` on the average."""
    values, vectors = varying_directions(covariance)
    return float(((vectors.T @ shift) ** 2 / values).sum())


def varying_directions(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(m,) variances of at least `LEAST_VARIANCE` and their (B, m) directions."""
    values, vectors = np.linalg.eigh(covariance)
    enough = values >= LEAST_VARIANCE
    return values[enough], vectors[:, enough]
