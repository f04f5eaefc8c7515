"""What a generation is trained on: real and curated data in the ratio 1 : lam."""

import math
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Mixture:
    """The distribution `p_ref / (1 + lam) + lam / (1 + lam) * curated`.

    With lam * n curated samples it is the plain union of Algorithm 1; with fewer (people's picks alone) each of them
    comes up more often, so that the mix stays what was asked for.

    Attributes:
        real: (n, *shape).
        curated: (m, *shape); it may be empty only if lam is 0.
        lam: curated : real; inf draws from the curated alone.

    Source: Ferbach et al. 2024 (arXiv 2407.09499), Algorithm 1 and equation (6).
    """

    real: torch.Tensor
    curated: torch.Tensor
    lam: float

    def __post_init__(self) -> None:
        if self.lam < 0 or (self.lam > 0 and len(self.curated) == 0):
            raise ValueError(f"a mix with lam = {self.lam} needs curated samples; there are {len(self.curated)}")

    @property
    def curated_share(self) -> float:
        """Lam / (1 + lam)."""
        return 1.0 if math.isinf(self.lam) else self.lam / (1 + self.lam)

    def draw(self, n: int, rng: np.random.Generator) -> torch.Tensor:
        """(n, *shape), with replacement, in random order; the curated count is its expectation, rounded at random."""
        n_curated = int(n * self.curated_share + rng.random())
        parts = [_some(self.curated, n_curated, rng), _some(self.real, n - n_curated, rng)]
        return torch.cat(parts)[torch.from_numpy(rng.permutation(n))]


def real_only(real: torch.Tensor) -> Mixture:
    """The mix for pretraining."""
    return Mixture(real, real[:0], 0.0)


def curated_count(asked: int, lam: float, n_real: int) -> int:
    """How many curated samples a generation asks for: `asked`, or when that is 0 lam * n_real (n_real if inf)."""
    if asked:
        return asked
    return n_real if math.isinf(lam) else max(1, round(lam * n_real))


def _some(x: torch.Tensor, n: int, rng: np.random.Generator) -> torch.Tensor:
    return x[torch.from_numpy(rng.integers(len(x), size=n))] if n else x[:0]
