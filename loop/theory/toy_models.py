"""Toy models of retraining on one's own samples, many repetitions beside exact curves: regression, normal, kernels."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from loop.policy import POLICY_KINDS, DataPolicy

OnProgress = Callable[[float], None]  # called with the share of the work that is done
BLOCK = 4_000_000  # numbers that the repetitions of one block may hold
ACCUMULATE_BOUND = np.pi**2 / 6  # of accumulate's excess error in units of v, whatever n


@dataclass(frozen=True, slots=True)
class Point:
    """One generation under one policy.

    Attributes:
        n: number of the fit; the model says what 0 or 1 stands for.
        exact: expectation by theory; None where no closed form is known.
        simulated: mean over the repetitions.
        se: its standard error.
        z: standard errors by which the simulation is off; None where there is nothing to compare, or no spread.
        extra: further values of the model, by name, the simulated ones with their standard errors (`..._se`).
    """

    n: int
    exact: float | None
    simulated: float
    se: float
    z: float | None
    extra: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Curve:
    """The generations under one policy, oldest first."""

    policy: DataPolicy
    points: tuple[Point, ...]


class ToyModel(Protocol):
    """The interface of a model for `curves`."""

    @property
    def quantities(self) -> tuple[str, ...]:
        """Names of the simulated quantities; `exact` is about the first."""
        ...

    def entries(self, policy: DataPolicy, generations: int) -> int:
        """The approximate count of numbers that one repetition holds in memory."""
        ...

    def exact(self, policy: DataPolicy, generations: int) -> np.ndarray | None:
        """(generations,) expectation of the first quantity at n = 1, 2, ...; None where no closed form is known."""
        ...

    def beside(self, policy: DataPolicy, generations: int) -> dict[str, np.ndarray]:
        """Other exact values at n = 1, 2, ..., by name, (generations,) each."""
        ...

    def simulate(
        self, policy: DataPolicy, generations: int, repetitions: int, rng: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """Yields, generation by generation, (quantities, repetitions)."""
        ...


def curves(
    model: ToyModel,
    policies: Sequence[DataPolicy],
    generations: int,
    repetitions: int,
    seed: int,
    on_progress: OnProgress = lambda share: None,
) -> list[Curve]:
    """One curve per policy, n = 1 .. generations.

    Args:
        model: is simulated.
        policies: of the training sets. Each has random numbers of its own, whichever others there are.
        generations: number of fits.
        repetitions: independent repetitions of the whole loop.
        seed: everything random comes from it.
        on_progress: called with the share of the work that is done.
    """
    check_sizes(generations, repetitions, seed)
    check_policies(policies)
    result = []
    for index, policy in enumerate(policies):
        part = part_of(on_progress, index, len(policies))
        values = simulate_in_blocks(model, policy, generations, repetitions, seed, part)
        exact, beside = model.exact(policy, generations), model.beside(policy, generations)
        points = []
        for n, (first, *others) in enumerate(values):
            simulated, se = mean_and_se(first)
            expected = None if exact is None else float(exact[n])
            z = None if expected is None else z_score(simulated - expected, se, expected)
            extra = {"median": float(np.median(first))}
            for name, other in zip(model.quantities[1:], others, strict=True):
                extra[name], extra[f"{name}_se"] = mean_and_se(other)
            extra |= {name: float(v[n]) for name, v in beside.items()}
            points.append(Point(n + 1, expected, simulated, se, z, extra))
        result.append(Curve(policy, tuple(points)))
    return result


@dataclass(frozen=True, slots=True)
class MixedError:
    """The error of the last fit where so many real rows are mixed with a share of synthetic ones.

    Attributes:
        rows: N real rows.
        synthetic: rows of the latest fit beside them.
        exact: expected error; None where no closed form is known.
        simulated: mean over the repetitions.
        se: its standard error.
    """

    rows: int
    synthetic: int
    exact: float | None
    simulated: float
    se: float


def mixing_grid(
    models: dict[int, tuple[ToyModel, float, float]],
    shares: Sequence[float],
    generations: int,
    repetitions: int,
    seed: int,
    on_progress: OnProgress = lambda share: None,
) -> dict[tuple[int, float], MixedError]:
    """Errors by the number of real rows and the share of synthetic ones beside them.

    Args:
        models: by their number of real rows, with the value of their first quantity where there is no error, and the
            error that one more of it is.
        shares: of synthetic rows, under 1; 0 is the first fit.
        generations: number of fits.
        repetitions: independent repetitions of each.
        seed: everything random comes from it.
        on_progress: called with the share of the work that is done.

    Raises:
        ValueError: sizes or shares out of range.

    Source: Kazdan et al. 2024 (arXiv 2410.16713), on the cardinality and the proportion of real data.
    """
    check_sizes(generations, repetitions, seed)
    for share in shares:
        if not 0 <= share <= 0.99:
            raise ValueError(f"a share of synthetic rows is between 0 and 0.99, not {share:g}")
    result: dict[tuple[int, float], MixedError] = {}
    for rows, (model, origin, factor) in models.items():
        for share in shares:
            policy = DataPolicy("mix", round(share / (1 - share), 9)) if share else DataPolicy("replace")
            fits, part = generations if share else 1, part_of(on_progress, len(result), len(models) * len(shares))
            values = simulate_in_blocks(model, policy, fits, repetitions, seed, part)[-1, 0]
            exact = model.exact(policy, fits)
            expected = None if exact is None else factor * (float(exact[-1]) - origin)
            synthetic = policy.asked(rows, fits) if share else 0
            result[rows, share] = MixedError(rows, synthetic, expected, *mean_and_se(factor * (values - origin)))
    return result


def simulate_in_blocks(
    model: ToyModel, policy: DataPolicy, generations: int, repetitions: int, seed: int, on_progress: OnProgress
) -> np.ndarray:
    """(generations, quantities, repetitions) simulated values; blocks of repetitions keep memory small."""
    rng = rng_of(seed, policy)
    sizes = block_sizes(repetitions, model.entries(policy, generations))
    parts = []
    for index, size in enumerate(sizes):
        steps = []
        for values in model.simulate(policy, generations, size, rng):
            steps.append(values)
            on_progress((index + len(steps) / generations) / len(sizes))
        parts.append(np.stack(steps))
    return np.concatenate(parts, axis=2)


def rng_of(seed: int, policy: DataPolicy) -> np.random.Generator:
    """The random numbers of one policy's repetitions."""
    return np.random.default_rng([seed, POLICY_KINDS.index(policy.kind)])


def block_sizes(repetitions: int, entries: int) -> list[int]:
    """Sizes of the blocks in which repetitions of so many entries each are simulated."""
    size = max(1, min(repetitions, BLOCK // max(1, entries)))
    return [min(size, repetitions - start) for start in range(0, repetitions, size)]


def mean_and_se(values: np.ndarray) -> tuple[float, float]:
    """Mean of (repetitions,) values and its standard error; the error of a single one is not a number."""
    se = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return float(values.mean()), se


def z_score(difference: float, se: float, scale: float = 1.0) -> float | None:
    """The difference in standard errors; None where repetitions hardly differ (by rounding alone, beside `scale`)."""
    return difference / se if se > 1e-12 * abs(scale) else None


def largest_z(curves: Sequence[Curve]) -> float | None:
    """The largest |z| of all points; None without any."""
    return max((abs(point.z) for curve in curves for point in curve.points if point.z is not None), default=None)


def check_sizes(generations: int, repetitions: int, seed: int) -> None:
    """Raises ValueError for sizes of the simulation out of range."""
    check_range("generations", generations, 1, 500)
    check_range("repetitions", repetitions, 10, 1_000_000)
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, not {seed}")


def check_policies(policies: Sequence[DataPolicy]) -> None:
    """Raises ValueError for a policy that stands twice."""
    if len(set(policies)) != len(policies):
        raise ValueError("each policy can be asked for only once")


def part_of(on_progress: OnProgress, index: int, parts: int) -> OnProgress:
    """The progress function of one of several equal parts of the work: calls `on_progress` with the whole's share."""
    return lambda share: on_progress((index + share) / parts)


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raises ValueError unless low <= value <= high."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low:,} and {high:,}, not {value:,}")


def compositions(
    policy: DataPolicy, n_real: int, sizes: Sequence[int], repetitions: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(repetitions, 1 + sets) rows, and shares that add up to 1, of the real data (first) and of each set.

    A policy without chance gives (1, 1 + sets), the same for all.

    Args:
        policy: composes.
        n_real: real data.
        sizes: rows of each generation's set, oldest first.
        repetitions: of the loop.
        rng: for a policy that draws rows.
    """
    draws = repetitions if policy.kind == "accumulate_subsample" else 1  # of how many rows; which, `random_marks` draws
    sets = [policy.compose(n_real, sizes, rng) for _ in range(draws)]
    rows = np.array([(composed.real, *composed.sets) for composed in sets])
    shares = np.array([(composed.real_share, *composed.set_shares) for composed in sets])
    if policy.is_random:
        rows, shares = (np.broadcast_to(some, (repetitions, some.shape[1])) for some in (rows, shares))
    return rows, shares


def weights(
    policy: DataPolicy, n_real: int, sizes: Sequence[int], repetitions: int, rng: np.random.Generator
) -> list[np.ndarray | None]:
    """The weight of every row, (repetitions or 1, rows) for the real data and for each set; None for an unused one.

    A repetition's weights add up to 1 over all sets. Arguments as in `compositions`.
    """
    rows, shares = compositions(policy, n_real, sizes, repetitions, rng)
    result: list[np.ndarray | None] = []
    for taken, share, size in zip(rows.T, shares.T, (n_real, *sizes), strict=True):
        weight = np.divide(share, taken, out=np.zeros(len(taken)), where=taken > 0)
        result.append(weight[:, None] * random_marks(taken, size, rng) if taken.any() else None)
    return result


def random_marks(taken: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """(repetitions, size) of 1 for (repetitions,) `taken` rows chosen at random, and 0 for the others."""
    if (taken == size).all():
        return np.ones((len(taken), size))
    order = rng.random((len(taken), size)).argsort(axis=1)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(size)[None], axis=1)
    return (ranks < taken[:, None]).astype(float)


def spread(policy: DataPolicy, rows: int, generations: int) -> np.ndarray:
    """(generations,) expected variance (biased, 1/N) of fit n over that of the truth, n = 1, 2, ...

    n = 1 is the fit on N = `rows` real rows, so it stands at 1 - 1/N.

    Replace: `(1 - 1/N)^n`, from Seddik et al. 2024 (arXiv 2404.05090), whose `1 - S_m = (1 - 1/N)^m (1 - S_0)` has the
    truth's S_0 and so m = n. Mix: `D_{n+1} = (1 - c^2) D_1 + c^2 (1 - 1/M) D_n` with c = lam / (1 + lam) and sets of
    M = lam N rows; their partly synthetic case. Accumulate: `prod_{k<=n} (1 - 1/(N k^2))`. Replace_grown:
    `prod_{k<=n} (1 - 1/(N k))`. Accumulate_subsample: `subsampled_spread`; recent and uniform: `paired_spread`. All but
    replace were derived for this project.
    """
    n = np.arange(1, generations + 1)
    first = 1 - 1 / rows
    if policy.kind == "replace_grown":
        return np.cumprod(1 - 1 / (rows * n))
    if policy.is_pure:
        return first**n
    if policy.kind == "accumulate":
        return np.cumprod(1 - 1 / (rows * n**2.0))
    if policy.is_mixed:
        c2 = (policy.lam / (1 + policy.lam)) ** 2
        b = c2 * (1 - 1 / policy.asked(rows))
        fixed = (1 - c2) / (1 - b)
        return first * (fixed + (1 - fixed) * b ** (n - 1))
    if policy.kind == "accumulate_subsample":
        return subsampled_spread(rows, generations)
    return paired_spread(policy, rows, generations)


def paired_spread(policy: DataPolicy, rows: int, generations: int, noise: float = 0.0) -> np.ndarray:
    """(generations,) the same for any policy, also with noise of its own in every sample, as a kernel density adds.

    With B_ab half the expected squared difference of a row of set a and another of set b, over the truth's variance,
    and s_a the shares of the next fit, which takes m_a rows of set a: its variance is
    `sum_ab s_a s_b B_ab (1 - [a = b] / m_a)`. A row of its set c is a row of set b with probability s_b, so
    `B_ac = sum_b s_b B_ab (1 - [a = b] / size_a)`, and B_cc is the fit's variance. Noise adds its variance to B_cc,
    and half of it to B_ac. Derived for this project.

    Args:
        policy: composes.
        rows: N real rows.
        generations: number of fits.
        noise: variance of what is added to a sample, over the truth's.
    """
    sizes = np.array([rows, *policy.sizes(rows, generations)])
    pairs = np.ones((generations + 1, generations + 1))
    fits = []
    for n in range(generations):
        known, size = pairs[: n + 1, : n + 1], sizes[: n + 1]
        own = known * (1 - np.diag(1 / size))
        if not n:
            shares, taken = np.ones(1), size
        elif policy.kind == "accumulate_subsample":  # any two of its rows are any two of the pool
            shares, taken = size / size.sum(), size
        else:
            composed = policy.compose(rows, sizes[1 : n + 1].tolist())
            shares = np.array([composed.real_share, *composed.set_shares])
            taken = np.maximum([composed.real, *composed.sets], 1)
        variance = float(shares @ (known * (1 - np.diag(1 / taken))) @ shares)
        if n and policy.kind == "accumulate_subsample":
            variance *= (1 - 1 / rows) / (1 - 1 / size.sum())
        fits.append(variance + noise)
        pairs[n + 1, : n + 1] = pairs[: n + 1, n + 1] = own @ shares + noise / 2
        pairs[n + 1, n + 1] = fits[-1]
    return np.array(fits)


def subsampled_spread(rows: int, generations: int) -> np.ndarray:
    """(generations,) q_n, the variance of a fit on N rows drawn without replacement from n N rows of variance P_n.

    `q_n = P_n (1 - (n-1) / (nN - 1))`, the finite population's correction; N rows drawn from the fit join the pool,
    `P_{n+1} = (n (n + 2) P_n + (1 - 1/N) q_n) / (n + 1)^2`, for their mean is the pool's in expectation.
    """
    pool, fits = 1 - 1 / rows, []
    for n in range(1, generations + 1):
        fits.append(pool * (1 - (n - 1) / (n * rows - 1)))
        pool = (n * (n + 2) * pool + (1 - 1 / rows) * fits[-1]) / (n + 1) ** 2
    return np.array(fits)


@dataclass(frozen=True, slots=True)
class LinearModel:
    """A regression that is fitted to its own noisy predictions again and again.

    Attributes:
        dimension: d.
        rows: T real rows; at least d + 4, for with fewer the error has no variance, and its mean no standard error.
        fresh: every set has new rows x; otherwise each relabels the real rows (once through, or as often as the
            policy's set is larger), as in the paper.

    Raises:
        ValueError: sizes out of range.
    """

    dimension: int = 10
    rows: int = 60
    fresh: bool = False

    def __post_init__(self) -> None:
        check_range("dimension", self.dimension, 1, 200)
        check_range(f"rows for {self.dimension} dimensions", self.rows, self.dimension + 4, 10_000)

    @property
    def quantities(self) -> tuple[str, ...]:
        """The excess test error in units of v."""
        return ("excess error / v",)

    @property
    def v(self) -> float:
        """Excess test error of a fit on the real data, for noise of variance 1."""
        return self.dimension / (self.rows - self.dimension - 1)

    def entries(self, policy: DataPolicy, generations: int) -> int:
        """Numbers that one repetition holds."""
        labels = self.rows + sum(policy.sizes(self.rows, generations))
        return labels + 2 * self.dimension * (labels if self.fresh else self.rows)

    def exact(self, policy: DataPolicy, generations: int) -> np.ndarray | None:
        """(generations,) expected excess error over v at n = 1, 2, ...; None where no closed form is known.

        Replace: n. Accumulate: sum_{i<=n} 1/i^2, under pi^2/6. (Gerstgrasser et al., Section 2; expectations over the
        design too.) Derived: accumulate with fresh rows, sum_i (T-d-1) / (i (iT-d-1)); mix with a whole lam, where the
        real rows stand lam times in each set: `1 + c^2 (1 - c^(2(n-1))) / (1 - c^2) / lam` with c = lam / (1 + lam),
        which ends at `1 + lam / (1 + 2 lam)`. Replace_grown, where each real row stands n times in the n-th set: the
        harmonic sum_{i<=n} 1/i; with fresh rows sum_i (T-d-1) / (iT-d-1). None: accumulate_subsample, recent, uniform,
        and mix with another lam or fresh rows.
        """
        n = np.arange(1, generations + 1)
        freedom = self.rows - self.dimension - 1
        if policy.kind == "replace_grown":
            return np.cumsum(freedom / (n * self.rows - self.dimension - 1) if self.fresh else 1 / n)
        if policy.is_pure:
            return n.astype(float)
        if policy.kind == "accumulate":
            return np.cumsum(freedom / (n * (n * self.rows - self.dimension - 1)) if self.fresh else 1 / n**2)
        if policy.is_mixed and not self.fresh and policy.lam == round(policy.lam):
            c2 = (policy.lam / (1 + policy.lam)) ** 2
            return 1 + c2 * (1 - c2 ** (n - 1)) / (1 - c2) / policy.lam
        return None

    def beside(self, policy: DataPolicy, generations: int) -> dict[str, np.ndarray]:
        """The bound of accumulate, pi^2 / 6 (Gerstgrasser et al., Section 2); fresh rows make each term smaller."""
        return {"bound": np.full(generations, ACCUMULATE_BOUND)} if policy.kind == "accumulate" else {}

    def simulate(
        self, policy: DataPolicy, generations: int, repetitions: int, rng: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """Yields, fit by fit, (1, repetitions) excess error over v.

        Raises:
            ValueError: a training set that leaves the coefficients open.
        """
        sizes = policy.sizes(self.rows, generations)
        truth = rng.standard_normal((repetitions, self.dimension))
        design = rng.standard_normal((repetitions, self.rows, self.dimension))
        labels = [noisy_labels(design, truth, rng)]
        places = [np.arange(self.rows)]
        row_weights: list[np.ndarray | None] = [np.full((1, self.rows), 1 / self.rows)]
        for n in range(generations):
            fitted = least_squares(design, places, labels, row_weights)
            yield (((fitted - truth) ** 2).sum(axis=1) / self.v)[None]
            if n + 1 == generations:
                return
            if self.fresh:
                places.append(np.arange(sizes[n]) + design.shape[1])
                fresh = rng.standard_normal((repetitions, sizes[n], self.dimension))
                design = np.concatenate([design, fresh], axis=1)
            else:
                places.append(np.arange(sizes[n]) % self.rows)
            labels.append(noisy_labels(design[:, places[-1]], fitted, rng))
            row_weights = weights(policy, self.rows, sizes[: n + 1], repetitions, rng)


def noisy_labels(design: np.ndarray, coefficients: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(repetitions, rows) labels of (repetitions, rows, d) rows, with noise of variance 1."""
    return (design @ coefficients[..., None])[..., 0] + rng.standard_normal(design.shape[:2])


def least_squares(
    design: np.ndarray, places: list[np.ndarray], labels: list[np.ndarray], row_weights: list[np.ndarray | None]
) -> np.ndarray:
    """(repetitions, d) coefficients of weighted least squares.

    Args:
        design: (repetitions, rows, d) distinct rows.
        places: of each set, the indices of its rows among the distinct ones.
        labels: of each set, (repetitions, rows).
        row_weights: of each set, (repetitions or 1, rows), or None for a set left out.

    Raises:
        ValueError: the rows leave the coefficients open.
    """
    weight, target = np.zeros(design.shape[:2]), np.zeros(design.shape[:2])
    for place, y, w in zip(places, labels, row_weights, strict=True):
        if w is None:
            continue
        for start in range(0, len(place), design.shape[1]):  # within a part no row stands twice
            part = slice(start, start + design.shape[1])
            weight[:, place[part]] += w[:, part]
            target[:, place[part]] += w[:, part] * y[:, part]
    transposed = design.swapaxes(1, 2)
    try:
        return np.linalg.solve((transposed * weight[:, None]) @ design, transposed @ target[..., None])[..., 0]
    except np.linalg.LinAlgError as error:
        raise ValueError("the training set leaves the coefficients open; take more rows") from error


@dataclass(frozen=True, slots=True)
class GaussianModel:
    """A normal law that is fitted to its own samples again and again.

    Attributes:
        rows: N real points.

    Raises:
        ValueError: a size out of range.
    """

    rows: int = 20

    def __post_init__(self) -> None:
        check_range("rows", self.rows, 2, 100_000)

    @property
    def quantities(self) -> tuple[str, ...]:
        """The fitted variance, and the squared distance of the fitted from the true mean, over the true variance."""
        return ("variance / σ²", "drift_squared")

    def entries(self, policy: DataPolicy, generations: int) -> int:
        """Numbers that one repetition holds."""
        return 2 * (self.rows + sum(policy.sizes(self.rows, generations)))

    def exact(self, policy: DataPolicy, generations: int) -> np.ndarray:
        """(generations,) expected variance over the true one: see `spread`."""
        return spread(policy, self.rows, generations)

    def beside(self, policy: DataPolicy, generations: int) -> dict[str, np.ndarray]:
        """The drift's expectation: 1 minus the variance's under every policy, as the fitted law averages to the truth.

        Derived for this project: every policy keeps E[x^2] under the fitted law, from one fit to the next.
        """
        return {"drift_squared_exact": 1 - self.exact(policy, generations)}

    def simulate(
        self, policy: DataPolicy, generations: int, repetitions: int, rng: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """Yields, fit by fit, (2, repetitions): variance and squared mean."""
        sizes = policy.sizes(self.rows, generations)
        sets = [rng.standard_normal((repetitions, self.rows))]
        row_weights: list[np.ndarray | None] = [np.full((1, self.rows), 1 / self.rows)]
        for n in range(generations):
            used = [(x, w) for x, w in zip(sets, row_weights, strict=True) if w is not None]
            mean = sum(((x * w).sum(axis=1) for x, w in used), np.zeros(repetitions))
            variance = sum((((x - mean[:, None]) ** 2 * w).sum(axis=1) for x, w in used), np.zeros(repetitions))
            yield np.stack([variance, mean**2])
            if n + 1 < generations:
                sets.append(mean[:, None] + np.sqrt(variance)[:, None] * rng.standard_normal((repetitions, sizes[n])))
                row_weights = weights(policy, self.rows, sizes[: n + 1], repetitions, rng)


@dataclass(frozen=True, slots=True)
class KernelModel:
    """A kernel density that is fitted to its own samples again and again: they are its rows with noise.

    Attributes:
        rows: N real points, normal.
        bandwidth: standard deviation of the kernel, over the truth's.

    Raises:
        ValueError: a size out of range.
    """

    rows: int = 20
    bandwidth: float = 0.3

    def __post_init__(self) -> None:
        check_range("rows", self.rows, 2, 100_000)
        check_range("bandwidth", self.bandwidth, 0, 10)

    @property
    def quantities(self) -> tuple[str, ...]:
        """The density's variance, and the squared distance of its mean from the true one, over the true variance."""
        return ("variance / σ²", "drift_squared")

    def entries(self, policy: DataPolicy, generations: int) -> int:
        """Numbers that one repetition holds."""
        return 4 * (self.rows + sum(policy.sizes(self.rows, generations)))

    def exact(self, policy: DataPolicy, generations: int) -> np.ndarray:
        """(generations,) expected variance over the true one: `V_{n+1} = (1 - 1/N) V_n + h^2` under replace."""
        return paired_spread(policy, self.rows, generations, self.bandwidth**2)

    def beside(self, policy: DataPolicy, generations: int) -> dict[str, np.ndarray]:
        """Nothing else."""
        return {}

    def simulate(
        self, policy: DataPolicy, generations: int, repetitions: int, rng: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """Yields, fit by fit, (2, repetitions): variance and squared mean."""
        sizes = policy.sizes(self.rows, generations)
        sets = [rng.standard_normal((repetitions, self.rows))]
        row_weights: list[np.ndarray | None] = [np.full((1, self.rows), 1 / self.rows)]
        for n in range(generations):
            used = [(x, w) for x, w in zip(sets, row_weights, strict=True) if w is not None]
            x = np.concatenate([x for x, _ in used], axis=1)
            weight = np.concatenate([np.broadcast_to(w, x.shape) for x, w in used], axis=1)
            mean = (x * weight).sum(axis=1)
            variance = ((x - mean[:, None]) ** 2 * weight).sum(axis=1)
            yield np.stack([variance + self.bandwidth**2, mean**2])
            if n + 1 < generations:
                picked = np.take_along_axis(x, draw_tokens(weight, sizes[n], rng), axis=1)
                sets.append(picked + self.bandwidth * rng.standard_normal(picked.shape))
                row_weights = weights(policy, self.rows, sizes[: n + 1], repetitions, rng)


def draw_tokens(law: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """(repetitions, n) tokens drawn from (repetitions, m) laws: one search through all the laws end to end."""
    m = law.shape[1]
    row = np.arange(len(law))[:, None]
    ends = (law.cumsum(axis=1) + row).ravel()
    tokens = np.searchsorted(ends, rng.random((len(law), n)) + row, side="right") - m * row
    last = m - 1 - (law[:, ::-1] > 0).argmax(axis=1)[:, None]  # rounding must not reach a token that is gone
    return np.minimum(tokens, last)
