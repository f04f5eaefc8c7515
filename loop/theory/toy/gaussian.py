"""A Gaussian fitted to samples of itself, one dimension: its variance shrinks as its mean wanders off.

The first fit, n = 1, is on N real points of N(0, 1); fit n draws a set of points, and the policy composes what fit
n + 1 is made from: their mean, and their biased variance (1/N, maximum likelihood).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from loop.policies import DataPolicy
from loop.theory.toy.curve import check_range
from loop.theory.toy.rows import weights
from loop.theory.toy.spread import spread


@dataclass(frozen=True, slots=True)
class GaussianModel:
    """The model's size.

    Attributes:
        rows: N real points.

    Raises:
        ValueError: a size out of range.
    """

    rows: int = 20

    def __post_init__(self) -> None:
        check_range("rows", self.rows, 2, 100_000)

    @property
    def quantities(self) -> tuple[str, ...]:
        """Fitted variance over the true one, and the squared distance of the fitted mean from the true one, over it."""
        return ("variance / σ²", "drift_squared")

    def entries(self, policy: DataPolicy, generations: int) -> int:
        """Numbers that one repetition holds."""
        return 2 * (self.rows + generations * policy.asked(self.rows))

    def exact(self, policy: DataPolicy, generations: int) -> np.ndarray:
        """(generations,) expected variance over the true one: see `spread`."""
        return spread(policy, self.rows, generations)

    def beside(self, policy: DataPolicy, generations: int) -> dict[str, np.ndarray]:
        """The drift's expectation: 1 minus the variance's under every policy, as the fitted law averages to the truth.

        Derived for this project: every policy keeps E[x^2] under the fitted law, from one fit to the next.
        """
        return {"drift_squared_exact": 1 - self.exact(policy, generations)}

    def simulate(
        self, policy: DataPolicy, generations: int, repetitions: int, rng: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """Yields, fit by fit, (2, repetitions): variance and squared mean."""
        asked = policy.asked(self.rows)
        sets = [rng.standard_normal((repetitions, self.rows))]
        row_weights: list[np.ndarray | None] = [np.full((1, self.rows), 1 / self.rows)]
        for n in range(generations):
            used = [(x, w) for x, w in zip(sets, row_weights, strict=True) if w is not None]
            mean = sum(((x * w).sum(axis=1) for x, w in used), np.zeros(repetitions))
            variance = sum((((x - mean[:, None]) ** 2 * w).sum(axis=1) for x, w in used), np.zeros(repetitions))
            yield np.stack([variance, mean**2])
            if n + 1 < generations:
                sets.append(mean[:, None] + np.sqrt(variance)[:, None] * rng.standard_normal((repetitions, asked)))
                row_weights = weights(policy, self.rows, [asked] * (n + 1), repetitions, rng)
