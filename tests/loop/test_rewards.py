"""Rewards by hand."""

import numpy as np
import pytest
import torch

from loop.scoring import ball, class_prob, confidence
from model.config import RewardConfig
from model.interfaces import import_named

PROBS = np.array([[0.1, 0.7, 0.2], [0.5, 0.25, 0.25]], dtype=np.float32)


@pytest.mark.parametrize(
    ("point", "reward"),
    [((1.0, 2.0), 0.0), ((1.0, 3.5), 0.0), ((1.0, 4.0), -5.0), ((4.0, 6.0), -35.0), ((1.0, 0.0), -5.0)],
)
def test_the_ball_is_zero_inside_and_falls_with_the_distance_outside(point: tuple[float, float], reward: float):
    config = RewardConfig(kind="ball", gamma=10, center=(1.0, 2.0), r_min=1.5)
    assert ball(torch.tensor([point]), config) == pytest.approx([reward])


def test_gamma_is_the_only_scale():
    points = torch.tensor([[3.0, 0.0], [0.0, -4.0]])
    one, ten = (ball(points, RewardConfig(gamma=gamma, r_min=0)) for gamma in (1, 10))
    np.testing.assert_allclose(one, [-3, -4])
    np.testing.assert_allclose(ten, 10 * one)


@pytest.mark.parametrize(("target", "expected"), [(0, [0.5, 2.5]), (1, [3.5, 1.25]), (2, [1.0, 1.25])])
def test_class_prob_is_gamma_times_the_targets_probability(target: int, expected: list[float]):
    found = class_prob(PROBS, RewardConfig(gamma=5, target=target))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_class_prob_of_a_class_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"reward\.target is 3"):
        class_prob(PROBS, RewardConfig(target=3))


@pytest.mark.parametrize("gamma", [15, -2])
def test_confidence_is_gamma_times_the_largest_probability(gamma: float):
    np.testing.assert_allclose(confidence(PROBS, RewardConfig(gamma=gamma)), [0.7 * gamma, 0.5 * gamma], rtol=1e-6)


def test_a_name_is_imported():
    assert import_named("math:hypot", "reward.kind")(3, 4) == 5


@pytest.mark.parametrize("name", ["", "balls", "math:", "math:nothing", "no_such_module:f", ":f"])
def test_a_name_that_stands_for_nothing_is_refused_and_the_setting_named(name: str):
    with pytest.raises(ValueError, match=r"reward\.kind"):
        import_named(name, "reward.kind")
