"""From a seed to a sample: noise that depends on the seed alone, and fixed-step solvers that carry it to the data.

Every sample has a seed of its own, so that its noise is the same whatever the batch, the order or the process. Solvers
integrate dx/dt = v(t, x) from t = 0 (noise) to t = 1 (data) in fixed steps, because an adaptive solver's steps depend
on the whole batch: a sample would change with its neighbours. docs/sampling.md compares them.
"""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch

Velocity = Callable[..., torch.Tensor]  # of t (n,), x (n, *shape) and, under conditions, y (n,)
Step = Callable[[Velocity, torch.Tensor, torch.Tensor, float], torch.Tensor]
Grid = Callable[[float], float]


def derive_seed(*path: int) -> int:
    """A seed in [0, 2^63) from a path such as (study seed, generation, purpose)."""
    return int(np.random.SeedSequence(path).generate_state(1, np.uint64)[0] >> np.uint64(1))


def derive_seeds(n: int, *path: int) -> np.ndarray:
    """(n,) int64 seeds in [0, 2^63), from a path as above."""
    return (np.random.SeedSequence(path).generate_state(n, np.uint64) >> np.uint64(1)).astype(np.int64)


def noise(seeds: np.ndarray, shape: Sequence[int]) -> torch.Tensor:
    """Standard normal noise x0, (n, *shape) float32: row i depends on `seeds[i]` alone.

    Args:
        seeds: (n,) non-negative integers.
        shape: of one sample.

    Raises:
        ValueError: a negative seed.
    """
    if len(seeds) and seeds.min() < 0:
        raise ValueError(f"seeds must be 0 or more, not {seeds.min()}")
    x0 = np.empty((len(seeds), *shape), dtype=np.float32)
    # Philox is counter-based: its first numbers are as good as later ones for any key, with no warm-up. A new one for
    # each seed would take six times longer: NumPy asks the system for entropy before it takes the key.
    philox = np.random.Philox(key=0)
    rng, state = np.random.Generator(philox), philox.state
    for row, seed in zip(x0, seeds, strict=True):
        state["state"]["key"][0] = seed
        philox.state = state
        rng.standard_normal(out=row, dtype=np.float32)
    return torch.from_numpy(x0)


def euler(v: Velocity, t: torch.Tensor, x: torch.Tensor, h: float) -> torch.Tensor:
    """One step of order 1, one evaluation."""
    return x + h * v(t, x)


def midpoint(v: Velocity, t: torch.Tensor, x: torch.Tensor, h: float) -> torch.Tensor:
    """One step of order 2, two evaluations."""
    return x + h * v(t + h / 2, x + (h / 2) * v(t, x))


def heun(v: Velocity, t: torch.Tensor, x: torch.Tensor, h: float) -> torch.Tensor:
    """One step of order 2, two evaluations, the second at the end of the step."""
    slope = v(t, x)
    return x + (h / 2) * (slope + v(t + h, x + h * slope))


def rk4(v: Velocity, t: torch.Tensor, x: torch.Tensor, h: float) -> torch.Tensor:
    """One step of order 4, four evaluations: the classical Runge-Kutta method."""
    first = v(t, x)
    second = v(t + h / 2, x + (h / 2) * first)
    third = v(t + h / 2, x + (h / 2) * second)
    fourth = v(t + h, x + h * third)
    return x + (h / 6) * (first + 2 * second + 2 * third + fourth)


SOLVERS: dict[str, Step] = {"euler": euler, "midpoint": midpoint, "heun": heun, "rk4": rk4}
EVALUATIONS = {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4, "ab2": 1}  # of the network, a step

GRIDS: dict[str, Grid] = {
    "uniform": lambda u: u,
    "late": lambda u: 1 - (1 - u) ** 2,  # shorter steps towards the data
    "early": lambda u: u**2,  # shorter steps at the noise
}


def evaluations(solver: str, steps: int) -> int:
    """The number of evaluations of the network."""
    return EVALUATIONS[solver] * steps + (solver == "ab2")


def integrate(v: Velocity, x0: torch.Tensor, solver: str, steps: int, grid: str = "uniform") -> torch.Tensor:
    """The state at t = 1.

    Args:
        v: velocity; takes t of shape (n,) and x of shape (n, *shape), gives the shape of x.
        x0: (n, *shape), the state at t = 0.
        solver: a key of `SOLVERS`, or 'ab2', the two-step Adams-Bashforth method.
        steps: from 0 to 1.
        grid: a key of `GRIDS`, where the steps end.

    Raises:
        ValueError: an unknown solver or grid, or no steps.
    """
    if solver not in EVALUATIONS or grid not in GRIDS or steps < 1:
        raise ValueError(
            f"solver must be one of {', '.join(EVALUATIONS)} on a grid of {', '.join(GRIDS)} with at least one step, "
            f"not {solver}, {grid}, {steps}"
        )
    times = [GRIDS[grid](i / steps) for i in range(steps + 1)]
    if solver == "ab2":
        return adams_bashforth(v, x0, times)
    x = x0
    for start, end in itertools.pairwise(times):
        x = SOLVERS[solver](v, x.new_full((len(x),), start), x, end - start)
    return x


def adams_bashforth(v: Velocity, x0: torch.Tensor, times: list[float]) -> torch.Tensor:
    """The state at the last time, by a method of order 2 that uses each slope twice: one evaluation a step.

    Steps may have any lengths. The first one, which has no earlier slope, is one of Heun's.
    """
    h = times[1] - times[0]
    t = x0.new_full((len(x0),), times[0])
    before = v(t, x0)
    x = x0 + (h / 2) * (before + v(t + h, x0 + h * before))
    for start, end in itertools.pairwise(times[1:]):
        last, h = h, end - start
        slope = v(x.new_full((len(x),), start), x)
        x = x + h * (slope + (h / (2 * last)) * (slope - before))
        before = slope
    return x
