"""The exact loops, and the theory's promises on random finite cases; an operator that is a little off breaks them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loop.policy import DataPolicy
from loop.theory import bounds, population
from loop.theory.population import Curators, kl, mean, mixed_loop, policy_loop, pure_loop, total_variation, variance
from model.luce import K, LuceRule
from tests.loop.theory import claims

AIRPLANE = np.array([5.0, 0.0]), np.array([0.1, 0.9])  # gamma = 5, two-valued q_0


@pytest.mark.parametrize("k", [2, 4, 20, "inf"])
def test_masses_stay_one_over_200_steps(k: K):
    rng = np.random.default_rng(3)
    rewards, p0 = 2 * rng.standard_normal(40), rng.dirichlet(np.ones(40))
    for laws in (pure_loop(rewards, p0, LuceRule(k), 200), mixed_loop(rewards, p0, p0, 5.0, LuceRule(k), 200)):
        assert laws.sum(axis=1) == pytest.approx(1, abs=1e-9)
        assert (laws >= 0).all()


def test_the_ideal_share_of_airplanes():
    pure = pure_loop(*AIRPLANE, LuceRule(2), 6)[:, 0]
    assert pure[:-1].round(2).tolist() == [0.10, 0.19, 0.34, 0.56, 0.80, 0.96] and round(pure[-1], 3) == 0.998
    plateau = [mixed_loop(*AIRPLANE, AIRPLANE[1], 0.5, LuceRule(k), 300)[-1, 0] for k in (2, 4, 20)]
    assert [round(share, 3) for share in plateau] == [0.169, 0.329, 0.396]


cases = given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 8),
    k=st.sampled_from([2, 3, 4, 10, "inf"]),
    lam=st.floats(0.02, 6.0),
    scale=st.floats(0.05, 6.0),
)


def promises(seed: int, n: int, k: K, lam: float, scale: float, steps: int = 4) -> dict[str, bool]:
    """Whether each claim holds along one random pure loop and one random mixed loop, up to rounding."""
    rng = np.random.default_rng(seed)
    rewards, p0 = scale * rng.standard_normal(n), rng.dirichlet(np.ones(n))
    rewards -= rewards.max()
    w, rule = np.exp(rewards), LuceRule(k)
    pure, mixed = pure_loop(rewards, p0, rule, steps), mixed_loop(rewards, p0, p0, lam, rule, steps)
    from_far = mixed_loop(rewards, np.roll(p0, 1), p0, lam, rule, steps)
    e, v, m, mv = mean(w, pure), variance(w, pure), mean(w, mixed), variance(w, mixed)
    far, far_v = mean(w, from_far), variance(w, from_far)
    start = (m[0], mv[0], far[0], far_v[0], 1.0, k, lam)
    steps_up = range(steps)
    near = 1e-9
    found = {
        "C1": all(e[t + 1] >= bounds.c1_floor(e[t], v[t], 1.0, k) - near for t in steps_up),
        "C3": bool((np.diff(mean(rewards, pure)) >= -near).all()),
        "C4 paper": bool((m[1:] >= bounds.c4_floor_paper(m[0], mv[0], 1.0, k, lam) - near).all()),
        "C4 all": bool((m[1:] >= claims.c4_floor_all(m[0], mv[0], 1.0, k, lam) - near).all()),
        "C4 from any p_0": all(far[t] >= bounds.c4_floor_from(*start, t) - near for t in range(1, steps + 1)),
        "C4 step": all(m[t + 1] >= bounds.c4_floor_step(m[0], m[t], mv[t], 1.0, k, lam) - near for t in steps_up),
        "C5 reverse": all(kl(p0, law) <= bounds.c5_reverse_ceiling(lam) + near for law in from_far[1:]),
        "C5": not bounds.c5_applies(k, lam) or all(kl(law, p0) <= bounds.c5_ceiling(k, lam) + near for law in mixed),
        "C5 sharper": not bounds.c5_applies(k, lam)
        or all(kl(law, p0) <= bounds.c5_ceiling_sharp(k, lam) + near for law in mixed),
        "contraction": k == "inf"
        or all(
            total_variation(mixed[t + 1], from_far[t + 1])
            <= claims.c5_contraction(k, lam) * total_variation(mixed[t], from_far[t]) + near
            for t in steps_up
        ),
    }
    return found


@settings(max_examples=2_000, deadline=None)
@cases
def test_the_claims_hold_on_random_cases(**case):
    found = promises(**case)
    assert all(found.values()), found


@pytest.mark.parametrize(
    "broken",
    [
        lambda chosen, r: chosen**0.5,  # half the reward
        lambda chosen, r: 1 / chosen,  # the opposite
        lambda chosen, r: chosen**30,  # a cut rather than a choice
    ],
    ids=["halved", "reversed", "cut"],
)
def test_an_operator_that_is_off_breaks_the_claims(broken, monkeypatch: pytest.MonkeyPatch):
    right = population.h_without_lapses
    monkeypatch.setattr(population, "h_without_lapses", lambda r, p, rule: broken(right(r, p, rule), r))
    rng, failed = np.random.default_rng(0), set()
    for seed in range(300):
        lam = float(rng.uniform(0.02, 6))
        found = promises(seed, int(rng.integers(2, 9)), int(rng.integers(2, 5)), lam, float(rng.uniform(0.05, 6)))
        failed |= {claim for claim, holds in found.items() if not holds}
    assert failed, "a broken operator went unnoticed"


def test_k_infinite_tilts_the_first_law():
    rewards, p0 = AIRPLANE
    laws = pure_loop(rewards, p0, LuceRule("inf"), 3)
    for t in (1, 2, 3):
        assert laws[t] == pytest.approx(claims.c6_tilt(rewards, p0, t), rel=1e-12)


@pytest.mark.parametrize("k", [2, 4, "inf"])
def test_the_tail_shrinks_at_the_rate_of_the_gap(k: K):
    rewards = np.array([0.0, -0.7, -1.5])
    laws = pure_loop(rewards, np.array([0.2, 0.3, 0.5]), LuceRule(k), 60)
    assert laws[-1, 1] / laws[-2, 1] == pytest.approx(claims.c2_tail_ratio(0.7, k), rel=1e-4)
    gaps = [claims.c2_gap(rewards, law) for law in laws]
    assert gaps[0] == pytest.approx(-math.log(0.2)) and gaps[-1] < 1e-6 and (np.diff(gaps) <= 0).all()


def test_c5_asks_for_little_curated_data():
    assert bounds.c5_applies(2, 0.99) and not bounds.c5_applies(2, 1.0) and not bounds.c5_applies("inf", 0.1)
    with pytest.raises(ValueError, match="needs lam"):
        bounds.c5_ceiling(4, 0.5)


def test_without_a_choice_nothing_moves_and_accumulating_slows_the_loop():
    rewards, p0 = AIRPLANE
    still = pure_loop(rewards, p0, LuceRule(1), 5)
    assert still == pytest.approx(np.tile(p0, (6, 1)), abs=1e-12)
    alike = Curators.alike(LuceRule(2))
    accumulate = policy_loop(rewards, p0, p0, DataPolicy("accumulate"), alike, 5, n_real=100, n_set=100)[:, 0]
    assert accumulate[1] == pytest.approx(mixed_loop(rewards, p0, p0, 1.0, LuceRule(2), 1)[1, 0])
    assert (np.diff(accumulate) > 0).all() and accumulate[-1] < pure_loop(rewards, p0, LuceRule(2), 5)[-1, 0]


def test_two_opposed_types_in_equal_shares_keep_the_balance():
    rewards = np.array([[3.0, 0.0], [0.0, 3.0]])
    curators = Curators((LuceRule(2), LuceRule(2)), (0.5, 0.5), ("a", "b"))
    law = np.array([0.5, 0.5])
    assert curators.pick(rewards, law) == pytest.approx(law)
    with pytest.raises(ValueError, match="add up to 1"):
        Curators((LuceRule(2),), (0.5,))


@pytest.mark.parametrize("k", [2, 5, "inf"])
def test_a_types_own_picks_raise_its_mean_w_and_the_others_may_lower_it_but_the_tilt_rises(k):
    rng, fell = np.random.default_rng(3), 0
    for _ in range(100):
        rewards, p, shares = 2 * rng.standard_normal((2, 6)), rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(2))
        users = Curators((LuceRule(k),) * 2, tuple(shares), ("a", "b"))
        w, picked, gains = np.exp(rewards), users.pick(rewards, p), users.gains(rewards, p)
        assert gains.sum(axis=1) == pytest.approx(w @ picked - w @ p, abs=1e-9)
        part = 1 if k == "inf" else (k - 1) / k
        bound = shares * part * ((w**2) @ p - (w @ p) ** 2) / w.max(axis=1)  # C1, of own picks alone
        assert (np.diag(gains) >= bound - 1e-9).all()
        tilt = sum(a * population.h(r, p, LuceRule(k)) for a, r in zip(shares, rewards, strict=True))
        assert tilt @ picked >= tilt @ p - 1e-12
        fell += bool((gains.sum(axis=1) < 0).any())
    assert fell > 10
