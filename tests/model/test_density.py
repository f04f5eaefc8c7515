"""The density of the solver's map: closed forms, both directions, and a total of 1."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from model.config import NetworkConfig, SamplingConfig, TrainConfig
from model.density import MOST_STEPS, PointDensity
from model.flow import Flow
from model.interfaces import Samples
from model.sampling import EVALUATIONS, GRIDS

TURN = torch.tensor([[0.4, -1.1], [0.7, -0.2]], dtype=torch.float64)
SHIFT = torch.tensor([0.5, -2.0], dtype=torch.float64)


class Linear(nn.Module):
    """v(t, x) = A x + b."""

    def forward(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """(n, 2)."""
        return x @ TURN.to(x.dtype).T + SHIFT.to(x.dtype)


class Folding(nn.Module):
    """v(t, x) = (-2 x_1, 0): one Euler step mirrors the plane, and two take it to a line on the way."""

    def forward(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """(n, 2)."""
        return -2 * x * torch.tensor([1.0, 0.0], dtype=x.dtype)


def settings(**changes: object) -> SamplingConfig:
    return SamplingConfig.model_validate({"steps": 3, **changes})


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("solver", EVALUATIONS)
def test_a_linear_field_gives_the_gaussian_of_the_discrete_steps(solver: str, grid: str):
    density = PointDensity(Linear(), settings(solver=solver, grid=grid))
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    ends = density.of_noise(corners).x1  # an affine map is known from three points
    mean, matrix = ends[0], (ends[1:] - ends[0]).T
    law = torch.distributions.MultivariateNormal(mean, matrix @ matrix.T)
    drawn = density.of_seeds(np.arange(50))
    torch.testing.assert_close(drawn.log_density, law.log_prob(drawn.x1), rtol=0, atol=1e-10)
    continuous = torch.linalg.matrix_exp(TURN).det()
    if solver == "euler":  # each step is I + h A, far from the continuous flow
        steps = torch.tensor([GRIDS[grid](i / 3) for i in range(4)], dtype=torch.float64).diff()
        wanted = torch.stack([torch.eye(2, dtype=torch.float64) + h * TURN for h in steps]).det().prod()
        torch.testing.assert_close(drawn.determinant, wanted.expand(50))
        assert abs(wanted - continuous) > 0.05
    points = 5 * torch.randn(40, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found, close = density.at(points)
    assert close.all()
    torch.testing.assert_close(found.log_density, law.log_prob(points), rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def two_modes() -> Flow:
    """A flow that learned two modes, with few coarse steps."""

    class TwoModes:
        def draw(self, n: int, rng: np.random.Generator) -> Samples:
            side = rng.choice([-1.5, 1.5], size=(n, 1))
            x = (side * [[1, 0.3]] + 0.3 * rng.standard_normal((n, 2))).astype(np.float32)
            return Samples(torch.from_numpy(x))

    train = TrainConfig(pretrain_steps=150, batch_size=128, pair_size=32, ema_decay=0.99, pretrain_lr=4e-3)
    untrained = Flow.build((2,), NetworkConfig(width=32, depth=2), train, SamplingConfig(steps=6))
    return untrained.fit(TwoModes(), None, seed=0)


def test_the_map_is_that_of_the_samples(two_modes: Flow):
    seeds = np.arange(700, 1_300)
    mapped = PointDensity(two_modes.network, two_modes.sampling).of_seeds(seeds)
    torch.testing.assert_close(mapped.x1.float(), two_modes.sample(seeds), rtol=0, atol=2e-5)
    assert two_modes.network.get_parameter("field.layers.0.weight").dtype == torch.float32
    step = 1e-5 * torch.tensor([1.0, 0.0], dtype=torch.float64)
    density = PointDensity(two_modes.network, two_modes.sampling)
    ahead, behind = density.of_noise(mapped.x0 + step).x1, density.of_noise(mapped.x0 - step).x1
    torch.testing.assert_close(mapped.jacobian[:, :, 0], (ahead - behind) / 2e-5, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("solver", "grid"), [("midpoint", "uniform"), ("ab2", "late"), ("euler", "uniform")])
def test_the_density_adds_up_to_one_and_every_point_comes_from_one_noise(two_modes: Flow, solver: str, grid: str):
    sampling = two_modes.sampling.model_copy(update={"solver": solver, "grid": grid})
    flow = replace(two_modes, sampling=sampling)
    density = PointDensity(flow.network, sampling)
    across, up = torch.linspace(-4, 4, 65), torch.linspace(-3, 3, 49)
    points = torch.cartesian_prod(across, up).double()
    found, close = density.at(points)
    assert close.all() and (found.determinant > 0).all()
    assert float(found.log_density.exp().sum() * 0.125**2) == pytest.approx(1, abs=0.01)
    drawn = density.of_seeds(np.arange(300))
    back, close = density.at(drawn.x1)
    assert close.all()
    torch.testing.assert_close(back.x0, drawn.x0, rtol=0, atol=1e-4)


def test_single_precision_finds_the_same_densities(two_modes: Flow, monkeypatch: pytest.MonkeyPatch):
    network, sampling = two_modes.network, two_modes.sampling
    exact, quick = (PointDensity(network, sampling, kind) for kind in (torch.float64, torch.float32))
    seeds, points = np.arange(400), torch.cartesian_prod(torch.linspace(-3, 3, 21), torch.linspace(-2, 2, 15))
    wanted, drawn = exact.of_seeds(seeds), quick.of_seeds(seeds)
    torch.testing.assert_close(drawn.log_density, wanted.log_density, rtol=0, atol=2e-5)
    solution, close = quick.at(points)
    assert close.all()
    torch.testing.assert_close(solution.x1, points.double(), rtol=0, atol=2e-5)
    torch.testing.assert_close(solution.log_density, exact.at(solution.x1)[0].log_density, rtol=0, atol=2e-5)
    monkeypatch.setattr("model.density.CORRECTIONS", 0)
    monkeypatch.setitem(MOST_STEPS, torch.float32, 0)  # so that it is too coarse, as for maps that collapsed
    solution, close = quick.at(points)
    assert close.all()
    torch.testing.assert_close(solution.x1, points.double(), rtol=0, atol=1e-6)


def test_a_map_that_folds_or_flattens_the_plane_is_seen():
    turned = PointDensity(Folding(), settings(solver="euler", steps=1)).of_seeds(np.arange(20))
    assert (turned.determinant < 0).all()
    flat = PointDensity(Folding(), settings(solver="euler", steps=2))  # the first step takes x to 0
    points = torch.tensor([[1.0, 0.5]], dtype=torch.float64)
    assert not flat.at(points)[1].any()


def test_points_far_from_every_sample_are_found(two_modes: Flow):
    density = PointDensity(two_modes.network, two_modes.sampling)
    far = torch.tensor([[30.0, -40.0], [-25.0, 3.0], [0.0, 9.0]], dtype=torch.float64)
    found, close = density.at(far)
    assert close.all() and (found.log_density < -50).all()
