"""Flowers: their numbers there and back, their species, and pictures that are the same at every size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data.designs import dimension, to_designs, to_points
from data.flowers import FACTORS, SPECIES, Flowers, draw_flowers, nearest_species, species

designs = st.tuples(*(st.floats(factor.low, factor.high, exclude_max=factor.circle) for factor in FACTORS))
painter = Flowers()


@given(designs)
@settings(max_examples=200, deadline=None)
def test_a_design_comes_back_from_its_point(design: tuple[float, ...]):
    points = to_points(FACTORS, np.array([design]))
    assert points.shape == (1, dimension(FACTORS)) and np.abs(points).max() <= 1 + 1e-6
    back = to_designs(FACTORS, points)[0]
    for factor, before, after in zip(FACTORS, design, back, strict=True):
        apart = abs(after - before)
        span = factor.high - factor.low
        assert min(apart, span - apart if factor.circle else apart) < 1e-5 * span


def test_what_lies_outside_a_range_is_put_on_its_end():
    found = to_designs(FACTORS, np.full((2, dimension(FACTORS)), [[9.0], [-9.0]]))
    for factor, high, low in zip(FACTORS, *found, strict=True):
        if not factor.circle:
            assert (low, high) == (factor.low, factor.high)


@given(designs, st.integers(8, 80))
@settings(max_examples=40, deadline=None)
def test_every_design_has_a_picture_of_every_size(design: tuple[float, ...], size: int):
    picture = painter.paint(np.array(design), size)
    assert picture.shape == (size, size, 3) and picture.dtype == np.uint8
    assert np.array_equal(picture, painter.paint(np.array(design), size))
    assert np.ptp(picture) > 20  # a flower can be made out


@pytest.mark.parametrize("name", list(SPECIES))
def test_a_picture_is_the_same_at_another_size(name: str):
    design = np.array(SPECIES[name])
    large = Image.fromarray(painter.paint(design, 384)).resize((96, 96), Image.Resampling.BOX)
    apart = np.abs(np.asarray(large, dtype=float) - painter.paint(design, 96))
    assert apart.mean() < 3


def test_species_are_told_apart():
    points, labels = draw_flowers(4_000, np.random.default_rng(0))
    assert points.dtype == np.float32 and points.shape == (4_000, 16)
    assert (nearest_species(points) == labels).mean() > 0.99
    assert np.array_equal(nearest_species(to_points(FACTORS, species())), np.arange(len(SPECIES)))
    counts = np.bincount(labels, minlength=len(SPECIES))
    assert np.abs(counts - 4_000 / 12).max() < 5 * np.sqrt(4_000 / 12)


def test_few_flowers_lie_at_the_end_of_a_range():
    """Else a generator would have to learn edges that no density has."""
    points, _ = draw_flowers(4_000, np.random.default_rng(1))
    on_lines = np.delete(points, [5, 6, 12, 13], axis=1)
    assert (np.abs(on_lines) > 1).mean() < 0.03


def test_petals_are_counted():
    """Along a circle through the petals of a wide open flower brightness has one wave for every petal."""
    design = np.array(SPECIES["daisy"])
    values = dict(zip([factor.name for factor in FACTORS], design, strict=True)) | {
        "rings": 1.5, "tilt": 0.0, "width": 0.2, "length": 1.0, "veins": 0.0, "centre": 0.1, "sky": 0.1,
    }  # fmt: skip
    for petals in (5, 8, 13):
        values["petals"] = petals + 0.2
        picture = painter.paint(np.array([values[factor.name] for factor in FACTORS]), 256).astype(float).sum(axis=2)
        angle = np.linspace(0, 2 * np.pi, 1_440, endpoint=False)
        x, y = 0.62 * np.cos(angle), 0.62 * np.sin(angle) + 0.11
        ring = picture[((1 - y) * 128).astype(int), ((x + 1) * 128).astype(int)]
        assert np.abs(np.fft.rfft(ring))[1:].argmax() + 1 == petals
