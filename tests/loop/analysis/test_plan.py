"""Plans against simulated audits: slates as the pool makes them, raters who differ, and the report's own interval."""

import numpy as np
import pytest

from loop.analysis.plan import (
    Setting,
    first_verdicts,
    power,
    raters_needed,
    smallest_effect,
    watched_power,
    watched_raters,
    worth_of_pick,
)
from loop.evidence.intervals import log_wealth
from loop.evidence.people import clustered_share


def audit(raters: int, picks: int, effect: float, setting: Setting, rng: np.random.Generator) -> bool:
    """Whether one simulated audit shows that the latest generation wins or loses against generation 0."""
    a = (1 - setting.icc) / setting.icc
    taste = np.clip(rng.beta(effect * a, (1 - effect) * a, raters), 1e-9, 1 - 1e-9)
    n, t = raters * picks, setting.generations
    who, slate = np.repeat(np.arange(raters), picks), np.arange(n)
    made_by = np.stack(
        [np.full(n, t) if j % 2 == 0 else (slate + j // 2) % min(t, 2) for j in range(setting.k)], axis=1
    )
    utility = np.where(made_by == t, np.log(taste / (1 - taste))[who][:, None], 0.0)
    picked = made_by[slate, (utility + rng.gumbel(size=utility.shape)).argmax(axis=1)]
    won = np.where(picked == t, (made_by == 0).sum(axis=1), 0)
    lost = np.where(picked == 0, (made_by == t).sum(axis=1), 0)
    won, all_ = np.bincount(who, won, raters), np.bincount(who, won + lost, raters)
    found = clustered_share(won[all_ > 0], all_[all_ > 0])
    return found.low > 0.5 or found.high < 0.5


@pytest.mark.parametrize(
    ("raters", "picks", "effect", "setting"),
    [
        (30, 20, 0.6, Setting()),
        (30, 20, 0.6, Setting(k=4)),
        (20, 40, 0.38, Setting(k=2)),
        (24, 40, 0.58, Setting(icc=0.05, generations=5)),
        (15, 30, 0.6, Setting(icc=0.02, k=6, generations=3)),
        (10, 20, 0.7, Setting(generations=2)),
    ],
)
def test_the_power_is_that_of_simulated_audits(raters: int, picks: int, effect: float, setting: Setting):
    rng = np.random.default_rng(raters)
    shown = np.mean([audit(raters, picks, effect, setting, rng) for _ in range(1_000)])
    assert abs(shown - power(raters, picks, effect, setting).power) < 0.06  # 4 standard errors


def test_the_raters_that_a_plan_asks_for_are_enough_and_two_thirds_are_not():
    setting, rng = Setting(icc=0.1, generations=5), np.random.default_rng(3)
    plan = raters_needed(0.8, 40, 0.62, setting)
    enough = np.mean([audit(plan.raters, 40, 0.62, setting, rng) for _ in range(600)])
    fewer = np.mean([audit(plan.raters * 2 // 3, 40, 0.62, setting, rng) for _ in range(600)])
    assert 0.74 < enough < 0.88 and fewer < 0.72


def test_a_slate_of_two_is_one_comparison_and_ties_among_pairs_are_not_counted_twice():
    assert worth_of_pick(0.6, Setting(k=2)) == pytest.approx(1)
    assert worth_of_pick(0.5, Setting(k=4)) == pytest.approx(1)  # both pairs of a pick go together
    assert worth_of_pick(0.5, Setting(k=2, generations=5)) == pytest.approx(0.5)  # every other one shows t - 1


def test_the_textbook_case_without_clusters():
    """194 independent comparisons show 0.6 against 0.5 with power 0.8 (normal approximation of the sign test)."""
    plan = raters_needed(0.8, 1, 0.6, Setting(icc=0.0, k=2))
    assert 190 <= plan.raters <= 200


def test_a_watched_study_needs_more_raters_and_gets_its_power():
    setting, rng = Setting(), np.random.default_rng(5)
    needed = watched_raters(0.8, 40, 0.6, setting)
    assert needed is not None and needed > raters_needed(0.8, 40, 0.6, setting).raters
    assert watched_power(needed, 40, 0.6, setting) == pytest.approx(0.8, abs=0.01)
    assert np.isfinite(first_verdicts(40, 0.502, setting, 0.8, most=50)).mean() < 0.05
    decided = 0
    for _ in range(400):
        shares = rng.binomial(40, rng.beta(0.6 * 9, 0.4 * 9, needed)) / 40
        decided += log_wealth(shares, 0.5).max() >= np.log(20)
    assert 0.72 < decided / 400 < 0.88


def test_more_of_anything_gives_more_power():
    few = power(20, 20, 0.6, Setting()).power
    assert power(40, 20, 0.6, Setting()).power > few
    assert power(20, 40, 0.6, Setting()).power > few
    assert power(20, 20, 0.65, Setting()).power > few
    assert power(20, 20, 0.6, Setting(icc=0.05)).power > few > power(20, 20, 0.6, Setting(generations=3)).power


def test_the_fewest_raters_are_the_fewest():
    plan = raters_needed(0.8, 40, 0.6, Setting())
    assert plan.power >= 0.8 > power(plan.raters - 1, 40, 0.6, Setting()).power


def test_the_smallest_effect_has_the_wanted_power():
    least = smallest_effect(0.8, 30, 40, Setting())
    assert least is not None and power(30, 40, least, Setting()).power == pytest.approx(0.8, abs=1e-3)
    assert smallest_effect(0.8, 2, 1, Setting(icc=0.9)) is None


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: power(10, 10, 0.5, Setting()), "0.5"),
        (lambda: power(10, 10, 1.2, Setting()), "win rate"),
        (lambda: power(1, 10, 0.6, Setting()), "2 raters"),
        (lambda: power(10, 0, 0.6, Setting()), "a pick or more"),
        (lambda: Setting(icc=1.0), "icc"),
        (lambda: Setting(k=1), "k of 2"),
        (lambda: raters_needed(1.0, 10, 0.6, Setting()), "power"),
        (lambda: raters_needed(0.8, 1, 0.5011, Setting(icc=0.9)), "too small"),
    ],
)
def test_bad_numbers_are_one_sentence(call, match: str):
    with pytest.raises(ValueError, match=match):
        call()
