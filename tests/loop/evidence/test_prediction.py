"""Predictions from plain samples of rewards, against picks that are really made and against the exact loop."""

import math

import numpy as np
import pytest

from data.records import Evaluated
from loop.evidence import prediction
from loop.policy import DataPolicy
from loop.theory.population import Curators, mixed_loop
from model import luce
from model.luce import LuceRule

ALIKE = Curators.alike(LuceRule(3))


def evaluated(n: int, seed: int, t: int | None = 0, spread: float = 1.0) -> Evaluated:
    """Rewards of a normal law; the label tells whether they are above 0."""
    rewards = spread * np.random.default_rng(seed).standard_normal(n)
    return Evaluated(t, rewards[None], (rewards > 0).astype(np.int32))


def test_the_prediction_is_what_picking_gives():
    found = evaluated(20_000, 1)
    said = prediction.picked(found, prediction.replicate_masses(20_000, 50), ALIKE, 2)
    rng = np.random.default_rng(2)
    rewards = rng.standard_normal((200_000, 3))
    chosen = rewards[np.arange(200_000), luce.pick(rewards, rng)]
    for values, got in (
        (said.mean_reward, chosen.mean()),
        (said.mean_w, np.exp(chosen).mean()),
        (said.shares[1], (chosen > 0).mean()),
    ):
        error = np.hypot(values[1:].std(), 2e-3 * max(1.0, abs(got)))
        assert abs(values[0] - got) < 4 * error


def test_bootstrap_intervals_cover_as_often_as_they_say():
    truth = prediction.picked(evaluated(200_000, 99), prediction.replicate_masses(200_000, 0), ALIKE, 2).mean_w[0]
    inside = []
    for seed in range(120):
        values = prediction.picked(evaluated(400, seed), prediction.replicate_masses(400, 60), ALIKE, 2).mean_w
        inside.append(abs(values[0] - truth) < 1.96 * values[1:].std(ddof=1))
    assert 0.86 <= np.mean(inside) <= 0.99


def test_measured_moments_are_plain_means():
    found = evaluated(500, 3)
    moments = prediction.measured(found, prediction.replicate_masses(500, 300), 2)
    r = found.rewards[0]
    assert moments.mean_reward[0] == pytest.approx(r.mean())
    assert moments.mean_w[0] == pytest.approx(np.exp(r).mean()) and moments.var_w[0] == pytest.approx(np.exp(r).var())
    assert moments.shares[:, 0].sum() == pytest.approx(1)
    assert moments.mean_reward[1:].std(ddof=1) == pytest.approx(r.std() / np.sqrt(500), rel=0.15)


def test_many_steps_from_a_sample_are_the_exact_loop_on_its_support():
    first, real = evaluated(300, 4), evaluated(200, 5, t=None)
    said = prediction.from_start(first, real, DataPolicy("mix", 2.0), ALIKE, 200, [400] * 3, 2, replicates=2).moments
    support = np.concatenate([first.rewards[0], real.rewards[0]])
    p0, ref = np.repeat([1 / 300, 0], [300, 200]), np.repeat([0, 1 / 200], [300, 200])
    exact = mixed_loop(support, p0, ref, 2.0, LuceRule(3), 3) @ np.exp(support)
    assert [moments.mean_w[0] for moments in said] == pytest.approx(exact.tolist(), rel=1e-12)


def test_one_step_blends_real_data_and_sets_by_their_shares():
    found, real = evaluated(300, 6), evaluated(100, 7, t=None)
    masses = prediction.replicate_masses(300, 3)
    picked = prediction.picked(found, masses, ALIKE, 2)
    ref = prediction.measured(real, np.full((100, 4), 0.01), 2)
    blended = prediction.blend(ref, [picked, picked], (0.5, (0.2, 0.3)))
    assert blended.mean_w == pytest.approx(0.5 * ref.mean_w + 0.5 * picked.mean_w)
    with pytest.raises(ValueError, match="weren't stored"):
        prediction.blend(None, [picked], (0.5, (0.5,)))


def test_users_of_other_rewards_pick_by_theirs_and_are_measured_by_the_studys():
    rng = np.random.default_rng(8)
    true = rng.standard_normal(2_000)
    found = Evaluated(0, np.stack([true, true, -true]), (true > 0).astype(np.int32))
    masses = prediction.replicate_masses(2_000, 2)
    rules = (LuceRule(2), LuceRule(2))
    for share, sign in ((1.0, 1), (0.5, 0), (0.0, -1)):
        said = prediction.picked(found, masses, Curators(rules, (share, 1 - share)), 2).mean_reward[0] - true.mean()
        assert abs(said) < 1e-2 if sign == 0 else np.sign(said) == sign


@pytest.mark.parametrize("policy", [DataPolicy("replace"), DataPolicy("mix", 1.0)], ids=str)
def test_the_noise_of_all_rounds_picks_is_that_of_loops_with_finitely_many(policy: DataPolicy):
    first, real = evaluated(400, 9), evaluated(300, 10, t=None)
    said = prediction.from_start(first, real, policy, ALIKE, 300, [200] * 4, 2, replicates=150).pick_noise
    rng, support = np.random.default_rng(11), np.concatenate([first.rewards[0], real.rewards[0]])
    p0, ref = np.repeat([1 / 400, 0], [400, 300]), np.repeat([0, 1 / 300], [400, 300])
    ends = []
    for _ in range(150):
        law, path = p0, []
        for _ in range(4):
            pick = rng.multinomial(200, ALIKE.pick(support, law)) / 200
            law = pick if policy.is_pure else (ref + pick) / 2
            path.append(law @ np.exp(support))
        ends.append(path)
    assert said[0] < 1e-12 and said[1:] == pytest.approx(np.std(ends, axis=0), rel=0.25)


def test_few_samples_of_high_reward_are_few_effective_ones():
    law = np.full(1_000, 1e-3)
    assert prediction.effective_size(law, np.ones(1_000)) == pytest.approx(1_000)
    assert prediction.effective_size(law, np.r_[np.full(10, 1.0), np.full(990, 1e-9)]) == pytest.approx(10)


def test_intervals_of_skewed_rewards_miss_on_neither_side_more_than_they_may():
    policy, users = DataPolicy("replace"), Curators.alike(LuceRule("inf"))
    truth = math.exp(1.5 * 0.6**2)  # r is N(0, s^2), of those picked N(s^2, s^2)
    below, above = 0, 0
    for seed in range(300):
        said = prediction.from_start(evaluated(600, seed, spread=0.6), None, policy, users, 1, [500], 2, 2)
        one = prediction.skewed(said.moments[1].mean_w[0], said.influence[1])
        assert one.low < one.value < one.high
        below, above = below + (one.high < truth), above + (one.low > truth)
    assert below <= 17 and above <= 17 and below + above <= 27  # 7.5 are to be expected on each side


def test_without_skewness_the_interval_is_students():
    even = np.r_[np.full(50, 1.0), np.full(50, -1.0)]
    one = prediction.skewed(2.0, even)
    assert one.se == pytest.approx(1 / np.sqrt(99))
    assert (one.high - 2.0, 2.0 - one.low) == pytest.approx((1.984 * one.se,) * 2, rel=1e-3)
    right = prediction.skewed(2.0, np.r_[np.full(90, -1.0), np.full(10, 9.0)])
    assert right.high - 2.0 > 2.0 - right.low > 0
    assert prediction.skewed(2.0, np.zeros(1)).low == prediction.skewed(2.0, np.zeros(20)).high == 2.0
