"""Fixed-step solvers for dx/dt = v(t, x) from t = 0 (noise) to t = 1 (data).

Fixed steps, because an adaptive solver's steps depend on the whole batch: a sample would change with its neighbours.
docs/sampling.md compares them.
"""

import itertools
from collections.abc import Callable

import torch

Velocity = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Step = Callable[[Velocity, torch.Tensor, torch.Tensor, float], torch.Tensor]
Grid = Callable[[float], float]


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
        return _ab2(v, x0, times)
    x = x0
    for start, end in itertools.pairwise(times):
        x = SOLVERS[solver](v, _times(x, start), x, end - start)
    return x


def _ab2(v: Velocity, x0: torch.Tensor, times: list[float]) -> torch.Tensor:
    """Adams-Bashforth of order 2 with steps of any lengths: each uses the last slope again, so one evaluation a step.

    The first step, which has no last slope, is one of Heun's.
    """
    h = times[1] - times[0]
    t = _times(x0, times[0])
    before = v(t, x0)
    x = x0 + (h / 2) * (before + v(t + h, x0 + h * before))
    for start, end in itertools.pairwise(times[1:]):
        last, h = h, end - start
        slope = v(_times(x, start), x)
        x = x + h * (slope + (h / (2 * last)) * (slope - before))
        before = slope
    return x


def _times(x: torch.Tensor, t: float) -> torch.Tensor:
    return torch.full((len(x),), t, dtype=x.dtype, device=x.device)
