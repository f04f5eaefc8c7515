"""Samples beside real data: Fréchet and kernel distance, precision, recall, density, coverage, nearest neighbours.

Features are (n, d) tensors of any extractor (`features.py`), on the device that is to do the work. All sums are in
float64, and results don't depend on how the features are cut into chunks beyond rounding.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import torch

from model.compute import device
from model.interfaces import scaled

CHUNK = 8_192
NEGATIVE = 1e-8  # of the largest eigenvalue: below minus this one is no rounding error
FLAT = 1e-10  # of the largest eigenvalue: directions in which the features don't vary
CHUNKS = {"cpu": 512, "cuda": 4_096}  # blocks that stay in a core's cache; blocks that keep a GPU busy
NEIGHBOURS = 5
Z95 = 1.959964
OVERLAP = 2.0  # real data for each independent one, where neighbours are covered together
Interval = tuple[float, float]


@dataclass(frozen=True)
class FeatureMoments:
    """Of n features.

    Attributes:
        n: how many.
        mean: (d,) float64.
        covariance: (d, d) float64, with n - 1 in the denominator.
    """

    n: int
    mean: torch.Tensor
    covariance: torch.Tensor

    @classmethod
    def of(cls, features: torch.Tensor, chunk: int = CHUNK) -> Self:
        """Moments of (n, d) features.

        Args:
            features: at least d + 1, or the covariance would be singular whatever they are.
            chunk: features that are converted to float64 at a time.

        Raises:
            ValueError: too few features, or one isn't finite.
        """
        n, d = checked(features).shape
        if n < d + 1:
            raise ValueError(
                f"{n} samples are too few for the covariance of {d} features: a Fréchet distance needs {d + 1} or more."
            )
        mean = torch.stack([part.double().sum(0) for part in features.split(chunk)]).sum(0) / n
        covariance = torch.zeros(d, d, dtype=torch.float64, device=features.device)
        for part in features.split(chunk):
            centred = part.double() - mean
            covariance += centred.T @ centred
        return cls(n, mean, covariance / (n - 1))

    @cached_property
    def root(self) -> torch.Tensor:
        """(d, d) the covariance's symmetric root; computed once, since real data are compared with every generation.

        Raises:
            ValueError: the matrix is no covariance.
        """
        values, vectors = torch.linalg.eigh(self.covariance)
        return (vectors * without_rounding(values).sqrt()) @ vectors.T


def frechet_distance(a: FeatureMoments, b: FeatureMoments) -> float:
    """|m_a - m_b|² + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), the squared 2-Wasserstein distance of two Gaussians.

    The trace of the root is the sum of the roots of the eigenvalues of S C_b S, where S is the root of C_a: these are
    the eigenvalues of C_a C_b, found as those of a symmetric matrix, so that nothing imaginary can arise.

    Source: Heusel et al. 2017 (arXiv 1706.08500), equation 6 (Dowson and Landau 1982).

    Raises:
        ValueError: features of different sizes, or a matrix that is no covariance.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"Features of {len(a.mean)} and of {len(b.mean)} numbers can't be compared.")
    product = a.root @ b.covariance @ a.root
    trace = without_rounding(torch.linalg.eigvalsh((product + product.T) / 2)).sqrt().sum()
    spread = a.covariance.trace() + b.covariance.trace() - 2 * trace
    return max(0.0, float((a.mean - b.mean).square().sum() + spread))


def frechet_error(real: FeatureMoments, own: FeatureMoments, x: torch.Tensor, chunk: int = CHUNK) -> float:
    """Standard error of the distance over other samples as many, the real moments as they are, by the delta method.

    A sample x adds `2 (m - m_r) (x - m) + (x - m)^T (I - T) (x - m)` over n, where T = S (S C S)^(-1/2) S, S the root
    of C_r, is the optimal map between the Gaussians: the derivative of twice the trace of the root.

    Args:
        real: moments of the real features.
        own: of the samples'.
        x: (n, d) those features.
        chunk: features that are converted to float64 at a time.
    """
    root = real.root
    product = root @ own.covariance @ root
    values, vectors = torch.linalg.eigh((product + product.T) / 2)
    inverse = torch.where(values > FLAT * values.max(), values, torch.inf).rsqrt()
    away = -root @ (vectors * inverse) @ vectors.T @ root
    away.diagonal().add_(1)
    parts = []
    for part in x.split(chunk):
        centred = part.double() - own.mean
        parts.append(2 * centred @ (own.mean - real.mean) + (centred @ away * centred).sum(1))
    return float(torch.cat(parts).std() / own.n**0.5)


def checked(features: torch.Tensor) -> torch.Tensor:
    """The features.

    Raises:
        ValueError: they aren't (n, d) numbers, all finite.
    """
    if features.ndim != 2 or not len(features):
        raise ValueError(f"Features must be (n, d) numbers, not of shape {tuple(features.shape)}.")
    bad = int((~features.isfinite()).any(1).sum())
    if bad:
        raise ValueError(f"{bad} of {len(features)} samples have features that aren't finite numbers.")
    return features


def without_rounding(values: torch.Tensor) -> torch.Tensor:
    """The eigenvalues of a covariance, those that rounding put below 0 set to it.

    Raises:
        ValueError: one is too far below 0 for that, so the matrix is no covariance.
    """
    if float(values.min()) < -NEGATIVE * max(1e-300, float(values.max())):
        raise ValueError(
            f"A covariance has the eigenvalue {float(values.min()):.3g} beside {float(values.max()):.3g}: it is none."
        )
    return values.clamp(min=0)


@dataclass(frozen=True, slots=True)
class Within:
    """Of one set of n features.

    Attributes:
        squared_radii: (n,) float64, squared distance of each to its k-th nearest other one; infinite if there are no
            more than k.
        kernel: mean of the kernel over ordered pairs of different features; None for a single one.
        kernel_of: (n,) float64, mean of the kernel of each with the others.
        kernel_square: mean of its square over the same pairs.
    """

    squared_radii: torch.Tensor
    kernel: float | None
    kernel_of: torch.Tensor
    kernel_square: float


@dataclass(frozen=True, slots=True)
class Between:
    """Of n real features and m of samples.

    Attributes:
        holders: (m,) int64, in the neighbourhoods of how many real ones each sample lies.
        covered: (n,) bool, whether any sample lies in the neighbourhood of a real one.
        recalled: (n,) bool, whether a real one lies in the neighbourhood of any sample.
        kernel: mean of the kernel over all pairs of a real one and a sample.
        kernel_of: (m,) float64, the same of each sample.
    """

    holders: torch.Tensor
    covered: torch.Tensor
    recalled: torch.Tensor
    kernel: float
    kernel_of: torch.Tensor


def within(x: torch.Tensor, k: int, chunk: int | None = None) -> Within:
    """Neighbourhoods and kernel of (n, d) finite features; the k-th nearest other one bounds a neighbourhood."""
    n, d = x.shape
    nearest = torch.full((n, k), torch.inf, dtype=torch.float64, device=x.device)
    sums = torch.zeros(n, dtype=torch.float64, device=x.device)
    squares = torch.zeros((), dtype=torch.float64, device=x.device)
    for rows, columns, products, squared in pair_blocks(x, x, chunk or chunk_for(x), half=True):
        kernel = polynomial(products, d)
        if rows.start == columns.start:
            squared.fill_diagonal_(torch.inf)
            kernel.fill_diagonal_(0)
            squares += kernel.square().sum()
        else:
            squares += 2 * kernel.square().sum()
            sums[columns] += kernel.sum(0)
            merge_nearest(nearest[columns], squared.T)
        sums[rows] += kernel.sum(1)
        merge_nearest(nearest[rows], squared)
    pairs = max(1, n * (n - 1))
    mean = float(sums.sum()) / pairs if n > 1 else None
    return Within(nearest.amax(1), mean, sums / max(1, n - 1), float(squares) / pairs)


def between(
    real: torch.Tensor, x: torch.Tensor, real_within: Within, x_within: Within, chunk: int | None = None
) -> Between:
    """Neighbourhoods between (n, d) real features and (m, d) of samples.

    Args:
        real: the real features.
        x: the samples'.
        real_within: `within` of the real features.
        x_within: the same of the samples', with the same k.
        chunk: features of either in a block; by the device if it isn't given.
    """
    d = real.shape[1]
    real_radii, radii = real_within.squared_radii, x_within.squared_radii
    holders = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    covered, recalled = (torch.zeros(len(real), dtype=torch.bool, device=x.device) for _ in range(2))
    sums = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for rows, columns, products, squared in pair_blocks(real, x, chunk or chunk_for(x)):
        inside = squared < real_radii[rows, None]
        holders[columns] += inside.sum(0)
        covered[rows] |= inside.any(1)
        recalled[rows] |= (squared < radii[None, columns]).any(1)
        sums[columns] += polynomial(products, d).sum(0)
    return Between(holders, covered, recalled, float(sums.mean()) / len(real), sums / len(real))


def polynomial(products: torch.Tensor, d: int) -> torch.Tensor:
    """k(x, y) = (x·y / d + 1)³ from inner products of features of d numbers (Bińkowski et al. 2018, section 4)."""
    base = products / d + 1
    return base * base * base


def chunk_for(x: torch.Tensor) -> int:
    """Features in a block on the device of these."""
    return CHUNKS.get(x.device.type, CHUNKS["cpu"])


def merge_nearest(nearest: torch.Tensor, squared: torch.Tensor) -> None:
    """Merges (n, m) squared distances into the (n, k) least so far, in place; few rows change after a while."""
    closer = (squared.amin(1) < nearest.amax(1)).nonzero().squeeze(1)
    candidates = torch.cat([nearest[closer], squared[closer]], dim=1)
    nearest[closer] = candidates.topk(nearest.shape[1], dim=1, largest=False, sorted=False).values


def pair_blocks(
    x: torch.Tensor, y: torch.Tensor, chunk: int, half: bool = False
) -> Iterator[tuple[slice, slice, torch.Tensor, torch.Tensor]]:
    """All pairs of rows of x and y, block by block, in float64.

    Args:
        x: (n, d) features.
        y: (m, d) features.
        chunk: rows of either in a block.
        half: leaves out the blocks below the diagonal; for x with itself.

    Yields:
        The rows of x, the rows of y, their inner products, and their squared distances.
    """
    for start in range(0, len(x), chunk):
        rows = slice(start, start + chunk)
        left = x[rows].double()
        left_norms = left.square().sum(1)
        for other in range(start if half else 0, len(y), chunk):
            columns = slice(other, other + chunk)
            right = y[columns].double()
            products = left @ right.T
            squared = torch.add(left_norms[:, None] + right.square().sum(1), products, alpha=-2).clamp_(min=0)
            yield rows, columns, products, squared


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
        fd_interval: 95% over other samples as many, the real data as they are (delta method). FD falls with n, so it
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
    """Real features, and the part of every comparison that rests on them alone, computed once.

    Args:
        real: (n, d) finite features.
        neighbours: k, of the neighbourhoods.
        chunk: features in a block of pairs; by the device if it isn't given.

    Raises:
        ValueError: the features aren't finite, or there are fewer than 1 neighbours.
    """

    def __init__(self, real: torch.Tensor, neighbours: int = NEIGHBOURS, chunk: int | None = None):
        if neighbours < 1:
            raise ValueError(f"{neighbours} neighbours make no neighbourhood: ask for 1 or more.")
        self.real, self.neighbours, self.chunk = checked(real), neighbours, chunk

    @cached_property
    def moments(self) -> FeatureMoments | None:
        """Mean and covariance; None where there are too few for a Fréchet distance."""
        return moments_if_enough(self.real)

    @cached_property
    def within(self) -> Within:
        """The real data's own neighbourhoods and kernel."""
        return within(self.real, self.neighbours, self.chunk)

    def compare(self, x: torch.Tensor) -> Distances:
        """Of (m, d) features of samples.

        Raises:
            ValueError: they aren't finite, or of another size.
        """
        if checked(x).shape[1] != self.real.shape[1]:
            raise ValueError(f"Features of {x.shape[1]} and of {self.real.shape[1]} numbers can't be compared.")
        own = within(x, self.neighbours, self.chunk)
        pairs = between(self.real, x, self.within, own, self.chunk)
        moments, fd, fd_interval = moments_if_enough(x), None, None
        if self.moments and moments:
            fd = frechet_distance(self.moments, moments)
            low, high = normal_interval(fd, frechet_error(self.moments, moments, x))
            fd_interval = max(0.0, low), high
        return Distances(
            fd=fd,
            fd_interval=fd_interval,
            **kernel_distance(self.within, own, pairs),
            **neighbour_figures(pairs, self.neighbours),
            n=len(x),
            n_real=len(self.real),
        )


def moments_if_enough(features: torch.Tensor) -> FeatureMoments | None:
    """Moments of (n, d) features; None where there are too few for a covariance."""
    return FeatureMoments.of(features) if len(features) > features.shape[1] else None


def kernel_distance(real: Within, own: Within, pairs: Between) -> dict[str, Any]:
    """`kd` and its interval: a U-statistic of the samples, whose variance has a part of order 1/n and one of 1/n²."""
    if real.kernel is None or own.kernel is None:
        return {"kd": None}
    n, kd = len(own.kernel_of), real.kernel + own.kernel - 2 * pairs.kernel
    if n < 3:
        return {"kd": kd}
    first = float((own.kernel_of - pairs.kernel_of).var())
    second = own.kernel_square - 2 * float(own.kernel_of.square().mean()) + own.kernel**2
    variance = max(4 * first / n - 2 * second / n**2, 2 * second / n**2, 0.0)
    return {"kd": kd, "kd_interval": normal_interval(kd, math.sqrt(variance))}


def neighbour_figures(pairs: Between, neighbours: int) -> dict[str, Any]:
    """Precision, recall, density and coverage with their intervals; all None where either set is too small."""
    if min(len(pairs.covered), len(pairs.holders)) <= neighbours:
        return dict.fromkeys(("precision", "recall", "density", "coverage"))
    shares = {"precision": pairs.holders > 0, "recall": pairs.recalled, "coverage": pairs.covered}
    held = pairs.holders.double() / neighbours
    error = float(held.std()) / math.sqrt(len(held))
    figures: dict[str, Any] = {
        "density": float(held.mean()),
        "density_interval": normal_interval(float(held.mean()), error),
    }
    for name, inside in shares.items():
        figures[name] = float(inside.double().mean())
        free = len(inside) if name == "precision" else len(inside) / OVERLAP
        figures[f"{name}_interval"] = interval_of_share(figures[name], free)
    return figures


def normal_interval(value: float, error: float) -> Interval:
    """The 95% interval of an estimate with this standard error."""
    return value - Z95 * error, value + Z95 * error


def interval_of_share(share: float, n: float) -> tuple[float, float]:
    """Wilson's 95% interval of a probability from its share among n independent draws; sound near 0 and 1 too."""
    centre, half = share + Z95**2 / (2 * n), Z95 * math.sqrt(share * (1 - share) / n + (Z95 / (2 * n)) ** 2)
    return (centre - half) / (1 + Z95**2 / n), (centre + half) / (1 + Z95**2 / n)


@torch.inference_mode()
def nearest_distances(
    x: torch.Tensor, reference: torch.Tensor, *, own: torch.Tensor | None = None, chunk: int = 4_096
) -> torch.Tensor:
    """(n,) Euclidean distance from each x to the nearest reference, computed on the device.

    Args:
        x: (n, *shape), as the references.
        reference: (m, *shape), images in [-1, 1] or as uint8 pixels, which are scaled a chunk at a time.
        own: (n,) int64, which reference each x is itself, where x are some of them: the nearest other one counts.
        chunk: references compared at a time.
    """
    rows = scaled(x.to(device())).flatten(1)
    nearest = torch.full((len(rows),), torch.inf, device=rows.device)
    for start in range(0, len(reference), chunk):
        columns = scaled(reference[start : start + chunk].to(device())).flatten(1)
        distances = torch.cdist(rows, columns)
        if own is not None:
            itself = (own >= start) & (own < start + chunk)
            distances[itself.nonzero().squeeze(1), own[itself] - start] = torch.inf
        nearest = torch.minimum(nearest, distances.min(dim=1).values)
    return nearest.cpu()


def nearest_ratio(samples: torch.Tensor, reference: torch.Tensor, spacing: float) -> float:
    """Median distance from samples to their nearest reference, over `spacing` (see `typical_spacing`).

    Near 1 the samples lie as far from the data as data from each other; near 0 they are copies.
    """
    return float(nearest_distances(samples, reference).median()) / spacing


def typical_spacing(real: torch.Tensor, limit: int = 2_000) -> float:
    """Median distance from a real datum to the nearest other one, over about `limit` of them, evenly spread."""
    some = torch.arange(0, len(real), max(1, round(len(real) / limit)))
    return float(nearest_distances(real[some], real, own=some).median())
