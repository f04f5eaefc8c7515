"""The co-evolving user: its exact loop under the bound, finite picks beside it, and the rate at which it locks in."""

import numpy as np
import pytest

from loop.theory.population import Curators
from loop.theory.toy_loops import CoevolvingModel, coevolve, locks_in, turned
from model.luce import LuceRule


@pytest.mark.parametrize("k", [2, 4, "inf"])
def test_the_others_fade_at_least_as_fast_as_the_bound_says_and_at_last_at_the_limit(k):
    model = CoevolvingModel(items=6, dimension=3, k=k, tau=2.0, beta=0.3, rows=500)
    points = coevolve(model, 40, 10, seed=1)
    assert locks_in(model, points)
    assert points[-1].winner > 0.9 and points[-1].rate == pytest.approx(model.limit(model.start(1)[0]), rel=0.05)
    assert model.limit(model.start(1)[0]) <= model.bound(points[0].margin / 2)


def test_finite_picks_are_within_three_standard_errors_and_the_rate_is_in_its_interval():
    model = CoevolvingModel(items=6, dimension=3, tau=2.0, beta=0.3, rows=1_000)
    points = coevolve(model, 8, 60, seed=1)
    assert max(abs(point.z) for point in points if point.z is not None) < 3.5
    inside = [
        low <= (point.rate or 0) <= high for point in points[1:] for _, low, high in [point.simulated_rate or (0, 0, 0)]
    ]
    assert sum(inside) >= 6


def test_a_taste_that_does_not_follow_stays_and_one_that_follows_keeps_its_length():
    taste, shown = np.array([[1.0, 0.0]]), np.array([[0.0, 0.5]])
    assert turned(taste, shown, 0.0) == pytest.approx(taste)
    moved = turned(taste, shown, 0.4)
    assert np.linalg.norm(moved) == pytest.approx(1) and moved[0, 1] > 0


def test_a_loop_that_fades_more_slowly_than_the_bound_is_seen():
    model = CoevolvingModel(items=6, dimension=3, tau=2.0, beta=0.3, rows=500)
    points = coevolve(model, 3, 10, seed=1)
    slow = [point if point.rate is None else point.__class__(**{**fields(point), "rate": 1.01}) for point in points]
    assert not locks_in(model, slow)


def fields(point) -> dict:
    """The values of a point by name."""
    return {name: getattr(point, name) for name in point.__dataclass_fields__}


def test_the_law_is_that_of_the_curated_loop_where_the_taste_is_fixed():
    model = CoevolvingModel(items=4, dimension=2, tau=1.0, beta=0.0, rows=100)
    directions, taste = model.start(3)
    law = Curators.alike(LuceRule(2)).pick(directions @ taste, np.full(4, 0.25))
    assert coevolve(model, 1, 10, seed=3)[1].winner == pytest.approx(law[0])
