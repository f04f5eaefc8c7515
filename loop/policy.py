"""Data policies: the shares of real data and of the generations' curated sets in a training set. Torch-free.

The loop, the toy models and the tests of collapse all compose by `DataPolicy`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

PolicyKind = Literal["mix", "replace", "accumulate", "accumulate_subsample", "replace_grown", "recent", "uniform"]
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
            'replace_grown': the latest set alone, with as many rows as there would be under 'accumulate'.
            'recent': equal shares of the latest few generations, whatever the sizes of their sets, the real data
            being generation 0's; about as many rows in all as there are real ones. 'uniform': the same of all
            generations so far.
        lam: of 'mix'; the others ignore it.
        recent: of 'recent': the number of generations; 1 is 'replace'.

    Raises:
        ValueError: an unknown kind, a lam that isn't above 0, or a number of generations below 1.

    Source: Gerstgrasser et al. 2024 (arXiv 2404.01413) for replace, accumulate and replace_grown, Kazdan et al. 2024
    (arXiv 2410.16713) for accumulate_subsample, Ferbach et al. 2024 (arXiv 2407.09499), equation (6), for mix, Seddik
    et al. 2024 (arXiv 2404.05090), Section 4.2, for recent and uniform.
    """

    kind: PolicyKind = "mix"
    lam: float = 1.0
    recent: int = 2

    def __post_init__(self) -> None:
        if self.kind not in POLICY_KINDS:
            raise ValueError(f"There is no data policy '{self.kind}'; choose one of {', '.join(POLICY_KINDS)}.")
        if not self.lam > 0:
            raise ValueError(f"lam must be above 0, not {self.lam}")
        if self.recent < 1:
            raise ValueError(f"recent must be 1 generation or more, not {self.recent}")

    def __str__(self) -> str:
        return {"mix": f"mix lam={self.lam:g}", "recent": f"recent {self.recent}"}.get(self.kind, self.kind)

    @property
    def is_pure(self) -> bool:
        """True if only the latest set trains: the pure loop of the theorem."""
        is_replace = self.kind in ("replace", "replace_grown") or (self.kind == "recent" and self.recent == 1)
        return is_replace or (self.kind == "mix" and math.isinf(self.lam))

    @property
    def is_mixed(self) -> bool:
        """True if it is the theorem's mix of real data and the latest set."""
        return self.kind == "mix" and not math.isinf(self.lam)

    @property
    def accumulates(self) -> bool:
        """True if sets of earlier generations train too."""
        return not self.is_pure and self.kind != "mix"

    @property
    def uses_real(self) -> bool:
        """True if any real data train."""
        return not self.is_pure

    @property
    def is_random(self) -> bool:
        """True if rows are chosen at random from larger sets."""
        return self.accumulates and self.kind != "accumulate"

    def asked(self, n_real: int, t: int = 1) -> int:
        """The number of samples that the set of generation t should hold beside `n_real` real data."""
        if self.kind == "replace_grown":
            return n_real * (t + 1)
        return max(1, round(self.lam * n_real)) if self.is_mixed else n_real

    def sizes(self, n_real: int, t: int) -> list[int]:
        """The sizes of the sets of generations 1 .. t, if each holds as many samples as it should."""
        return [self.asked(n_real, i) for i in range(1, t + 1)]

    def shares(self, n_real: int, sizes: Sequence[int]) -> tuple[float, tuple[float, ...]]:
        """Expected share of the real data, and of each set (oldest first), in what is drawn for training."""
        latest = (0.0,) * (len(sizes) - 1)
        if self.is_pure:
            return 0.0, (*latest, 1.0)
        if self.kind == "mix":
            return 1 / (1 + self.lam), (*latest, self.lam / (1 + self.lam))
        if self.kind in ("recent", "uniform"):
            used = self._used([n_real, *sizes])
            return float(used[0]) / sum(used), tuple(float(use) / sum(used) for use in used[1:])
        total = n_real + sum(sizes)
        return n_real / total, tuple(size / total for size in sizes)

    def _used(self, sizes: Sequence[int]) -> list[bool]:
        """Of 'recent' and 'uniform': true for each generation, oldest first, that has samples and that trains."""
        filled = [i for i, size in enumerate(sizes) if size]
        used = set(filled[-self.recent :] if self.kind == "recent" else filled)
        return [i in used for i in range(len(sizes))]

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
        if self.is_pure or self.kind == "mix":
            return Composition(n_real if self.uses_real else 0, latest, *self.shares(n_real, sizes))
        if self.kind == "accumulate":
            return Composition(n_real, tuple(sizes), *self.shares(n_real, sizes))
        if self.kind in ("recent", "uniform"):
            used = self._used([n_real, *sizes])
            rows = -(-n_real // sum(used))
            real, *sets = (min(size, rows) * use for size, use in zip((n_real, *sizes), used, strict=True))
            return Composition(real, tuple(sets), *self.shares(n_real, sizes))
        if rng is None:
            raise ValueError("accumulate_subsample draws rows at random and needs a generator of random numbers")
        drawn = rng.multivariate_hypergeometric([n_real, *sizes], n_real)
        return Composition(
            int(drawn[0]), tuple(drawn[1:].tolist()), float(drawn[0] / n_real), tuple((drawn[1:] / n_real).tolist())
        )
