"""What all pairs of features say, block by block: neighbours, who lies in whose neighbourhood, sums of the kernel.

Both kinds of figures need the inner product of every pair, the dearest part by far, so one pass gives both. A block is
a chunk of features by as many, in float64, whatever the number of features: memory doesn't grow with the pairs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

CHUNKS = {"cpu": 512, "cuda": 4_096}  # blocks that stay in a core's cache; blocks that keep a GPU busy


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
    for rows, columns, products, squared in _blocks(x, x, chunk or chunk_for(x), half=True):
        kernel = polynomial(products, d)
        if rows.start == columns.start:
            squared.fill_diagonal_(torch.inf)
            kernel.fill_diagonal_(0)
            squares += kernel.square().sum()
        else:
            squares += 2 * kernel.square().sum()
            sums[columns] += kernel.sum(0)
            _keep_nearest(nearest[columns], squared.T)
        sums[rows] += kernel.sum(1)
        _keep_nearest(nearest[rows], squared)
    pairs = max(1, n * (n - 1))
    mean = float(sums.sum()) / pairs if n > 1 else None
    return Within(nearest.amax(1), mean, sums / max(1, n - 1), float(squares) / pairs)


def between(
    real: torch.Tensor, x: torch.Tensor, real_within: Within, x_within: Within, chunk: int | None = None
) -> Between:
    """Who of (n, d) real features and (m, d) of samples lies in whose neighbourhood.

    Args:
        real: the real features.
        x: the samples'.
        real_within: what `within` found of the real features.
        x_within: what it found of the samples', with the same k.
        chunk: features of either in a block; by the device if it isn't given.
    """
    d = real.shape[1]
    real_radii, radii = real_within.squared_radii, x_within.squared_radii
    holders = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    covered, recalled = (torch.zeros(len(real), dtype=torch.bool, device=x.device) for _ in range(2))
    sums = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for rows, columns, products, squared in _blocks(real, x, chunk or chunk_for(x)):
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


def _keep_nearest(nearest: torch.Tensor, squared: torch.Tensor) -> None:
    """Puts the least of (n, m) squared distances among the (n, k) least so far; few rows have any after a while."""
    closer = (squared.amin(1) < nearest.amax(1)).nonzero().squeeze(1)
    candidates = torch.cat([nearest[closer], squared[closer]], dim=1)
    nearest[closer] = candidates.topk(nearest.shape[1], dim=1, largest=False, sorted=False).values


def _blocks(
    x: torch.Tensor, y: torch.Tensor, chunk: int, half: bool = False
) -> Iterator[tuple[slice, slice, torch.Tensor, torch.Tensor]]:
    """Rows of x, rows of y, their inner products, and their squared distances; of x with itself half of them do."""
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
