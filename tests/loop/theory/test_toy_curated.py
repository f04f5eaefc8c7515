"""The curated loop with finite picks: over its expectation, over the population loop, and within theory's promises."""

import itertools

import numpy as np
import pytest

from loop.policy import DataPolicy
from loop.theory import bounds, toy_tokens
from loop.theory.population import h, mixed_loop, pure_loop
from loop.theory.toy_models import largest_z
from loop.theory.toy_tokens import CuratedModel, curated_curves
from model.luce import LuceRule

POLICIES = [DataPolicy("replace"), DataPolicy("accumulate"), DataPolicy("accumulate_subsample"), DataPolicy("mix", 0.5)]


@pytest.mark.parametrize("k", [1, 2, 5, "inf"])
def test_picks_are_over_what_the_operator_expects_of_them(k):
    found = curated_curves(CuratedModel(6, 3.0, k, rows=80), POLICIES, 5, 250, seed=3)
    largest = largest_z(found)
    assert largest is not None and largest < 4
    for curve in found:
        assert [point.n for point in curve.points] == [0, 1, 2, 3, 4, 5]
        for point in curve.points:
            assert point.simulated == pytest.approx(point.extra["expected"], abs=0.02)


def test_a_wrong_operator_shows(monkeypatch: pytest.MonkeyPatch):
    def off(rewards, p, rules, weights):  # a hidden temperature of 1.1
        picked = p * h(rewards[0] / 1.1, p, rules[0])
        return picked / picked.sum(axis=0)

    monkeypatch.setattr("loop.theory.population.population_step", off)
    largest = largest_z(curated_curves(CuratedModel(6, 3.0, 4, rows=300), POLICIES, 4, 250, seed=3))
    assert largest is not None and largest > 5


def test_many_picks_follow_the_population_loop_which_is_the_leading_one():
    model = CuratedModel(5, 2.0, 3, rows=4_000)
    support = model.support
    for policy, laws in (
        (POLICIES[0], pure_loop(support.rewards, support.truth, LuceRule(3), 4)),
        (POLICIES[3], mixed_loop(support.rewards, support.truth, support.truth, 0.5, LuceRule(3), 4)),
    ):
        assert model.population(policy, 4) == pytest.approx(laws)
    for curve in curated_curves(model, POLICIES, 4, 40, seed=5):
        for point in curve.points:
            assert point.simulated == pytest.approx(point.exact, abs=0.006)
            assert point.extra["kl_simulated"] == pytest.approx(point.extra["kl_exact"], abs=0.01)


@pytest.mark.parametrize("k", [2, 4, "inf"])
def test_the_population_keeps_every_promise(k):
    for curve in curated_curves(CuratedModel(7, 4.0, k, rows=10), [*POLICIES[:3], DataPolicy("mix", 0.3)], 8, 10, 0):
        assert "floor" not in curve.points[0].extra
        for point in curve.points[1:]:
            assert point.exact is not None and point.exact >= point.extra["floor"]
            if "c4_floor" in point.extra:
                assert point.exact >= point.extra["c4_floor"]
            if "kl_ceiling" in point.extra:
                assert point.extra["kl_exact"] <= point.extra["kl_ceiling"]
        told = {key for point in curve.points for key in point.extra}
        assert ("c4_floor" in told) == (curve.policy.kind == "mix")
        assert ("kl_ceiling" in told) == (curve.policy.kind == "mix" and k in (2, 4))


def test_the_floor_is_c1_for_the_pure_loop_and_the_sharp_step_for_the_mixed_one():
    model = CuratedModel(5, 2.0, 3, rows=50)
    w = np.exp(model.support.rewards)
    for policy, lam in ((POLICIES[0], None), (POLICIES[3], 0.5)):
        laws = model.population(policy, 3)
        e, var = laws @ w, laws @ w**2 - (laws @ w) ** 2
        for t in (1, 2, 3):
            by_hand = (
                bounds.c1_floor(e[t - 1], var[t - 1], 1.0, 3)
                if lam is None
                else bounds.c4_floor_step(e[0], e[t - 1], var[t - 1], 1.0, 3, lam)
            )
            assert model.promises(policy, laws)[t]["floor"] == pytest.approx(by_hand)


def test_tokens_that_are_gone_are_never_drawn_again():
    support = toy_tokens.Support(np.array([0.5, 0.3, 0.2]), np.zeros(3), LuceRule(2))
    steps = list(toy_tokens.simulate(support, DataPolicy("replace"), 4, 12, 300, np.random.default_rng(1)))
    for before, after in itertools.pairwise(steps):
        assert not ((before.law == 0) & (after.law > 0)).any()
        assert after.law.sum(axis=1) == pytest.approx(1)


def test_thinning_takes_just_so_many_rows_and_leaves_the_composition_alone():
    rng = np.random.default_rng(2)
    counts, taken = np.tile([5, 0, 3, 12], (6_000, 1)), np.resize([0, 1, 7, 19, 20], 6_000)
    thin = toy_tokens.thin(counts, taken, rng)
    assert (thin.sum(axis=1) == taken).all() and (thin <= counts).all() and (thin >= 0).all()
    assert thin[taken == 7].mean(axis=0) == pytest.approx(7 * np.array([5, 0, 3, 12]) / 20, abs=0.15)


def test_sizes_out_of_range_are_errors():
    for wrong in ({"size": 1}, {"gamma": -1.0}, {"k": 0}, {"k": 2_000}, {"rows": 1}):
        with pytest.raises(ValueError, match="between"):
            CuratedModel(**wrong)
