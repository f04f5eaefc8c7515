"""Divergences of a generation from the real data: over cells (of the plane, or classes), by densities where known.

Cells make every divergence smaller than that of the densities, never larger (data processing): a lower bound. For
points that a flow drew both densities are known, its own and the real law's, and KL is a mean of log-ratios.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np
import torch
from scipy.special import ndtr

from data.config import DataConfig
from data.datasets import load, log_density, rectangle_masses
from data.measurements import DensityDivergence, Divergence, Mean, TotalVariation
from data.records import Evaluated
from loop.theory.bounds import Ceiling
from model.density import Mapped, PointDensity
from model.judging.fidelity import interval_of_share

LEVELS = 7  # 128 cells: with 10,000 samples the bias of KL is 0.006 before it is taken off
TREE_DRAWS = 200_000  # of the known law; the tree's cells have nearly equal masses
DENSITY_SAMPLES = 2_500  # whose densities are found, and as many draws of the real law: 1 s on one core
MOST_FAILED = 2e-4  # share of the real law's draws whose density may remain unknown
Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class Cells:
    """A partition with the real data's mass in each cell.

    Attributes:
        name: what the cells are.
        real: (cells,) masses.
        of: (n,) cell of each sample.
    """

    name: str
    real: np.ndarray
    of: Callable[[Evaluated], np.ndarray]


@dataclass(frozen=True, slots=True)
class LogRatios:
    """log p_t/p_ref where it is known.

    Attributes:
        own: (n,) at samples of the generation.
        real: (n,) at draws of the real law; those it couldn't be found at are left out.
        failed: how many those are.
    """

    own: np.ndarray
    real: np.ndarray
    failed: int


def cells(config: DataConfig, real: Evaluated, classes: int, *, copied: bool = False) -> Cells:
    """The cells for a data set: of nearly equal masses of the known law for points, else predicted classes.

    Args:
        config: the [data] table.
        real: the real data.
        classes: how many there are.
        copied: whether the generator draws real points themselves; then the points at hand are the real law, not what
            they were drawn from, which is as far from them as their number makes it.
    """
    if real.points is None or config.family is not None:
        shares = np.bincount(real.labels, minlength=classes) / len(real.labels)
        name = "predicted classes" if real.points is None else "kinds of designs"
        return Cells(name, shares, lambda samples: samples.labels)
    tree, mass = density_tree(config.model_dump_json())
    name = f"{2**LEVELS} cells of the known density"
    if copied:
        mass = np.bincount(locate(tree, real.points), minlength=len(mass)) / len(real.points)
        name = f"{2**LEVELS} cells of the real points"
    return Cells(name, mass, lambda samples: locate(tree, cast(np.ndarray, samples.points)))


def divergence(cells: Cells, samples: Evaluated, density: DensityDivergence | str | None = None) -> Divergence:
    """The divergence of a generation from the real data over cells, in nats.

    KL(p_t || p_ref) is None where samples lie in a cell that real data never do, KL(p_ref || p_t) where a cell is
    empty, since its estimate is infinite there. The bias of counting n samples is taken off to first order (Miller
    1955).

    Args:
        cells: the partition, with the real data's masses.
        samples: of the generation.
        density: the divergence by exact densities (see `by_density`), or why there is none.
    """
    q, n, where = cells.real, len(samples.labels), cells.of(samples)
    counts = np.bincount(where, minlength=len(q))
    p, inside, known = counts / n, q > 0, (counts > 0) & (q > 0)
    empty, outside = int((inside & (counts == 0)).sum()), bool((counts[~inside] > 0).any())
    kl = kl_reverse = None
    if not outside:
        log_ratio, free = np.log(p[known] / q[known]), int(known.sum()) - 1
        spread = float(p[known] @ log_ratio**2 - (p[known] @ log_ratio) ** 2)
        kl = kl_estimate(float(p[known] @ log_ratio) - free / (2 * n), spread, free, n)
    if not empty:
        half = (counts[inside] + 0.5) / n  # the logarithm of a count and a half is nearly unbiased
        free, spread = int(inside.sum()) - 1, float(q[inside] @ (q[inside] / half)) - 1
        kl_reverse = kl_estimate(float(q[inside] @ np.log(q[inside] / half)), spread, free, n)
    return Divergence(
        space=cells.name,
        cells=int(inside.sum()),
        empty=empty,
        kl=kl,
        kl_reverse=kl_reverse,
        tv=total_variation(where, q),
        density=None if isinstance(density, str) else density,
        **({"no_density": density} if isinstance(density, str) else {}),
    )


def total_variation(cells: np.ndarray, q: np.ndarray) -> TotalVariation:
    """The total variation of the law that (n,) cells are drawn from, from the known law q of all cells.

    Half the sum of |counts / n - q| is too large: sampling alone makes .032 of 128 cells and 20,000 samples. Instead,

    - `value` is P(A) - Q(A) for the cells A where P is larger, chosen on the first half of the samples and measured on
      the second, and the other way round. No set has a larger difference than the total variation, so in expectation it
      is no larger. `se` is that of one half, which the mean's can't exceed, and `low` is Wilson's limit with it.
    - `high` is the largest total variation under which so small a sum would be no surprise (2.5%), if it were spread
      over the cells in the way that adds least to the sum: in proportion to each cell's own sampling error.
    """
    n, size = len(cells), len(cells) // 2
    first, second = (np.bincount(half, minlength=len(q)) for half in (cells[:size], cells[size:]))
    p_chosen = q_chosen = 0.0
    for chosen_on, measured_on in ((first, second), (second, first)):
        chosen = chosen_on / chosen_on.sum() > q
        p_chosen += float(measured_on[chosen].sum() / measured_on.sum()) / 2
        q_chosen += float(q[chosen].sum()) / 2
    se = float(np.sqrt(p_chosen * (1 - p_chosen) / size))
    low = max(0.0, interval_of_share(p_chosen, size)[0] - q_chosen)
    counts = first + second
    seen, error = 0.5 * float(np.abs(counts / n - q).sum()), np.sqrt(counts * (n - counts) / n**3)
    high = largest_hidden(seen, error, n)
    value = min(max(0.0, p_chosen - q_chosen), high)
    return TotalVariation(value=value, se=se, low=min(low, value), high=high)


def largest_hidden(seen: float, error: np.ndarray, n: int) -> float:
    """The total variation u whose sum of |p - q| falls below what is seen in 2.5% of samples, if it is well hidden.

    With each difference x standard errors, the sum's mean is that of folded normal variables, least for a given u. Half
    the sum changes by no more than 1/n with a sample, so its variance is 1/(4n) at most; small differences have less.
    """

    def sum_under(x: float) -> float:
        folded = 2 * np.exp(-x * x / 2) / np.sqrt(2 * np.pi) + x * (2 * ndtr(x) - 1)
        spread = np.sqrt(max(0.0, 1 + x * x - folded**2) / n) / 2
        return float(error.sum() * folded / 2 - Z95 * spread)

    low, high = 0.0, 1.0
    while sum_under(high) < seen and high < 1e9:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sum_under(middle) < seen else (low, middle)
    return min(1.0, max(float(error.sum()) * high / 2, 0.0))


def noise_of_draws(density: PointDensity, config: DataConfig, n: int) -> tuple[Mapped, torch.Tensor]:
    """The noise that becomes n draws of the real law, with (n,) bool: True where the search came close enough."""
    return density.at(torch.from_numpy(load(config.model_copy(update={"n": n}), seed=0xDE45).x))


def log_ratios(
    density: PointDensity, config: DataConfig, seeds: np.ndarray,
    draws: Callable[[], tuple[Mapped, torch.Tensor]] | None = None,
) -> LogRatios | str:  # fmt: skip
    """Log-ratios of p_t and p_ref at the samples of (n,) seeds and at n draws of the real law, or why there are none.

    Both densities are taken where the noise that is found for a draw leads: as near as `density` says, and the ratio is
    right there.

    Args:
        density: the generation's.
        config: the [data] table, of points whose law is known.
        seeds: the first of those that the generation is measured on.
        draws: gives the result of `noise_of_draws`, where a thread has begun with it.
    """
    own = density.of_seeds(seeds)
    real, close = draws() if draws else noise_of_draws(density, config, len(seeds))
    if bool((own.determinant <= 0).any() | (real.determinant[close] <= 0).any()):
        return "the solver's map folds the plane, so a sample may come from several noises: take more steps"
    failed = int((~close).sum())
    if failed > MOST_FAILED * len(close):
        return f"no noise was found for {failed} of {len(close)} draws of the real law"
    here = close.numpy()
    return LogRatios(
        own.log_density.numpy() - log_density(config, own.x1.numpy()),
        (real.log_density.numpy() - log_density(config, real.x1.numpy()))[here],
        failed,
    )


def by_density(ratios: LogRatios, ceiling: Ceiling | None) -> DensityDivergence:
    """KL in both directions as means of log-ratios.

    Args:
        ratios: the generation's.
        ceiling: of `kl` from any p_0; None for generation 0, K = inf, and what isn't a mix with real data.
    """
    return DensityDivergence(
        n=len(ratios.own),
        kl=mean_of(ratios.own),
        kl_reverse=mean_of(-ratios.real),
        failed=ratios.failed,
        ceiling=None if ceiling is None else Mean(value=ceiling.value, se=ceiling.se),
    )


def mean_of(values: np.ndarray) -> Mean:
    """The mean of (n,) independent values with its standard error."""
    return Mean(value=float(values.mean()), se=float(values.std(ddof=1) / np.sqrt(len(values))))


def kl_estimate(value: float, spread: float, free: int, n: int) -> Mean:
    """A KL and its standard error by the delta method; sampling alone makes a spread of (cells - 1) / n.

    Args:
        value: of the KL, its bias taken off.
        spread: variance of the log-ratio.
        free: cells less one.
        n: samples.
    """
    variance = max(spread - free / (2 * n), free / (2 * n)) / n
    return Mean(value=max(0.0, value), se=float(np.sqrt(variance)))


@lru_cache(maxsize=4)
def density_tree(config_json: str) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]:
    """A k-d tree of nearly equal masses of the known law, and the masses of its cells, which are exact.

    By level it holds (axis, threshold) of each node; every node splits its wider side. The draws are always the same.
    """
    config = DataConfig.model_validate_json(config_json)
    groups, tree = [load(config.model_copy(update={"n": TREE_DRAWS}), seed=0xCE11).x], []
    low, high = np.full((1, 2), -np.inf), np.full((1, 2), np.inf)
    for _ in range(LEVELS):
        axes = np.array([int(np.ptp(group, axis=0).argmax()) for group in groups])
        cuts = np.array([np.median(group[:, axis]) for group, axis in zip(groups, axes, strict=True)])
        tree.append((axes, cuts))
        groups = [
            side
            for group, axis, cut in zip(groups, axes, cuts, strict=True)
            for side in (group[group[:, axis] <= cut], group[group[:, axis] > cut])
        ]
        low, high = low.repeat(2, axis=0), high.repeat(2, axis=0)
        nodes = 2 * np.arange(len(cuts))
        high[nodes, axes], low[nodes + 1, axes] = cuts, cuts
    return tree, rectangle_masses(config, low, high)


def locate(tree: list[tuple[np.ndarray, np.ndarray]], points: np.ndarray) -> np.ndarray:
    """(n,) the cell of each of (n, 2) points."""
    node = np.zeros(len(points), dtype=np.int64)
    for axes, cuts in tree:
        node = 2 * node + (points[np.arange(len(points)), axes[node]] > cuts[node])
    return node
