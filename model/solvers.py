"""Fixed-step solvers for dx/dt = v(t, x) from t = 0 (noise) to t = 1 (data).

Fixed steps, because an adaptive solver's steps depend on the whole batch: a sample would change with its neighbours.
"""

from collections.abc import Callable

import torch

Velocity = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Step = Callable[[Velocity, torch.Tensor, torch.Tensor, float], torch.Tensor]


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


SOLVERS: dict[str, Step] = {"euler": euler, "midpoint": midpoint, "heun": heun}


def integrate(v: Velocity, x0: torch.Tensor, solver: str, steps: int) -> torch.Tensor:
    """The state at t = 1.

    Args:
        v: velocity; takes t of shape (n,) and x of shape (n, *shape), gives the shape of x.
        x0: (n, *shape), the state at t = 0.
        solver: a key of `SOLVERS`.
        steps: equal steps from 0 to 1.

    Raises:
        ValueError: an unknown solver or no steps.
    """
    if solver not in SOLVERS or steps < 1:
        raise ValueError(f"solver must be one of {', '.join(SOLVERS)} with at least one step, not {solver}, {steps}")
    x, h = x0, 1.0 / steps
    for i in range(steps):
        t = torch.full((len(x),), i * h, dtype=x.dtype, device=x.device)
        x = SOLVERS[solver](v, t, x, h)
    return x
