"""Designs of one's own, by import path, and weights by name."""

import numpy as np
import pytest

from data.config import DataConfig
from data.datasets import load, nearest_mode, sample_shape
from data.designs import Factor, factor_utility, load_designs, weights_on_points

FACTORS = (Factor("size", 0, 10, "smaller", "larger"), Factor("hue", 0, 360, more="red green blue", circle=True))


class Discs:
    """Discs of a size and a hue."""

    factors = FACTORS
    label_names = ("small", "large")

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        angle = rng.uniform(0, 2 * np.pi, n)
        return np.stack([rng.uniform(-1, 1, n), np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)

    def label(self, points: np.ndarray) -> np.ndarray:
        return (points[:, 0] > 0).astype(np.int64)

    def paint(self, design: np.ndarray, size: int) -> np.ndarray:
        return np.full((size, size, 3), int(25 * design[0]), dtype=np.uint8)


class Unpainted:
    """Designs that nobody can see."""

    factors = FACTORS
    label_names = ()


def test_designs_of_ones_own_are_named_by_import_path():
    config = DataConfig(dataset="flowers", designs=f"{__name__}:Discs", n=50)
    real = load(config, seed=1)
    assert sample_shape(config) == (3,) and real.x.shape == (50, 3) and real.label_names == ("small", "large")
    assert np.array_equal(nearest_mode(config, real.x), real.labels) and not real.is_images


@pytest.mark.parametrize("name", ["nowhere:Discs", f"{__name__}:Nothing", "roses", f"{__name__}:FACTORS"])
def test_designs_that_there_are_not_are_one_sentence(name: str):
    with pytest.raises(ValueError, match=r"data.designs = .* name a class as 'module:Class'"):
        load_designs(name)


def test_what_designs_lack_is_named():
    with pytest.raises(ValueError, match="lacks draw, label, paint"):
        load_designs(f"{__name__}:Unpainted")


def test_utilities_follow_weights_by_name():
    points = np.array([[1.0, 1.0, 0.0], [-1.0, 0.0, 1.0], [3.0, 0.0, 2.0]])
    weights = {"size": 2.0, "hue@90": 1.0}
    assert np.allclose(weights_on_points(FACTORS, weights), [2.0, 0.0, 1.0])
    assert np.allclose(factor_utility(points, FACTORS, weights), [2.0, -1.0, 3.0], atol=1e-6)
