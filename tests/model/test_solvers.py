"""The solvers against known solutions, and their order of convergence."""

import itertools
import math

import pytest
import torch

from model.sampling import EVALUATIONS, GRIDS, evaluations, integrate

ORDER = {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4, "ab2": 2}


def linear(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """dx/dt = -1.5 x, so x(1) = x(0) exp(-1.5)."""
    return -1.5 * x


def forced(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """dx/dt = x + 2 t, so x(1) = (x(0) + 2) e - 4."""
    return x + 2 * t[:, None]


def error(v, exact: float, solver: str, steps: int, grid: str) -> float:
    return abs(float(integrate(v, torch.ones(1, 1, dtype=torch.float64), solver, steps, grid)) - exact)


@pytest.mark.parametrize(("v", "exact"), [(linear, math.exp(-1.5)), (forced, 3 * math.e - 4)], ids=["linear", "forced"])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("solver", EVALUATIONS)
def test_halving_the_step_divides_the_error_by_two_to_the_order(v, exact: float, solver: str, grid: str):
    errors = [error(v, exact, solver, steps, grid) for steps in (20, 40, 80)]
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(ORDER[solver], abs=0.35)


@pytest.mark.parametrize("solver", EVALUATIONS)
@pytest.mark.parametrize("steps", [1, 7])
def test_a_constant_velocity_is_followed_exactly_in_any_shape(solver: str, steps: int):
    x0 = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    x1 = integrate(lambda t, x: torch.full_like(x, 2.5), x0, solver, steps)
    torch.testing.assert_close(x1, x0 + 2.5)


@pytest.mark.parametrize("solver", ["midpoint", "heun"])
def test_order_two_is_exact_for_a_velocity_linear_in_time(solver: str):
    assert float(integrate(lambda t, x: 2 * t[:, None], torch.zeros(1, 1), solver, 3)) == pytest.approx(1)


@pytest.mark.parametrize(
    ("solver", "times"),
    [
        ("euler", [0, 0.5]),
        ("midpoint", [0, 0.25, 0.5, 0.75]),
        ("heun", [0, 0.5, 0.5, 1]),
        ("rk4", [0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1]),
        ("ab2", [0, 0.5, 0.5]),
    ],
)
def test_velocities_are_asked_for_at_these_times(solver: str, times: list[float]):
    asked = []

    def v(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        assert t.shape == (2,) and t[0] == t[1]
        asked.append(float(t[0]))
        return x

    integrate(v, torch.ones(2, 3), solver, 2)
    assert asked == times
    assert len(asked) == evaluations(solver, 2)


@pytest.mark.parametrize(("solver", "steps"), [("rk45", 3), ("euler", 0), ("heun", -1)])
def test_an_unknown_solver_or_no_steps_are_refused(solver: str, steps: int):
    with pytest.raises(ValueError, match="solver"):
        integrate(linear, torch.ones(1, 1), solver, steps)
