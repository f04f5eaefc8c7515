"""Data policies: what a generation's training set is made of. One object, for the flow and for the toy models alike.

Each generation t brings one new set of n_t samples (curated or not) of its generator; a policy says how many rows of
the real data and of each such set the next generation is trained on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

PolicyKind = Literal["mix", "replace", "accumulate", "accumulate_subsample"]
POLICY_KINDS: tuple[PolicyKind, ...] = get_args(PolicyKind)


@dataclass(frozen=True, slots=True)
class Composition:
    """The composition of one training set.

    Attributes:
        real: rows of real data in it.
        sets: rows of each generation's set in it, oldest first.
        real_share: probability that a row drawn for training is a real one.
        set_shares: the same by generation's set; all shares add up to 1.
    """

    real: int
    sets: tuple[int, ...]
    real_share: float
    set_shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class DataPolicy:
    """The policy by which real data and the generations' sets make a training set.

    Attributes:
        kind: 'replace': the latest set alone. 'accumulate': the real data and every set so far, all rows alike.
            'accumulate_subsample': as many rows as there are real ones, drawn without replacement from all of those.
            'mix': real data and the latest set in the ratio 1 : lam, whatever their sizes; lam = inf is 'replace'.
        lam: of 'mix'; the others ignore it.

    Raises:
        ValueError: an unknown kind, or a lam that isn't above 0.

    Source: Gerstgrasser et al. 2024 (arXiv 2404.01413) for replace and accumulate, Kazdan et al. 2024
    (arXiv 2410.16713) for accumulate_subsample, Ferbach et al. 2024 (arXiv 2407.09499), equation (6), for mix.
    """

    kind: PolicyKind = "mix"
    lam: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in POLICY_KINDS:
            raise ValueError(f"There is no data policy '{self.kind}'; choose one of {', '.join(POLICY_KINDS)}.")
        if not self.lam > 0:
            raise ValueError(f"lam must be above 0, not {self.lam}")

    def __str__(self) -> str:
        return f"mix lam={self.lam:g}" if self.kind == "mix" else self.kind

    @property
    def is_pure(self) -> bool:
        """True if only the latest set trains: the pure loop of the theorem."""
        return self.kind == "replace" or (self.kind == "mix" and math.isinf(self.lam))

    @property
    def is_mixed(self) -> bool:
        """True if it is the theorem's mix of real data and the latest set."""
        return self.kind == "mix" and not math.isinf(self.lam)

    @property
    def accumulates(self) -> bool:
        """True if sets of earlier generations train too."""
        return self.kind in ("accumulate", "accumulate_subsample")

    @property
    def uses_real(self) -> bool:
        """True if any real data train."""
        return not self.is_pure

    @property
    def is_random(self) -> bool:
        """True if `compose` draws rows at random, and so needs a generator of random numbers."""
        return self.kind == "accumulate_subsample"

    def asked(self, n_real: int) -> int:
        """The number of samples that each generation's set should hold beside `n_real` real data."""
        return max(1, round(self.lam * n_real)) if self.is_mixed else n_real

    def shares(self, n_real: int, sizes: Sequence[int]) -> tuple[float, tuple[float, ...]]:
        """Expected share of the real data, and of each set (oldest first), in what is drawn for training."""
        latest = (0.0,) * (len(sizes) - 1)
        if self.is_pure:
            return 0.0, (*latest, 1.0)
        if self.kind == "mix":
            return 1 / (1 + self.lam), (*latest, self.lam / (1 + self.lam))
        total = n_real + sum(sizes)
        return n_real / total, tuple(size / total for size in sizes)

    def compose(self, n_real: int, sizes: Sequence[int], rng: np.random.Generator | None = None) -> Composition:
        """The make-up of the next training set.

        Args:
            n_real: real data there are.
            sizes: samples in each generation's set, oldest first; the latest is what was just made.
            rng: draws the rows of 'accumulate_subsample'; the others need none.

        Raises:
            ValueError: no sets, an empty latest one, or no `rng` where one is needed.
        """
        if not sizes or sizes[-1] < 1:
            raise ValueError("a training set needs the latest generation's samples; there are none")
        latest = (0,) * (len(sizes) - 1) + (sizes[-1],)
        if self.kind in ("mix", "replace"):
            return Composition(n_real if self.uses_real else 0, latest, *self.shares(n_real, sizes))
        if self.kind == "accumulate":
            return Composition(n_real, tuple(sizes), *self.shares(n_real, sizes))
        if rng is None:
            raise ValueError("accumulate_subsample draws rows at random and needs a generator of random numbers")
        drawn = rng.multivariate_hypergeometric([n_real, *sizes], n_real)
        return Composition(
            int(drawn[0]), tuple(drawn[1:].tolist()), float(drawn[0] / n_real), tuple((drawn[1:] / n_real).tolist())
        )
