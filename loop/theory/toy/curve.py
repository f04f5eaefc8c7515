"""From a toy model to curves: exact values where theory has them, beside the mean of many independent repetitions."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from loop.policies import POLICY_KINDS, DataPolicy

Report = Callable[[float], None]  # told which share of the work is done
BLOCK = 4_000_000  # numbers that the repetitions simulated at once may hold


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
    """What `curves` needs of a model."""

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
        """What else theory tells at n = 1, 2, ..., by name, (generations,) each."""
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
    """How many standard errors; None where the repetitions hardly differ (by rounding alone, beside `scale`)."""
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
