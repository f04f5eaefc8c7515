"""The fitted user against people's later picks: calibration, the gain of its own reward, and the exploited proxy."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.simulated_proxies import ProxyStudy, choose, simulate
from loop.analysis.log import Slates
from loop.config import StudyConfig
from loop.evidence.proxy import HeldOut, calibrations, clustered_mean, fit_gain, proxy_evidence, reliability
from loop.study import configure
from loop.theory.population import step
from model.luce import LuceRule

HONEST, BLIND = ProxyStudy(), ProxyStudy(blind=1.0)


def held_out(scale: float, n: int = 4_000, k: int = 3, seed: int = 0) -> HeldOut:
    """Picks by Luce's rule on utilities of which the scores are `scale` times as large."""
    rng = np.random.default_rng(seed)
    utilities = rng.standard_normal((n, k))
    picked = (utilities + rng.gumbel(size=(n, k))).argmax(axis=1)
    slates = Slates.of_equal_size(k, picked, rng.integers(40, size=n))
    return HeldOut(slates, scale * utilities.ravel(), np.ones(n * k, dtype=int), np.ones(n, dtype=int))


def test_a_calibrated_proxy_has_slope_1_and_its_bins_hold_what_it_says():
    evidence = proxy_evidence(held_out(1.0), {1: -0.9})
    assert evidence.slope and evidence.slope.low < 1 < evidence.slope.high
    assert sum(row.observed.low <= row.predicted <= row.observed.high for row in evidence.reliability) >= 8
    assert [row.n for row in evidence.reliability] == [1_200] * 10
    assert evidence.calibrations[0].own_picks == -0.9 and evidence.calibrations[0].chance == pytest.approx(-np.log(3))


def test_a_proxy_that_is_twice_too_sure_has_slope_a_half():
    evidence = proxy_evidence(held_out(2.0), {})
    assert evidence.slope and evidence.slope.value == pytest.approx(0.5, abs=0.05)
    top = evidence.reliability[-1]
    assert top.observed.high < top.predicted


def test_the_held_out_likelihood_is_that_of_the_picks_and_its_intervals_hold_the_truth():
    held = held_out(1.0, n=500)
    (row,) = calibrations(held, {})
    p = held.probabilities.reshape(-1, 3)[np.arange(500), held.slates.picked]
    assert row.log_likelihood.value == pytest.approx(np.log(p).mean())
    assert row.gain.value == pytest.approx(np.log(p).mean() + np.log(3))
    rng = np.random.default_rng(1)
    raters = np.repeat(np.arange(15), 20)
    covered = 0
    for _ in range(400):
        values = 0.5 * rng.standard_normal(15)[raters] + rng.standard_normal(300)
        mean = clustered_mean(values, raters)
        covered += mean.low <= 0 <= mean.high
    assert 0.92 <= covered / 400 <= 0.98


def test_bins_never_have_too_few_samples():
    assert len(reliability(held_out(1.0, n=10))) == 3


def test_nothing_is_said_of_a_proxy_that_nobody_picked_after():
    empty = HeldOut(Slates.of_equal_size(2, np.array([], dtype=int)), *(np.array([]) for _ in range(3)))
    evidence = proxy_evidence(empty, {})
    assert evidence.verdict == "can't tell" and not evidence.calibrations


@pytest.mark.parametrize("lam", ["inf", "1"])
def test_transmission_for_the_proxy_is_1_where_the_generator_learns_without_error(lam: str):
    config: StudyConfig = configure("flowers", [f"mix.lam={lam}", "curation.k=4"])
    rng = np.random.default_rng(0)
    before, real = rng.normal(0, 0.6, 4_000), rng.normal(-0.2, 0.6, 3_000)
    law = step(before, np.full(4_000, 1 / 4_000), LuceRule(4))
    after = rng.choice(before, 4_000, p=law)
    if lam == "1":
        after = np.where(rng.random(4_000) < 0.5, after, rng.choice(real, 4_000))
    gain = fit_gain(before, after, real, config, 4_000)
    assert gain and gain.ratio and gain.ratio[2] < 1 < gain.ratio[3]
    still = fit_gain(before, before, real, config, 4_000)
    assert still and still.ratio and still.ratio[0] == 0 and still.measured.value == 0


def test_no_gain_of_the_proxy_is_claimed_where_earlier_sets_train_too():
    config = configure("flowers", ["mix.policy=accumulate", "curation.extend=none"])
    assert fit_gain(np.zeros(10), np.zeros(10), np.zeros(10), config, 10) is None


def verdicts(setting: ProxyStudy, n: int) -> int:
    """The number of n studies in which the proxy is said to be exploited."""
    return sum(simulate(setting, seed).verdict == "found" for seed in range(n))


def test_an_exploited_proxy_is_named_with_its_generation_and_an_honest_one_is_not():
    assert verdicts(BLIND, 30) >= 27
    assert verdicts(HONEST, 60) <= binom.ppf(0.9999, 60, 0.05)
    evidence = simulate(BLIND, 0)
    assert evidence.since in (1, 2, 3) and f"since generation {evidence.since}" in evidence.sentence
    assert evidence.audits[-1].people.value < evidence.audits[-1].proxy.value
    alone = simulate(replace(BLIND, raters=1, picks=100, audits=100), 0)
    assert alone.since == 1 and "the only rater did in" in alone.sentence and "nothing of others" in alone.sentence


@pytest.mark.slow
@pytest.mark.parametrize(
    "more", [{}, {"spread": 0.8}, {"raters": 8, "picks": 8, "audits": 8}, {"strength": 2.0}, {"raters": 100}]
)
def test_false_alarms_are_near_5_per_cent_or_fewer_and_a_blind_proxy_is_named(more: dict):
    n = 200
    assert verdicts(replace(HONEST, **more), n) <= binom.ppf(0.975, n, 0.05)
    if "raters" not in more:
        assert verdicts(replace(BLIND, **more), n) >= 0.8 * n


def test_simulated_people_pick_by_luce():
    rng = np.random.default_rng(0)
    x = np.tile(np.array([[[0.0], [1.0]]]), (4_000, 1, 1))
    picked = choose(x, np.zeros((4_000, 2), dtype=int), np.ones((4_000, 1)), np.zeros(1), 0.0, rng)
    assert picked.mean() == pytest.approx(1 / (1 + np.exp(-1)), abs=0.03)
