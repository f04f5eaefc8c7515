"""Answered slates as flat arrays, so that slates of different K stand side by side."""

from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True, slots=True)
class Slates:
    """n slates of K samples each, K differing; their samples are consecutive rows of every array about samples.

    Attributes:
        sizes: (n,) K, each at least 2.
        picked: (n,) the picked position, in [0, K).
        raters: (n,) who picked, any whole numbers.
        independent: whether picks are independent whoever made them, as simulated users' are.
    """

    sizes: np.ndarray
    picked: np.ndarray
    raters: np.ndarray
    independent: bool = False

    @classmethod
    def of_equal_size(cls, k: int, picked: np.ndarray, raters: np.ndarray | None = None) -> Self:
        """Slates of one K; without raters every pick is someone else's."""
        n = len(picked)
        return cls(np.full(n, k), np.asarray(picked), np.arange(n) if raters is None else np.asarray(raters))

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def starts(self) -> np.ndarray:
        """(n,) the first row of each slate."""
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.int64)

    @property
    def rows(self) -> np.ndarray:
        """(n,) the row of each picked sample."""
        return self.starts + self.picked

    @property
    def positions(self) -> np.ndarray:
        """(rows,) the position of each sample in its slate, from 0."""
        return np.arange(int(self.sizes.sum())) - self.spread(self.starts)

    def total(self, values: np.ndarray) -> np.ndarray:
        """(n, ...) sums over each slate of (rows, ...) values."""
        if not len(self):
            return np.zeros((0, *values.shape[1:]))
        return np.add.reduceat(values, self.starts, axis=0)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """(rows, ...) each slate's value at all its samples."""
        return np.repeat(values, self.sizes, axis=0)

    def centred(self, values: np.ndarray) -> np.ndarray:
        """(rows, ...) values less their slate's mean; exactly 0 where they are equal."""
        sizes = self.sizes.reshape(-1, *[1] * (values.ndim - 1))
        apart = values - self.spread(values[self.starts])
        return apart - self.spread(self.total(apart) / sizes)

    def log_probabilities(self, utilities: np.ndarray) -> np.ndarray:
        """(rows,) log of Luce's probability of each sample in its slate, from (rows,) utilities."""
        shifted = utilities - self.spread(np.maximum.reduceat(utilities, self.starts))
        return shifted - self.spread(np.log(self.total(np.exp(shifted))))

    def keep(self, chosen: np.ndarray) -> tuple["Slates", np.ndarray]:
        """The slates where the (n,) mask is true, and the (rows,) mask of their samples."""
        kept = Slates(self.sizes[chosen], self.picked[chosen], self.raters[chosen], self.independent)
        return kept, self.spread(chosen)
