"""The known laws: a total of 1, a million draws, and an independent integral over the arcs."""

import numpy as np
import pytest
from scipy.integrate import quad

from data.config import DataConfig
from data.datasets import has_density, load, log_density, rectangle_masses

LAWS = [
    DataConfig(dataset="moons", noise=0.1),
    DataConfig(dataset="moons", noise=0.06),
    DataConfig(dataset="gaussians", radius=2.0, modes=5),
    DataConfig(dataset="gaussians", std=0.7, modes=1, radius=1.0),
]


@pytest.mark.parametrize("config", LAWS)
def test_the_density_adds_up_to_one_and_is_that_of_a_million_draws(config: DataConfig):
    across = np.arange(-4.5, 4.5, 0.06)
    points = np.stack(np.meshgrid(across, across), axis=-1).reshape(-1, 2)
    assert np.exp(log_density(config, points)).sum() * 0.06**2 == pytest.approx(1, abs=1e-4)
    draws = load(config.model_copy(update={"n": 1_000_000}), seed=4).x
    edges = np.linspace(-3, 3, 25)
    counts = np.histogram2d(*draws.T, bins=[edges, edges])[0].ravel()
    corners = np.stack(np.meshgrid(edges[:-1], edges[:-1], indexing="ij"), axis=-1).reshape(-1, 2)
    masses = rectangle_masses(config, corners, corners + 0.25)
    z = (counts - 1e6 * masses) / np.sqrt(1e6 * masses + 1)
    assert np.abs(z).max() < 5 and (z**2)[masses > 1e-5].mean() == pytest.approx(1, abs=0.35)
    centre, tiny = corners[masses > 1e-3] + 0.1, 2e-4
    small = rectangle_masses(config, centre - tiny, centre + tiny) / (2 * tiny) ** 2
    np.testing.assert_allclose(np.exp(log_density(config, centre)), small, rtol=1e-3)


def test_the_moons_are_an_integral_over_both_arcs():
    config = LAWS[0]

    def along(angle: float, point: np.ndarray) -> float:
        arc = np.array([np.cos(angle), np.sin(angle)])
        return sum(np.exp(-((point - centre) ** 2).sum() / 0.02) for centre in (arc, [1.0, 0.5] - arc)) / 0.02 / np.pi

    for point in np.array([[0.3, 0.2], [1.02, -0.03], [0.0, 1.1], [2.0, 0.5]]):
        wanted = quad(along, 0, np.pi, args=(point,), epsabs=1e-12, limit=200)[0] / (2 * np.pi)
        assert log_density(config, point[None])[0] == pytest.approx(np.log(wanted), abs=2e-4)
    far = log_density(config, np.array([[40.0, -70.0]]))
    assert np.isfinite(far).all() and far[0] < -1e5


def test_all_of_the_plane_has_mass_one_and_some_data_have_no_density():
    whole = np.array([[-np.inf, -np.inf]]), np.array([[np.inf, np.inf]])
    for config in [*LAWS, DataConfig(dataset="moons", noise=0.0)]:
        assert rectangle_masses(config, *whole) == pytest.approx(1)
    for config in (DataConfig(dataset="digits"), DataConfig(dataset="moons", noise=0.0)):
        assert not has_density(config)
        with pytest.raises(ValueError, match="isn't known"):
            log_density(config, np.zeros((1, 2)))
