"""Taste groups: planted ones are recovered, raters who differ a little are one group, and intervals hold the truth."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import binom, norm

from benchmarks.simulated_raters import GroupOutcome, GroupStudy, judge_groups, simulate_groups
from data.designs import Factor
from data.records import Evaluated
from loop.analysis.design import sample_columns
from loop.analysis.groups import (
    MOST_SURE,
    Draws,
    Mixture,
    Prior,
    expand,
    flattened,
    grouping,
    log_posterior,
    taste_groups,
)
from loop.analysis.log import Slates

ALIKE = GroupStudy(spread=0.3)
TWO = GroupStudy(shares=(0.6, 0.4), alike=0.0)
NAMES = ("a", "b")


@pytest.fixture(scope="module")
def outcomes() -> list[GroupOutcome]:
    """A few studies with two planted groups."""
    return [judge_groups(TWO, seed) for seed in range(5)]


def pairs(raters: int, picks: int, seed: int, taste: np.ndarray) -> tuple[Slates, np.ndarray]:
    """Slates of 3 on as many columns as the tastes of raters have, (raters, d) or (d,)."""
    rng = np.random.default_rng(seed)
    who, own = np.repeat(np.arange(raters), picks), np.broadcast_to(taste, (raters, np.shape(taste)[-1]))
    x = rng.standard_normal((len(who), 3, own.shape[1]))
    utilities = np.einsum("nkd,nd->nk", x, own[who]) + rng.gumbel(size=(len(who), 3))
    return Slates.of_equal_size(3, utilities.argmax(axis=1), who), x.reshape(-1, own.shape[1])


def test_two_planted_groups_are_recovered_and_intervals_hold_their_tastes_and_gains(outcomes: list[GroupOutcome]):
    assert [outcome.number for outcome in outcomes].count(2) == len(outcomes)
    assert np.mean([outcome.right for outcome in outcomes]) > 0.95
    assert np.mean([outcome.agreement for outcome in outcomes]) > 0.9
    for held in ("coefficients", "gains"):
        rows = [row for outcome in outcomes for row in getattr(outcome, held)]
        assert np.mean(rows) > 0.85, held
    assert sum(outcome.rightly for outcome in outcomes) == sum(outcome.clear for outcome in outcomes) > 0


@pytest.mark.slow
def test_raters_who_differ_a_little_are_one_group():
    outcomes = [judge_groups(ALIKE, seed) for seed in range(8)]
    assert [outcome.number for outcome in outcomes].count(1) >= binom.ppf(0.001, 8, 0.9)


def test_a_group_that_the_loop_leaves_behind_is_said_to_lose():
    groups, truth = simulate_groups(GroupStudy(shares=(0.7, 0.3), alike=-1.0, strength=1.5), 0)
    exact = (truth.means[-1] - truth.means[0]) @ truth.tastes.T
    assert groups.number == 2 and exact[0] > 0 > exact[1]
    gains = [group.generations[-1].gain for group in groups.groups]
    assert gains[0].low > 0 > gains[1].high
    assert " gains " in groups.sentences[0] and groups.sentences[1].startswith("Group 2 (31% of raters, likes ")
    assert " loses " in groups.sentences[1]
    assert groups.groups[1].generations[-1].losing > 0.9 and groups.certainty and groups.certainty > 0.95


def test_opposite_tastes_are_two_groups_not_one_of_varying_strength():
    groups, _ = simulate_groups(GroupStudy(shares=(0.7, 0.3), alike=-1.0, spread=0.3), 0)
    assert groups.number == 2 and groups.strength is not None and groups.strength <= MOST_SURE


def test_the_marginal_likelihood_is_that_of_numerical_integration():
    slates, x = pairs(3, 25, 0, np.array([0.8]))
    z = slates.centred(x)
    mixture = Mixture(np.array([0.3, 0.7]), np.array([[0.2], [1.0]]), np.array([0.4]))
    curves = expand(slates, z, slates.raters, np.full((3, 2, 1), 0.5))
    for _ in range(4):
        curves = expand(slates, z, slates.raters, curves.posterior(mixture).utilities)
    picks = [(own, z[rows]) for own, rows in (slates.subset(slates.raters == rater) for rater in range(3))]
    draws = [Draws.around(picks, curves, seed, mixture).posterior(mixture) for seed in range(50)]
    by_draws = logsumexp([known.log_likelihood for known in draws], axis=0) - np.log(50)
    for rater, (own, columns) in enumerate(picks):

        def density(b: float, own: Slates = own, z: np.ndarray = columns[:, 0]) -> float:
            prior = float(0.3 * norm.pdf(b, 0.2, 0.4) + 0.7 * norm.pdf(b, 1.0, 0.4))
            return float(np.exp(own.log_probabilities(b * z)[own.rows].sum() + 20)) * prior

        exact = np.log(quad(density, -3, 5, limit=200)[0]) - 20
        assert curves.posterior(mixture).log_likelihood[rater] == pytest.approx(exact, abs=0.02)
        assert by_draws[rater] == pytest.approx(exact, abs=0.01)


def test_the_gradient_is_that_of_the_log_posterior():
    slates, x = pairs(6, 10, 1, np.array([0.5, -0.5]))
    curves = expand(slates, slates.centred(x), slates.raters, np.zeros((6, 1, 2)))
    mixture = Mixture(np.array([0.4, 0.6]), np.array([[0.1, 0.5], [-0.4, 0.2]]), np.array([0.3, 0.6]), 0.4)
    picks = [(own, slates.centred(x)[rows]) for own, rows in (slates.subset(slates.raters == i) for i in range(6))]
    steps, prior = 1e-5 * np.eye(9), Prior(np.array([0.2, -0.1]), np.array([2.0, 5.0]))
    for raters in (curves, Draws.around(picks, curves, 0, mixture)):
        theta = flattened(mixture) + 0.1
        ends = [[log_posterior(theta + sign * step, raters, 2, prior)[0] for sign in (1, -1)] for step in steps]
        parts = log_posterior(theta, raters, 2, prior)[1]
        assert parts.shape == (6, 9)
        assert parts.sum(axis=0) == pytest.approx([(up - down) / 2e-5 for up, down in ends], abs=1e-4)


def test_tastes_of_raters_with_few_picks_on_many_columns_are_as_strong_as_they_are():
    taste = np.full(12, 12**-0.5)
    own = taste + 0.3 * np.random.default_rng(0).standard_normal((120, 12))
    slates, x = pairs(120, 30, 0, own)
    known = grouping(slates, x, slates.raters, most=1)
    strength = float(known.mixture.tastes[0] / known.scale @ taste)
    assert strength == pytest.approx(own.mean(axis=0) @ taste, abs=0.06)  # 0.86 by Laplace's method
    assert np.sqrt((known.mixture.spread**2).mean()) / known.scale.mean() == pytest.approx(0.3, abs=0.04)


def test_too_few_raters_simulated_users_and_columns_that_never_differ_have_no_groups():
    slates, x = pairs(4, 20, 2, np.array([1.0, 0.0]))
    assert taste_groups(slates, x, NAMES).reason == "4 raters picked; groups need 10"
    simulated = Slates(slates.sizes, slates.picked, slates.raters, independent=True)
    assert "rewards are known" in taste_groups(simulated, x, NAMES).reason
    slates, x = pairs(12, 5, 2, np.array([1.0, 0.0]))
    none = taste_groups(slates, np.zeros_like(x), NAMES)
    assert none.number is None and none.reason == "no feature differs within slates"


def test_without_later_generations_gains_are_not_claimed():
    slates, x = pairs(12, 15, 3, np.array([1.0, 0.0]))
    groups = taste_groups(slates, x, NAMES, factors=[Factor("a", -1, 1, "fewer petals", "more petals")])
    assert groups.number == 1 and groups.groups[0].words == "likes more petals"
    assert groups.groups[0].generations == [] and "aren't known" in groups.sentences[0]


def test_few_picks_of_a_rater_and_columns_that_follow_from_others_are_no_hindrance():
    slates, x = pairs(12, 2, 4, np.array([1.0]))
    groups = taste_groups(slates, np.hstack([x, -x]), NAMES)
    assert groups.number == 1 and len(groups.members) == 12
    assert np.isfinite([row.se for row in groups.groups[0].coefficients.values()]).all()


def test_columns_of_measured_samples_are_named_as_the_fit_names_them():
    points = np.array([[0.1, 0.2], [0.3, 0.4]], dtype=np.float32)
    samples = Evaluated(1, np.array([[5.0, 6.0]]), np.array([0, 2], dtype=np.int32), points)
    columns = sample_columns(["y", "class cat", "class dog", "reward"], samples, ["x", "y"], ["cat", "cow", "dog"])
    assert columns is not None
    assert columns.tolist() == [[pytest.approx(0.2), 1, 0, 5], [pytest.approx(0.4), 0, 1, 6]]
    assert sample_columns(["probability of cat"], samples, ["x", "y"], []) is None


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.0, 0.3, 0.8])
def test_one_group_is_called_one_in_90_per_cent_of_studies(spread: float):
    n = 100
    ones = sum(judge_groups(GroupStudy(spread=spread), seed).number == 1 for seed in range(n))
    assert ones >= binom.ppf(0.01, n, 0.9)
