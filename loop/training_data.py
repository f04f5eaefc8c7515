"""The training set of a generation: the real data and the curated sets, in the shares that the data policy says."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from loop.config import StudyConfig
from loop.policies import Composition
from model.images import scaled


@dataclass
class _Tally:
    """The rows asked of a mixture, and those it gave, by part; training draws from a thread of its own."""

    asked: np.ndarray
    drawn: np.ndarray
    draws: int = 0


@dataclass(frozen=True)
class Mixture:
    """A training distribution: several sets of data, each with its share.

    With as many samples as the shares call for it is the plain union of Algorithm 1; with fewer (people's picks alone)
    each of them comes up more often, so that the mix stays what was asked for.

    Attributes:
        parts: each (n_i, *shape), images as uint8 pixels; one with a share above 0 must not be empty.
        shares: of each part; they add up to 1.

    Source: Ferbach et al. 2024 (arXiv 2407.09499), Algorithm 1 and equation (6), for real and curated data.
    """

    parts: tuple[torch.Tensor, ...]
    shares: tuple[float, ...]
    _tally: _Tally = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.parts) != len(self.shares) or min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-9:
            raise ValueError(f"a mixture needs a share for each part, adding up to 1; got {self.shares}")
        for part, share in zip(self.parts, self.shares, strict=True):
            if share and not len(part):
                raise ValueError(f"a part of the mixture with share {share:g} holds no samples")
        object.__setattr__(self, "_tally", _Tally(np.zeros(len(self.parts)), np.zeros(len(self.parts), dtype=np.int64)))

    def draw(self, n: int, rng: np.random.Generator) -> torch.Tensor:
        """(n, *shape) float32, with replacement, shuffled; each part's count is its expectation, rounded at random."""
        edges = np.floor(np.concatenate([[0.0], np.cumsum(self.shares) * n]) + rng.random()).astype(np.int64)
        edges[0], edges[-1] = 0, n
        counts = np.diff(edges)
        self._tally.asked += np.asarray(self.shares) * n
        self._tally.drawn += counts
        self._tally.draws += 1
        parts = [_some(part, int(count), rng) for part, count in zip(self.parts, counts, strict=True)]
        return scaled(torch.cat(parts)[torch.from_numpy(rng.permutation(n))])

    def achieved(self) -> tuple[float, ...]:
        """The share of each part in what was drawn so far.

        Raises:
            RuntimeError: it isn't what was asked for, beyond rounding; a generator must draw all its data here.
        """
        tally = self._tally
        if not tally.draws:
            raise RuntimeError("the generator was trained without drawing from its training data")
        if (np.abs(tally.drawn - tally.asked) > 2 * tally.draws).any():
            raise RuntimeError(f"asked for {tally.asked.tolist()} rows by part, drew {tally.drawn.tolist()}")
        return tuple((tally.drawn / tally.drawn.sum()).tolist())


def real_only(real: torch.Tensor) -> Mixture:
    """The mix for pretraining."""
    return Mixture((real,), (1.0,))


def mixture_of(
    real: torch.Tensor, sets: Sequence[torch.Tensor], composition: Composition, rng: np.random.Generator
) -> Mixture:
    """The training distribution of a composition; where it calls for fewer rows than a set has, they are drawn once.

    Args:
        real: (n, *shape), images as uint8 pixels.
        sets: each generation's (n_i, *shape), oldest first; those without rows in the composition may be empty.
        composition: from `DataPolicy.compose`.
        rng: chooses the rows.
    """
    rows = (composition.real, *composition.sets)
    parts = tuple(_subset(part, n, rng) for part, n in zip((real, *sets), rows, strict=True))
    return Mixture(parts, (composition.real_share, *composition.set_shares))


def curated_count(config: StudyConfig, n_real: int) -> int:
    """The number of curated samples of a generation: `curation.picks`, or when that is 0 what the policy asks."""
    return config.curation.picks or config.policy.asked(n_real)


def _subset(part: torch.Tensor, n: int, rng: np.random.Generator) -> torch.Tensor:
    return part if n == len(part) else part[torch.from_numpy(rng.choice(len(part), n, replace=False))]


def _some(x: torch.Tensor, n: int, rng: np.random.Generator) -> torch.Tensor:
    return x[torch.from_numpy(rng.integers(len(x), size=n))] if n else x[:0]
