"""H^K against enumeration of all slates, its limits, and its mass."""

import itertools
import math
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loop.theory.population import h, population_step, step
from model.luce import LuceRule


def enumerated(rewards: np.ndarray, p: np.ndarray, k: int, lapse: float = 0.0, bias: tuple[float, ...] = ()):
    """H by going through every slate of K samples in order: the definition, and K^n slow."""
    utility_of_place = np.array(bias or (0.0,) * k)
    picked = np.zeros(len(p))
    for slate in itertools.product(range(len(p)), repeat=k):
        chosen = list(slate)
        weight = np.exp(rewards[chosen] + utility_of_place)
        np.add.at(picked, chosen, p[chosen].prod() * (lapse / k + (1 - lapse) * weight / weight.sum()))
    return picked / p


def support(seed: int, n: int = 5, scale: float = 3.0):
    rng = np.random.default_rng(seed)
    return scale * rng.standard_normal(n), rng.dirichlet(np.ones(n)), rng


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_going_through_all_slates_gives(k: int, seed: int):
    rewards, p, rng = support(seed)
    bias = tuple(rng.standard_normal(k))
    assert h(rewards, p, LuceRule(k)) == pytest.approx(enumerated(rewards, p, k), rel=1e-12)
    everything = LuceRule(k, lapse=0.15, position_bias=bias)
    assert h(rewards, p, everything) == pytest.approx(enumerated(rewards, p, k, 0.15, bias), rel=1e-12)


def test_of_two_levels_it_has_a_closed_form():
    rewards, p = np.array([2.0, 0.0]), np.array([0.3, 0.7])
    w = np.exp(rewards)
    by_hand = 2 * w * (p[0] / (w + w[0]) + p[1] / (w + w[1]))
    assert h(rewards, p, LuceRule(2)) == pytest.approx(by_hand, rel=1e-14)


def test_large_k_tends_to_the_limit():
    rewards, p, _ = support(1)
    limit = np.exp(rewards) / (p @ np.exp(rewards))
    assert h(rewards, p, LuceRule("inf")) == pytest.approx(limit, rel=1e-14)
    assert h(rewards, p, LuceRule(1_000_000)) == pytest.approx(limit, rel=1e-4)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.sampled_from([1, 2, 3, 7, 50, 1000]), st.floats(0, 100))
def test_mass_range_and_order(seed: int, n: int, k: int, scale: float):
    rewards, p, _ = support(seed, n, scale)
    found = h(rewards, p, LuceRule(k))
    assert p @ found == pytest.approx(1, abs=1e-9)
    assert (found >= 0).all() and (found <= k * (1 + 1e-9)).all()
    assert (np.diff(found[np.argsort(rewards)]) >= -1e-9).all(), "what is liked more must be picked more"
    assert h(rewards + 17.0, p, LuceRule(k)) == pytest.approx(found, rel=1e-9, abs=1e-12)


def test_equal_rewards_are_one_point_of_the_support():
    rewards, p = np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.1, 0.2, 0.3, 0.4])
    merged = h(np.array([1.0, 0.0]), np.array([0.4, 0.6]), LuceRule(3))
    assert h(rewards, p, LuceRule(3)) == pytest.approx(merged[[0, 1, 0, 1]], rel=1e-13)


def test_many_laws_at_once_are_each_alone():
    rewards, _, rng = support(4, 30)
    laws = rng.dirichlet(np.ones(30), size=3).T
    rule = LuceRule(4, position_bias=(0.0, 0.5, 0.0, -1.0))
    apart = np.stack([step(rewards, laws[:, i], rule) for i in range(3)], axis=1)
    assert step(rewards, laws, rule) == pytest.approx(apart, rel=1e-12)


def test_a_population_picks_as_its_types_in_their_shares():
    rewards, p, rng = support(5)
    other, rules = rng.standard_normal(5), (LuceRule(2), LuceRule(3, lapse=0.2))
    by_hand = p * (0.7 * enumerated(rewards, p, 2) + 0.3 * enumerated(other, p, 3, 0.2))
    assert population_step(np.stack([rewards, other]), p, rules, (0.7, 0.3)) == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize(
    "wrong",
    [{"k": 0}, {"k": 2, "lapse": 1.5}, {"k": 3, "position_bias": (1.0, 0.0)}, {"k": "inf", "position_bias": (1.0,)}],
)
def test_a_rule_that_makes_no_sense_is_refused(wrong: dict):
    with pytest.raises(ValueError, match=r"K must|lapse is|entries"):
        LuceRule(**wrong)


@pytest.mark.parametrize("bias", [(), (0.5, 0.0)])
def test_rewards_that_are_thousands_apart(bias: tuple[float, ...]):
    rewards, p = np.array([-4_000.0, -4_001.0, -900.0, 0.0, -1.0]), np.full(5, 0.2)
    found = step(rewards, p, LuceRule(2, position_bias=bias))
    near = step(np.array([0.0, -1.0]), np.full(2, 0.5), LuceRule(2, position_bias=bias))
    assert found.sum() == pytest.approx(1, abs=1e-12)
    assert found[:2] == pytest.approx(0.16 * near) and found[3:] == pytest.approx(0.16 * near + 0.24)
    assert found[2] == pytest.approx(0.04 + 2 * 0.08)


@pytest.mark.parametrize("k", [2.5, 2.0, math.nan, math.inf, True, "two", None, 0, -1])
def test_a_k_that_is_no_whole_number_is_refused_in_one_sentence(k: Any):
    with pytest.raises(ValueError, match=r"^K must be a whole number, 1 or more, or \"inf\"; it can't be"):
        LuceRule(k)
    assert LuceRule(cast(int, np.int64(3))).k == 3


@pytest.mark.parametrize("bias", [(math.nan, 0.0), (0.0, math.inf)])
def test_a_position_bias_that_is_not_finite_is_refused(bias: tuple[float, float]):
    with pytest.raises(ValueError, match="position_bias must hold finite numbers"):
        LuceRule(2, 0.0, bias)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_rewards_that_are_not_finite_are_refused(wrong: float):
    rewards, p = np.array([0.0, wrong, 1.0]), np.full(3, 1 / 3)
    for law in (h, step):
        for k in (1, 2, "inf"):
            with pytest.raises(ValueError, match="rewards must be finite numbers"):
                law(rewards, p, LuceRule(cast(Any, k)))


@pytest.mark.parametrize("p", [[math.nan, 0.5, 0.5], [-0.5, 1.0, 0.5], [0.5, 0.5]])
def test_masses_that_are_none_are_refused(p: list[float]):
    with pytest.raises(ValueError, match="a finite mass of 0 or more for each of the 3 rewards"):
        h(np.arange(3.0), np.array(p), LuceRule(2))
