"""Confidence sequences: the betting martingale by hand, its inversion, coverage at all looks; and ratios."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from loop.evidence.intervals import FRACTIONS, Z95, always_valid, log_wealth, ratio_of, reach_of_asymptotic


def test_wealth_is_the_mean_of_the_bets():
    values, mean = np.array([0.2, 1.0, 0.0]), 0.3
    higher = [np.prod([1 + f * (x / mean - 1) for x in values]) for f in FRACTIONS]
    lower = [np.prod([1 + f * ((1 - x) / (1 - mean) - 1) for x in values]) for f in FRACTIONS]
    assert np.exp(log_wealth(values, mean)[-1]) == pytest.approx((np.mean(higher) + np.mean(lower)) / 2)


def test_wealth_is_a_martingale_at_the_true_mean():
    """Exactly: over both values of one more draw, whatever came before."""
    before, (low, high), chance = np.array([0.9, 0.4]), (0.1, 0.8), 0.25
    mean = chance * high + (1 - chance) * low
    now, up, down = (np.exp(log_wealth(np.append(before, more), mean)[-1]) for more in ([], [high], [low]))
    assert chance * up + (1 - chance) * down == pytest.approx(now)


@pytest.mark.parametrize("values", [[0.0] * 5, [1.0] * 5, [0.5], [0.2, 0.9, 0.7] * 9, [0.6] * 200])
def test_the_interval_is_where_no_bet_has_won(values: list[float]):
    found = np.array(values)
    low, high = always_valid(found, 0.05)
    assert low <= found.mean() <= high
    grid = np.linspace(0.001, 0.999, 999)
    inside = np.array([log_wealth(found, m)[-1] < np.log(20) for m in grid])
    assert ((grid > low) & (grid < high) == inside).all()
    assert always_valid(found[::-1], 0.05) == pytest.approx((low, high)), "the order doesn't matter"
    wider = always_valid(found, 0.001)
    assert wider[0] <= low and wider[1] >= high


def test_all_looks_together_cover_the_mean():
    """A 95% interval of a fixed sample misses in a third of these studies at some look; so may this in 5%."""
    rng = np.random.default_rng(0)
    missed, studies = 0, 400
    for _ in range(studies):
        shares = rng.binomial(20, rng.beta(3, 3, 150)) / 20
        missed += log_wealth(shares, 0.5).max() >= np.log(20)
    assert missed <= 0.05 * studies + 2 * np.sqrt(studies * 0.05 * 0.95), missed


def test_the_asymptotic_sequence_reaches_beyond_the_normal_and_farther_with_few_clusters():
    reaches = [reach_of_asymptotic(n, 0.05) for n in (2, 5, 30, 200)]
    assert reaches[0] > reaches[1] > reaches[2] > 2.9 > norm.isf(0.025)
    assert reach_of_asymptotic(30, 0.001) > reaches[2]


@given(st.integers(0, 1_000), st.floats(0, 0.5))
def test_at_the_ends_of_a_ratios_interval_the_difference_is_its_error(seed: int, noise: float):
    """Fieller's interval: the ratios rho at which numerator - rho denominator is within 1.96 standard errors of 0."""
    rng = np.random.default_rng(seed)
    spread = rng.normal(size=(2, 200)) * [[0.3], [0.2]]
    numerator, denominator = np.r_[1.5, 1.5 + spread[0]], np.r_[2.0, 2.0 + spread[1] + 0.5 * spread[0]]
    found = ratio_of(numerator, denominator, noise)
    assert found is not None and found.low < found.value == 0.75 < found.high
    for end in (found.low, found.high):
        difference = numerator - end * denominator
        error = np.hypot(difference[1:].std(ddof=1), noise)
        assert abs(difference[0]) == pytest.approx(Z95 * error)


def test_a_ratio_to_what_may_be_nothing_has_no_interval():
    rng = np.random.default_rng(0)
    assert ratio_of(np.r_[1.0, 1.0 + rng.normal(size=50)], np.r_[0.5, 0.5 + rng.normal(size=50)]) is None
    exact = ratio_of(np.array([1.0]), np.array([2.0]))
    assert exact is not None and (exact.low, exact.value, exact.high, exact.se) == (0.5, 0.5, 0.5, 0.0)
