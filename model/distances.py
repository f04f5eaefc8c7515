"""How far samples are from real data, by their features: Fréchet and kernel distance, fidelity and diversity.

Features are (n, d) tensors of any extractor (see `model.features`), on the device that is to do the work. All sums are
in float64, and results don't depend on how the features are cut into chunks beyond rounding.
"""

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch

from model.frechet import Moments, checked, frechet_distance, frechet_error
from model.pairs import Between, Within, between, polynomial, within

NEIGHBOURS = 5
Z95 = 1.959964
OVERLAP = 2.0  # real data for each independent one, where neighbours are covered together

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Distances:
    """Of n samples from n_real real data; a neighbourhood reaches to the k-th nearest of the same set.

    Attributes:
        fd: Fréchet distance (Heusel et al. 2017); None where either set has fewer than d + 1 features.
        kd: kernel distance over all pairs, the unbiased squared maximum mean discrepancy under the cubic kernel
            (Bińkowski et al. 2018, equation 4); a little below 0 where the sets hardly differ; None for a single one.
        precision: share of samples that lie in the neighbourhood of a real datum: fidelity (Kynkäänniemi et al. 2019,
            arXiv 1904.06991, equations 1 to 3).
        recall: share of real data that lie in the neighbourhood of a sample: diversity (the same).
        density: mean number of real neighbourhoods that a sample lies in, over k: near 1 for real data, may exceed 1
            (Naeem et al. 2020, arXiv 2002.09797, equation 2).
        coverage: share of real data with a sample in their neighbourhood (the same, equation 3). All four are None
            where either set has no more than k; a point on the rim of a neighbourhood is out, as in Naeem's code.
        n: samples.
        n_real: real data.
        fd_interval: 95 % over other samples as many, the real data as they are (delta method). FD falls with n, so it
            is of the expected FD at this n, not of that of endless samples.
        kd_interval: the same, by the variance of a U-statistic.
        precision_interval: the same, Wilson's.
        density_interval: the same, of a mean.
        recall_interval: over other samples or other real data, Wilson's with half as many real data: neighbours share
            what covers them, and simulated variances were 1 to 1.8 times those of independent ones.
        coverage_interval: the same.
    """

    fd: float | None
    kd: float | None
    precision: float | None
    recall: float | None
    density: float | None
    coverage: float | None
    n: int
    n_real: int
    fd_interval: Interval | None = None
    kd_interval: Interval | None = None
    precision_interval: Interval | None = None
    recall_interval: Interval | None = None
    density_interval: Interval | None = None
    coverage_interval: Interval | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)


class Reference:
    """Real features, and what every comparison needs of them, found once.

    Args:
        real: (n, d) finite features.
        neighbours: k, of the neighbourhoods.
        chunk: features in a block of pairs; by the device if it isn't given.

    Raises:
        ValueError: they aren't, or no neighbour is asked for.
    """

    def __init__(self, real: torch.Tensor, neighbours: int = NEIGHBOURS, chunk: int | None = None):
        if neighbours < 1:
            raise ValueError(f"{neighbours} neighbours make no neighbourhood: ask for 1 or more.")
        self.real, self.neighbours, self.chunk = checked(real), neighbours, chunk

    @cached_property
    def moments(self) -> Moments | None:
        """Mean and covariance; None where there are too few for a Fréchet distance."""
        return _moments(self.real)

    @cached_property
    def within(self) -> Within:
        """The real data's own neighbourhoods and kernel."""
        return within(self.real, self.neighbours, self.chunk)

    def compare(self, x: torch.Tensor) -> Distances:
        """Of (m, d) features of samples.

        Raises:
            ValueError: they aren't finite, or of another size.
        """
        check_comparable(self.real, x)
        own = within(x, self.neighbours, self.chunk)
        found = between(self.real, x, self.within, own, self.chunk)
        moments, fd, fd_interval = _moments(x), None, None
        if self.moments and moments:
            fd = frechet_distance(self.moments, moments)
            fd_interval = _normal(fd, frechet_error(self.moments, moments, x))
        return Distances(
            fd=fd,
            fd_interval=fd_interval and (max(0.0, fd_interval[0]), fd_interval[1]),
            **_kernel_distance(self.within, own, found),
            **self._near(found),
            n=len(x),
            n_real=len(self.real),
        )

    def _near(self, found: Between) -> dict[str, Any]:
        if min(len(found.covered), len(found.holders)) <= self.neighbours:
            return dict.fromkeys(("precision", "recall", "density", "coverage"))
        shares = {"precision": found.holders > 0, "recall": found.recalled, "coverage": found.covered}
        held = found.holders.double() / self.neighbours
        error = float(held.std()) / math.sqrt(len(held))
        figures: dict[str, Any] = {
            "density": float(held.mean()),
            "density_interval": _normal(float(held.mean()), error),
        }
        for name, inside in shares.items():
            figures[name] = float(inside.double().mean())
            free = len(inside) if name == "precision" else len(inside) / OVERLAP
            figures[f"{name}_interval"] = interval_of_share(figures[name], free)
        return figures


def kernel_distance_of_subsets(
    real: torch.Tensor, x: torch.Tensor, seed: int, subsets: int = 100, size: int = 1_000
) -> tuple[float, float]:
    """KID as it is usually given: mean and standard deviation of the kernel distance of random subsets of both sets.

    Its mean estimates what `Distances.kd` does, with a larger error.

    Source: Bińkowski et al. 2018 (arXiv 1801.01401), section 4.

    Args:
        real: (n, d) features.
        x: (m, d) features.
        seed: of the subsets.
        subsets: how many.
        size: features of either set in a subset, drawn without repetition.

    Raises:
        ValueError: features that can't be compared, or fewer than `size`.
    """
    check_comparable(checked(real), x)
    if not 2 <= size <= min(len(real), len(x)):
        raise ValueError(f"Subsets of {size} need 2 to {min(len(real), len(x))}, the smaller number of features.")
    random = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(subsets):
        a, b = (one[torch.randperm(len(one), generator=random)[:size].to(one.device)].double() for one in (real, x))
        values.append(_small_kernel_distance(a, b))
    found = torch.tensor(values, dtype=torch.float64)
    return float(found.mean()), float(found.std(correction=0))


def check_comparable(real: torch.Tensor, x: torch.Tensor) -> None:
    """Refuses features of samples that can't be held against real ones.

    Raises:
        ValueError: they aren't finite, or of another size.
    """
    if checked(x).shape[1] != real.shape[1]:
        raise ValueError(f"Features of {x.shape[1]} and of {real.shape[1]} numbers can't be compared.")


def _small_kernel_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Of two sets of equal size whose pairs fit in memory."""
    size, d = a.shape
    same = sum(polynomial(one @ one.T, d).fill_diagonal_(0).sum() for one in (a, b)) / (size * (size - 1))
    return float(same - 2 * polynomial(a @ b.T, d).mean())


def _moments(features: torch.Tensor) -> Moments | None:
    return Moments.of(features) if len(features) > features.shape[1] else None


def _kernel_distance(real: Within, own: Within, found: Between) -> dict[str, Any]:
    """`kd` and its interval: a U-statistic of the samples, whose variance has a part of order 1/n and one of 1/n²."""
    if real.kernel is None or own.kernel is None:
        return {"kd": None}
    n, kd = len(own.kernel_of), real.kernel + own.kernel - 2 * found.kernel
    if n < 3:
        return {"kd": kd}
    first = float((own.kernel_of - found.kernel_of).var())
    second = own.kernel_square - 2 * float(own.kernel_of.square().mean()) + own.kernel**2
    variance = max(4 * first / n - 2 * second / n**2, 2 * second / n**2, 0.0)
    return {"kd": kd, "kd_interval": _normal(kd, math.sqrt(variance))}


def _normal(value: float, error: float) -> Interval:
    return value - Z95 * error, value + Z95 * error


def interval_of_share(share: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a probability from its share among n independent draws; sound near 0 and 1 too."""
    centre, half = share + Z95**2 / (2 * n), Z95 * math.sqrt(share * (1 - share) / n + (Z95 / (2 * n)) ** 2)
    return (centre - half) / (1 + Z95**2 / n), (centre + half) / (1 + Z95**2 / n)
