"""Next-token frequencies learned from their own draws: Seddik et al. 2024 (arXiv 2404.05090), with or without picks.

The truth is Zipf's law over a vocabulary. The first fit, n = 1 (the paper's p^(1)), is the frequencies of N real rows;
fit n makes a set of rows, and the policy composes the training set whose frequencies are fit n + 1. What is measured is
the diversity, the probability that two tokens differ: 1 - S, S = sum_i p_i^2. At total collapse, one token, it is 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from loop.policies import DataPolicy
from loop.theory.operator import ChoiceRule, K
from loop.theory.population import Curators, policy_loop
from loop.theory.toy import tokens
from loop.theory.toy.curve import check_range
from loop.theory.toy.spread import spread


@dataclass(frozen=True, slots=True)
class CategoricalModel:
    """The model's sizes, and how rows are curated.

    Attributes:
        vocabulary: m tokens; token i has mass proportional to 1/i.
        rows: N real rows.
        k: each synthetic row is picked from K draws by Luce's rule; 1 is no curation.
        gamma: reward of the rarest token; the commonest has 0, the others stand evenly between.

    Raises:
        ValueError: sizes out of range.
    """

    vocabulary: int = 10
    rows: int = 20
    k: K = 1
    gamma: float = 1.0

    def __post_init__(self) -> None:
        check_range("vocabulary", self.vocabulary, 2, 10_000)
        check_range("rows", self.rows, 2, 100_000)
        check_slate(self.k)
        check_range("gamma", self.gamma, 0, 100)

    @property
    def quantities(self) -> tuple[str, ...]:
        """Diversity, and how many tokens still have mass."""
        return ("diversity 1 − Σp²", "tokens_left")

    @property
    def support(self) -> tokens.Support:
        """The truth, the rewards and the rule."""
        masses = 1 / np.arange(1, self.vocabulary + 1)
        rewards = np.linspace(0, self.gamma, self.vocabulary)
        return tokens.Support(masses / masses.sum(), rewards, ChoiceRule(self.k))

    def entries(self, policy: DataPolicy, generations: int) -> int:
        """Numbers that one repetition holds."""
        slates = policy.asked(self.rows) * self.k if isinstance(self.k, int) and self.k > 1 else 0
        return 2 * self.vocabulary * (generations + 1) + 4 * slates

    def exact(self, policy: DataPolicy, generations: int) -> np.ndarray | None:
        """(generations,) expected diversity at n = 1, 2, ...: the truth's times `spread`; None with curation."""
        if self.k != 1:
            return None
        return (1 - (self.support.truth**2).sum()) * spread(policy, self.rows, generations)

    def beside(self, policy: DataPolicy, generations: int) -> dict[str, np.ndarray]:
        """With curation: the diversity there would be with endless rows, by the K-choice operator."""
        if self.k == 1:
            return {}
        s = self.support
        laws = policy_loop(s.rewards, s.truth, s.truth, policy, Curators.alike(s.rule), generations - 1)
        return {"endless_rows": 1 - (laws**2).sum(axis=1)}

    def simulate(
        self, policy: DataPolicy, generations: int, repetitions: int, rng: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """Yields, fit by fit, (2, repetitions): diversity and tokens left."""
        for step in tokens.simulate(self.support, policy, self.rows, generations, repetitions, rng):
            yield np.stack([1 - (step.law**2).sum(axis=1), (step.law > 0).sum(axis=1)])


def check_slate(k: K) -> None:
    """Raises ValueError for a K that the simulation can't take."""
    if k != "inf":
        check_range("K", k, 1, 1_000)
