"""The conditions of a study: which there are, which real data are of each, and which a slate is drawn under.

A condition is a class or a prompt. All samples of a slate share it, and theory holds within each. Torch-free.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from loop.config import StudyConfig
from model.config import Conditions


@dataclass(frozen=True, slots=True)
class StudyConditions:
    """The conditions of one study.

    Attributes:
        asked: names and weights, as generators know them.
        labels: of each condition, the real data's class; -1 where no real datum is of it.
    """

    asked: Conditions
    labels: tuple[int, ...]

    @classmethod
    def of(cls, config: StudyConfig, label_names: Sequence[str]) -> Self | None:
        """The conditions that study.toml declares; None where there are none.

        Args:
            config: the study's.
            label_names: of the real data's classes.

        Raises:
            ValueError: a label that the data don't have.
        """
        if config.data.conditions == "classes":
            n = len(label_names)
            return cls(Conditions(tuple(label_names), (1 / n,) * n), tuple(range(n)))
        if not config.conditions:
            return None
        labels, places = [], {name: i for i, name in enumerate(label_names)}
        for condition in config.conditions:
            label = places.get(condition.name, -1) if condition.label is None else condition.label
            if label >= len(label_names):
                raise ValueError(
                    f"condition '{condition.name}' has label {label}; the data's classes go from 0 to "
                    f"{len(label_names) - 1}"
                )
            labels.append(label)
        total = sum(condition.weight for condition in config.conditions)
        names = tuple(condition.name for condition in config.conditions)
        return cls(Conditions(names, tuple(condition.weight / total for condition in config.conditions)), tuple(labels))

    def __len__(self) -> int:
        return len(self.labels)

    def of_labels(self, labels: np.ndarray) -> np.ndarray:
        """(n,) int64 conditions of real data with (n,) labels; -1 for those of none."""
        condition_of = np.full(max(int(labels.max(initial=0)), *self.labels, 0) + 1, -1)
        for condition, label in reversed(list(enumerate(self.labels))):
            if label >= 0:
                condition_of[label] = condition
        return condition_of[labels]

    def of_names(self, names: Sequence[str | None]) -> np.ndarray:
        """(n,) int64 conditions by name.

        Raises:
            ValueError: a slate without a condition, or with one that study.toml doesn't have.
        """
        places = {name: i for i, name in enumerate(self.asked.names)}
        for name in names:
            if name not in places:
                raise ValueError(
                    f"A slate has the condition {name!r}, which study.toml doesn't name; conditions can't change once "
                    "there are slates."
                )
        return np.array([places[name] for name in names if name is not None], dtype=np.int64)

    def of_seeds(self, seeds: Sequence[int] | np.ndarray) -> np.ndarray:
        """(n,) int64 conditions of slates, each drawn by weight from the slate's own seed."""
        uniform = [np.random.Generator(np.random.Philox(key=int(seed))).random() for seed in seeds]
        edges = np.cumsum(self.asked.weights)
        return np.minimum(np.searchsorted(edges, uniform, side="right"), len(self) - 1).astype(np.int64)

    def allotted(self, n: int, seed: int) -> np.ndarray:
        """(n,) int64 conditions in the shares of their weights but for rounding, shuffled; always the same."""
        exact = np.asarray(self.asked.weights) * n
        counts = np.floor(exact).astype(np.int64)
        counts[np.argsort(counts - exact, kind="stable")[: n - counts.sum()]] += 1
        return np.random.default_rng([seed, n]).permutation(np.repeat(np.arange(len(self)), counts))
