"""Toy models of retraining on one's own samples, many repetitions beside exact curves: a regression, a Gaussian."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from loop.policies import POLICY_KINDS, DataPolicy

Report = Callable[[float], None]  # told which share of the work is done
BLOCK = 4_000_000  # numbers that the repetitions simulated at once may hold
ACCUMULATE_BOUND = np.pi**2 / 6  # of accumulate's excess error in units of v, whatever n


@dataclass(frozen=True, slots=True)
class Point:
    """One generation under one policy.

    Attributes:
        n: which fit; what 1 or 0 stands for is the model's to say.
        exact: expectation by theory; None where it has none.
        simulated: mean over the repetitions.
        se: its standard error.
        z: how many standard errors the simulation is off; None where there is nothing to compare, or no spread.
        extra: what else the model tells, by name.
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
        """Names of what is simulated; the first is what `exact` speaks of."""
        ...

    def entries(self, policy: DataPolicy, generations: int) -> int:
        """About how many numbers one repetition holds in memory."""
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
    report: Report = lambda share: None,
) -> list[Curve]:
    """One curve per policy, n = 1 .. generations.

    Args:
        model: what is simulated.
        policies: what each generation is trained on. Each has random numbers of its own, whichever others there are.
        generations: how many fits.
        repetitions: independent repetitions of the whole loop.
        seed: everything random comes from it.
        report: told the share of the work that is done.
    """
    check(generations, repetitions, seed)
    check_policies(policies)
    out = []
    for index, policy in enumerate(policies):
        values = _simulated(model, policy, generations, repetitions, seed, part_of(report, index, len(policies)))
        exact, beside = model.exact(policy, generations), model.beside(policy, generations)
        points = []
        for n in range(generations):
            known = {name: float(more[n]) for name, more in beside.items()}
            points.append(_point(n + 1, values[n], None if exact is None else float(exact[n]), model.quantities, known))
        out.append(Curve(policy, tuple(points)))
    return out


def generator(seed: int, policy: DataPolicy) -> np.random.Generator:
    """The random numbers of one policy's repetitions."""
    return np.random.default_rng([seed, POLICY_KINDS.index(policy.kind)])


def blocks(repetitions: int, entries: int) -> list[int]:
    """Sizes of the parts in which repetitions of so many entries each are simulated, to keep memory small."""
    size = max(1, min(repetitions, BLOCK // max(1, entries)))
    return [min(size, repetitions - start) for start in range(0, repetitions, size)]


def mean_and_se(values: np.ndarray) -> tuple[float, float]:
    """Mean of (repetitions,) values and its standard error; the error of a single one is not a number."""
    se = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return float(values.mean()), se


def z_score(difference: float, se: float, scale: float = 1.0) -> float | None:
    """The difference in standard errors; None where repetitions hardly differ (by rounding alone, beside `scale`)."""
    return difference / se if se > 1e-12 * abs(scale) else None


def largest_z(found: Sequence[Curve]) -> float | None:
    """The largest |z| of all points; None without any."""
    return max((abs(point.z) for curve in found for point in curve.points if point.z is not None), default=None)


def check(generations: int, repetitions: int, seed: int) -> None:
    """Raises ValueError for sizes of the simulation out of range."""
    check_range("generations", generations, 1, 500)
    check_range("repetitions", repetitions, 10, 1_000_000)
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, not {seed}")


def check_policies(policies: Sequence[DataPolicy]) -> None:
    """Raises ValueError for a policy that stands twice."""
    if len(set(policies)) != len(policies):
        raise ValueError("each policy can be asked for only once")


def part_of(report: Report, index: int, parts: int) -> Report:
    """For one of several equal parts of the work: tells `report` of the share of the whole."""
    return lambda share: report((index + share) / parts)


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raises ValueError unless low <= value <= high."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low:,} and {high:,}, not {value:,}")


def _simulated(
    model: ToyModel, policy: DataPolicy, generations: int, repetitions: int, seed: int, report: Report
) -> np.ndarray:
    """(generations, quantities, repetitions), simulated in blocks."""
    rng = generator(seed, policy)
    sizes = blocks(repetitions, model.entries(policy, generations))
    parts = []
    for index, size in enumerate(sizes):
        steps = []
        for values in model.simulate(policy, generations, size, rng):
            steps.append(values)
            report((index + len(steps) / generations) / len(sizes))
        parts.append(np.stack(steps))
    return np.concatenate(parts, axis=2)


def _point(n: int, values: np.ndarray, exact: float | None, names: Sequence[str], beside: dict[str, float]) -> Point:
    simulated, se = mean_and_se(values[0])
    z = None if exact is None else z_score(simulated - exact, se, exact)
    extra = {"median": float(np.median(values[0]))}
    extra |= {name: float(more.mean()) for name, more in zip(names[1:], values[1:], strict=True)}
    return Point(n, exact, simulated, se, z, extra | beside)


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
    made = [policy.compose(n_real, sizes, rng) for _ in range(repetitions if policy.is_random else 1)]
    rows = np.array([(one.real, *one.sets) for one in made])
    shares = np.array([(one.real_share, *one.set_shares) for one in made])
    return rows, shares


def weights(
    policy: DataPolicy, n_real: int, sizes: Sequence[int], repetitions: int, rng: np.random.Generator
) -> list[np.ndarray | None]:
    """Weight of every row: for the real data and for each set (repetitions or 1, rows), or None where none is used.

    A repetition's weights add up to 1 over all sets; arguments as `compositions`.
    """
    rows, shares = compositions(policy, n_real, sizes, repetitions, rng)
    out: list[np.ndarray | None] = []
    for taken, share, size in zip(rows.T, shares.T, (n_real, *sizes), strict=True):
        each = np.divide(share, taken, out=np.zeros(len(taken)), where=taken > 0)
        out.append(each[:, None] * _chosen(taken, size, rng) if taken.any() else None)
    return out


def _chosen(taken: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """(repetitions, size) of 1 for `taken` rows each, at random, and 0 for the others."""
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
    M = lam N rows; their partly synthetic case. Accumulate: `prod_{k<=n} (1 - 1/(N k^2))`. Accumulate_subsample:
    `_subsampled`. Mix as solved here, accumulate and accumulate_subsample were derived for this project.
    """
    n = np.arange(1, generations + 1)
    first = 1 - 1 / rows
    if policy.is_pure:
        return first**n
    if policy.kind == "accumulate":
        return np.cumprod(1 - 1 / (rows * n**2.0))
    if policy.is_mixed:
        c2 = (policy.lam / (1 + policy.lam)) ** 2
        b = c2 * (1 - 1 / policy.asked(rows))
        fixed = (1 - c2) / (1 - b)
        return first * (fixed + (1 - fixed) * b ** (n - 1))
    return _subsampled(rows, generations)


def _subsampled(rows: int, generations: int) -> np.ndarray:
    """The variance q_n of a fit on N rows drawn without replacement from the n N rows there are, whose variance is P_n.

    `q_n = P_n (1 - (n-1) / (nN - 1))`, the finite population's correction; N rows drawn from the fit join the pool,
    `P_{n+1} = (n (n + 2) P_n + (1 - 1/N) q_n) / (n + 1)^2`, for their mean is the pool's in expectation.
    """
    pool, out = 1 - 1 / rows, []
    for n in range(1, generations + 1):
        out.append(pool * (1 - (n - 1) / (n * rows - 1)))
        pool = (n * (n + 2) * pool + (1 - 1 / rows) * out[-1]) / (n + 1) ** 2
    return np.array(out)


@dataclass(frozen=True, slots=True)
class LinearModel:
    """The model's sizes.

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
        labels = self.rows + generations * policy.asked(self.rows)
        return labels + 2 * self.dimension * (labels if self.fresh else self.rows)

    def exact(self, policy: DataPolicy, generations: int) -> np.ndarray | None:
        """(generations,) expected excess error over v at n = 1, 2, ...; None where no closed form is known.

        Replace: n. Accumulate: sum_{i<=n} 1/i^2, under pi^2/6. (Gerstgrasser et al., Section 2; expectations over the
        design too.) Derived: accumulate with fresh rows, sum_i (T-d-1) / (i (iT-d-1)); mix with a whole lam, where the
        real rows stand lam times in each set: `1 + c^2 (1 - c^(2(n-1))) / (1 - c^2) / lam` with c = lam / (1 + lam),
        which ends at `1 + lam / (1 + 2 lam)`. None: accumulate_subsample, and mix with another lam or fresh rows.
        """
        n = np.arange(1, generations + 1)
        if policy.is_pure:
            return n.astype(float)
        if policy.kind == "accumulate":
            freedom = self.rows - self.dimension - 1
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
        asked = policy.asked(self.rows)
        truth = rng.standard_normal((repetitions, self.dimension))
        design = self._design(repetitions, self.rows, rng)
        labels = [_label(design, truth, rng)]
        places = [np.arange(self.rows)]
        row_weights: list[np.ndarray | None] = [np.full((1, self.rows), 1 / self.rows)]
        for n in range(generations):
            fitted = _fit(design, places, labels, row_weights)
            yield (((fitted - truth) ** 2).sum(axis=1) / self.v)[None]
            if n + 1 == generations:
                return
            if self.fresh:
                places.append(np.arange(asked) + design.shape[1])
                design = np.concatenate([design, self._design(repetitions, asked, rng)], axis=1)
            else:
                places.append(np.arange(asked) % self.rows)
            labels.append(_label(design[:, places[-1]], fitted, rng))
            row_weights = weights(policy, self.rows, [asked] * (n + 1), repetitions, rng)

    def _design(self, repetitions: int, rows: int, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal((repetitions, rows, self.dimension))


def _label(design: np.ndarray, coefficients: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(repetitions, rows) labels of (repetitions, rows, d) rows, with noise."""
    return (design @ coefficients[..., None])[..., 0] + rng.standard_normal(design.shape[:2])


def _fit(
    design: np.ndarray, places: list[np.ndarray], labels: list[np.ndarray], row_weights: list[np.ndarray | None]
) -> np.ndarray:
    """(repetitions, d) least squares over (repetitions, rows, d) distinct rows.

    Args:
        design: the distinct rows.
        places: of each set, which of them its rows are.
        labels: of each set, (repetitions, rows).
        row_weights: of each set, (repetitions or 1, rows), or None for a set left out.
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
    """The model's size.

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
        """Fitted variance over the true one, and the squared distance of the fitted mean from the true one, over it."""
        return ("variance / σ²", "drift_squared")

    def entries(self, policy: DataPolicy, generations: int) -> int:
        """Numbers that one repetition holds."""
        return 2 * (self.rows + generations * policy.asked(self.rows))

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
        asked = policy.asked(self.rows)
        sets = [rng.standard_normal((repetitions, self.rows))]
        row_weights: list[np.ndarray | None] = [np.full((1, self.rows), 1 / self.rows)]
        for n in range(generations):
            used = [(x, w) for x, w in zip(sets, row_weights, strict=True) if w is not None]
            mean = sum(((x * w).sum(axis=1) for x, w in used), np.zeros(repetitions))
            variance = sum((((x - mean[:, None]) ** 2 * w).sum(axis=1) for x, w in used), np.zeros(repetitions))
            yield np.stack([variance, mean**2])
            if n + 1 < generations:
                sets.append(mean[:, None] + np.sqrt(variance)[:, None] * rng.standard_normal((repetitions, asked)))
                row_weights = weights(policy, self.rows, [asked] * (n + 1), repetitions, rng)
