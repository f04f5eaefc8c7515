"""A short table of coverages: the fixed-n interval at one look, the confidence sequence at all of them."""

import numpy as np

from benchmarks.win_rates import Tastes, calibrate


def test_intervals_cover_at_the_looks_that_they_are_for():
    rng, tastes = np.random.default_rng(0), Tastes("differing", 0.6, 3.0)
    few, many = calibrate(tastes, 3, "20", 100, rng), calibrate(tastes, 30, "20", 60, rng)
    assert few.fixed >= 0.92 and few.watched >= 0.95
    assert many.fixed >= 0.9 and many.watched >= 0.93 > many.fixed_looks
    assert many.watched_width > 1.2 * many.fixed_width
