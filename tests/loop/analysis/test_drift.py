"""Drift of tastes toward what is shown: found where it is planted, and by chance in 5% of studies where it isn't."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.simulated_proxies import DriftStudy, simulate_drift
from loop.analysis.drift import drift_tests
from loop.analysis.log import Slates

STEADY = DriftStudy()


def counts(setting: DriftStudy, n: int) -> dict[str, int]:
    """In how many of n studies each test finds a drift."""
    tests = [test for seed in range(n) for test in simulate_drift(setting, seed)]
    return {of: sum(test.verdict == "found" for test in tests if test.of == of) for of in ("raters", "picks")}


def test_without_two_generations_after_the_first_nothing_is_said():
    slates = Slates.of_equal_size(2, np.zeros(60, dtype=int), np.arange(60) % 6)
    x, at = np.random.default_rng(0).standard_normal((120, 2)), np.repeat([0, 1], 30)
    for test in drift_tests(slates, x, np.repeat(at, 2), at):
        assert test.verdict == "can't tell" and "two generations" in test.reason and test.p is None


def test_raters_who_all_saw_the_same_generations_are_not_held_against_each_other():
    raters, picks = simulate_drift(STEADY, 0)
    assert raters.verdict == "can't tell" and picks.verdict != "can't tell"
    once = simulate_drift(replace(STEADY, once=True), 0)
    assert once[0].verdict != "can't tell" and once[1].verdict == "can't tell"
    (alone, _), (_, few) = (simulate_drift(replace(STEADY, raters=n, picks=9 // n), 0) for n in (1, 6))
    assert "only 1 came" in alone.reason and "needs 20 picks" in few.reason


def test_a_strong_drift_is_found_and_none_hardly_ever():
    assert counts(replace(STEADY, beta=0.4, strength=2.0), 6)["picks"] >= 5
    assert counts(replace(STEADY, beta=0.4, strength=2.0, once=True), 5)["raters"] >= 3
    assert counts(STEADY, 12)["picks"] <= binom.ppf(0.9999, 12, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.3, 0.8])
def test_false_alarms_are_near_5_per_cent(spread: float):
    n = 200
    low, high = binom.ppf([0.001, 0.999], n, 0.05)
    assert low <= counts(replace(STEADY, spread=spread), n)["picks"] <= high
    assert low <= counts(replace(STEADY, spread=spread, once=True), n)["raters"] <= high
