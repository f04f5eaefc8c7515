"""Linear regression that is trained on its own labels: Gerstgrasser et al. 2024 (arXiv 2404.01413).

The first fit, n = 1, is on T real rows x ~ N(0, I_d), y = x w* + noise of variance 1. Fit n labels a set of rows with
`x w_n + noise` and the policy composes the training set of fit n + 1 from the real rows and the sets so far. What is
measured is the excess test error ||w_n - w*||^2 in units of `v = d / (T - d - 1)`, the error of the first fit, so that
noise of any other variance gives the same numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from loop.policies import DataPolicy
from loop.theory.toy.curve import check_range
from loop.theory.toy.rows import weights

ACCUMULATE_BOUND = np.pi**2 / 6  # of accumulate's excess error in units of v, whatever n


@dataclass(frozen=True, slots=True)
class LinearModel:
    """The model's sizes.

    Attributes:
        dimension: d.
        rows: T real rows; at least d + 4, for with fewer the error has no variance, and its mean no standard error.
        fresh: every set has new rows x; otherwise each relabels the real rows (once through, or as often as the
            policy's set is larger), as in the paper.

    Raises:
        ValueError: sizes out of range.
    """

    dimension: int = 10
    rows: int = 60
    fresh: bool = False

    def __post_init__(self) -> None:
        check_range("dimension", self.dimension, 1, 200)
        check_range(f"rows for {self.dimension} dimensions", self.rows, self.dimension + 4, 10_000)

    @property
    def quantities(self) -> tuple[str, ...]:
        """The excess test error in units of v."""
        return ("excess error / v",)

    @property
    def v(self) -> float:
        """Excess test error of a fit on the real data, for noise of variance 1."""
        return self.dimension / (self.rows - self.dimension - 1)

    def entries(self, policy: DataPolicy, generations: int) -> int:
        """Numbers that one repetition holds."""
        labels = self.rows + generations * policy.asked(self.rows)
        return labels + 2 * self.dimension * (labels if self.fresh else self.rows)

    def exact(self, policy: DataPolicy, generations: int) -> np.ndarray | None:
        """(generations,) expected excess error over v at n = 1, 2, ...; None where no closed form is known.

        Replace: n. Accumulate: sum_{i<=n} 1/i^2, under pi^2/6. (Gerstgrasser et al., Section 2; expectations over the
        design too.) Derived: accumulate with fresh rows, sum_i (T-d-1) / (i (iT-d-1)); mix with a whole lam, where the
        real rows stand lam times in each set: `1 + c^2 (1 - c^(2(n-1))) / (1 - c^2) / lam` with c = lam / (1 + lam),
        which ends at `1 + lam / (1 + 2 lam)`. None: accumulate_subsample, and mix with another lam or fresh rows.
        """
        n = np.arange(1, generations + 1)
        if policy.is_pure:
            return n.astype(float)
        if policy.kind == "accumulate":
            freedom = self.rows - self.dimension - 1
            return np.cumsum(freedom / (n * (n * self.rows - self.dimension - 1)) if self.fresh else 1 / n**2)
        if policy.is_mixed and not self.fresh and policy.lam == round(policy.lam):
            c2 = (policy.lam / (1 + policy.lam)) ** 2
            return 1 + c2 * (1 - c2 ** (n - 1)) / (1 - c2) / policy.lam
        return None

    def beside(self, policy: DataPolicy, generations: int) -> dict[str, np.ndarray]:
        """The bound of accumulate, pi^2 / 6 (Gerstgrasser et al., Section 2); fresh rows make each term smaller."""
        return {"bound": np.full(generations, ACCUMULATE_BOUND)} if policy.kind == "accumulate" else {}

    def simulate(
        self, policy: DataPolicy, generations: int, repetitions: int, rng: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """Yields, fit by fit, (1, repetitions) excess error over v.

        Raises:
            ValueError: a training set that leaves the coefficients open.
        """
        asked = policy.asked(self.rows)
        truth = rng.standard_normal((repetitions, self.dimension))
        design = self._design(repetitions, self.rows, rng)
        labels = [_label(design, truth, rng)]
        places = [np.arange(self.rows)]
        row_weights: list[np.ndarray | None] = [np.full((1, self.rows), 1 / self.rows)]
        for n in range(generations):
            fitted = _fit(design, places, labels, row_weights)
            yield (((fitted - truth) ** 2).sum(axis=1) / self.v)[None]
            if n + 1 == generations:
                return
            if self.fresh:
                places.append(np.arange(asked) + design.shape[1])
                design = np.concatenate([design, self._design(repetitions, asked, rng)], axis=1)
            else:
                places.append(np.arange(asked) % self.rows)
            labels.append(_label(design[:, places[-1]], fitted, rng))
            row_weights = weights(policy, self.rows, [asked] * (n + 1), repetitions, rng)

    def _design(self, repetitions: int, rows: int, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal((repetitions, rows, self.dimension))


def _label(design: np.ndarray, coefficients: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(repetitions, rows) labels of (repetitions, rows, d) rows, with noise."""
    return (design @ coefficients[..., None])[..., 0] + rng.standard_normal(design.shape[:2])


def _fit(
    design: np.ndarray, places: list[np.ndarray], labels: list[np.ndarray], row_weights: list[np.ndarray | None]
) -> np.ndarray:
    """(repetitions, d) least squares over (repetitions, rows, d) distinct rows.

    Args:
        design: the distinct rows.
        places: of each set, which of them its rows are.
        labels: of each set, (repetitions, rows).
        row_weights: of each set, (repetitions or 1, rows), or None for a set left out.
    """
    weight, target = np.zeros(design.shape[:2]), np.zeros(design.shape[:2])
    for place, y, w in zip(places, labels, row_weights, strict=True):
        if w is None:
            continue
        for start in range(0, len(place), design.shape[1]):  # within a part no row stands twice
            part = slice(start, start + design.shape[1])
            weight[:, place[part]] += w[:, part]
            target[:, place[part]] += w[:, part] * y[:, part]
    transposed = design.swapaxes(1, 2)
    try:
        return np.linalg.solve((transposed * weight[:, None]) @ design, transposed @ target[..., None])[..., 0]
    except np.linalg.LinAlgError as error:
        raise ValueError("the training set leaves the coefficients open; take more rows") from error
