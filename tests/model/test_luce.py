"""The choice rule against its closed forms, and the curated law against the exact operator H^K."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import chisquare

from model import luce

N = 100_000
finite = st.floats(-50, 50)
slates = st.tuples(st.integers(1, 4), st.integers(2, 6)).flatmap(lambda shape: arrays(float, shape, elements=finite))


@pytest.mark.parametrize("k", [2, 4, 20])
@pytest.mark.parametrize("spread", [0.0, 1.0, 3.0])
def test_picks_have_luces_frequencies(k: int, spread: float):
    rewards = spread * np.linspace(-0.5, 0.5, k)
    picks = luce.pick(np.tile(rewards, (N, 1)), np.random.default_rng([k, int(spread)]))
    expected = np.exp(rewards) / np.exp(rewards).sum()
    assert chisquare(np.bincount(picks, minlength=k), N * expected).pvalue > 0.001


def test_rows_are_picked_from_by_their_own_rewards():
    rewards = np.array([[30.0, 0, 0], [0, 30.0, 0], [0, 0, 30.0]])
    assert luce.pick(rewards, np.random.default_rng(0)).tolist() == [0, 1, 2]


def test_k_inf_draws_by_weight_over_mean_weight():
    rewards = np.array([-1.0, 0.0, 0.5, 2.0])
    p = np.array([0.4, 0.3, 0.2, 0.1])
    copies = np.repeat(np.arange(4), (1000 * p).astype(int))  # a sample that holds each point in its share
    picks = copies[luce.pick_from_all(rewards[copies], N, np.random.default_rng(1))]
    w = np.exp(rewards)
    assert chisquare(np.bincount(picks, minlength=4), N * p * w / (p @ w)).pvalue > 0.001


def exact_operator(p: np.ndarray, rewards: np.ndarray, k: int) -> np.ndarray:
    """H^K(x) by its definition: the mean over all K - 1 companions of K w(x) / (w(x) + their weights)."""
    w = np.exp(rewards)
    h = np.zeros(len(p))
    for companions in product(range(len(p)), repeat=k - 1):
        index = list(companions)
        h += p[index].prod() * k * w / (w + w[index].sum())
    return h


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("rewards", [[0.0, 1.0, 2.0, -3.0, 0.5], [5.0, 0.0, 0.0, 0.0, 0.0], [0.1, 0.1, 0.1, 0.1, 0.1]])
def test_picks_of_disjoint_slates_follow_p_times_the_operator(k: int, rewards: list[float]):
    p = np.array([0.1, 0.2, 0.3, 0.25, 0.15])
    rng = np.random.default_rng([k, len(set(rewards))])
    drawn = rng.choice(5, size=(N, k), p=p)
    picks = drawn[np.arange(N), luce.pick(np.array(rewards)[drawn], rng)]
    expected = p * exact_operator(p, np.array(rewards), k)
    assert expected.sum() == pytest.approx(1)
    error = np.sqrt(expected * (1 - expected) / N)
    assert (np.abs(np.bincount(picks, minlength=5) / N - expected) < 4 * error).all()


@given(slates, finite)
def test_probabilities_are_the_formula_and_ignore_a_common_shift(rewards: np.ndarray, shift: float):
    probabilities = luce.probabilities(rewards)
    w = np.exp(rewards - rewards.max(axis=1, keepdims=True))
    np.testing.assert_allclose(probabilities, w / w.sum(axis=1, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(luce.probabilities(rewards + shift), probabilities, rtol=1e-9, atol=1e-300)


def test_huge_rewards_do_not_overflow():
    np.testing.assert_allclose(luce.probabilities(np.array([[1000.0, 999.0], [-1000.0, 0.0]]))[:, 0], [0.7310586, 0])
    assert luce.pick(np.array([[1e6, 0.0]]), np.random.default_rng(0)).tolist() == [0]


def test_the_same_generator_state_gives_the_same_picks():
    rewards = np.zeros((50, 3))
    first, again, other = (luce.pick(rewards, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first.tolist() == again.tolist() != other.tolist()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "use",
    [
        luce.probabilities,
        lambda rewards: luce.pick(rewards, np.random.default_rng(0)),
        lambda rewards: luce.pick_from_all(rewards[0], 3, np.random.default_rng(0)),
    ],
    ids=["probabilities", "pick", "pick_from_all"],
)
def test_rewards_that_are_not_finite_are_refused(bad: float, use: Callable[[np.ndarray], np.ndarray]):
    with pytest.raises(ValueError, match="finite"):
        use(np.array([[0.0, bad, 1.0]]))


@pytest.mark.parametrize("shape", [(3,), (3, 0), (2, 3, 4)])
def test_rewards_of_another_shape_are_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match="slates, K"):
        luce.probabilities(np.zeros(shape))


def test_the_rule_draws_with_the_probabilities_that_it_states():
    rule = luce.LuceRule(4, lapse=0.2, position_bias=(0.5, 0.0, 0.0, -0.5))
    rewards = np.array([0.0, 1.0, -1.0, 0.3])
    choice = rule.draw(np.tile(rewards, (N, 1)), np.random.default_rng(3))
    expected = rule.probabilities(rewards[None])[0]
    assert expected.sum() == pytest.approx(1) and choice.lapsed.mean() == pytest.approx(0.2, abs=0.01)
    assert chisquare(np.bincount(choice.picked, minlength=4), N * expected).pvalue > 0.001
    logs = rule.log_probability(np.tile(rewards, (4, 1)), np.arange(4))
    assert logs == pytest.approx(np.log(expected))
    plain = luce.LuceRule(4)
    assert plain.log_probability(np.array([[800.0, 0, 0, 0]]), np.array([1])) == pytest.approx([-800.0])


def test_every_type_of_user_draws_from_all_by_its_own_rewards():
    rewards, users = np.array([[0.0, 50.0, 0.0], [50.0, 0.0, 0.0]]), np.repeat([0, 1], 50)
    choice = luce.LuceRule("inf").draw_from_all(rewards, users, np.random.default_rng(4))
    assert choice.picked.tolist() == [1] * 50 + [0] * 50 and not choice.lapsed.any()
    lapsing = luce.LuceRule("inf", lapse=1.0).draw_from_all(rewards, np.repeat(0, 3_000), np.random.default_rng(5))
    assert lapsing.lapsed.all() and chisquare(np.bincount(lapsing.picked, minlength=3)).pvalue > 0.001


def test_slates_of_any_k_have_the_probabilities_of_the_rule():
    rng = np.random.default_rng(6)
    sizes = np.array([2, 5, 1, 3])
    utilities = 300 * rng.normal(size=int(sizes.sum()))
    parts = np.split(luce.log_probabilities(utilities, sizes), np.cumsum(sizes)[:-1])
    for k, part, own in zip(sizes, parts, np.split(utilities, np.cumsum(sizes)[:-1]), strict=True):
        rule = luce.LuceRule(int(k)).log_probability(np.tile(own, (k, 1)), np.arange(k))
        np.testing.assert_allclose(part, rule, atol=1e-12)
    assert luce.log_probabilities(np.zeros(0), np.zeros(0, np.int64)).shape == (0,)


def test_best_and_worst_have_the_sequential_models_frequencies():
    rewards, bias = np.array([0.4, -0.3, 1.0, 0.0]), (0.5, 0.0, 0.0, -0.2)
    rule, rng = luce.LuceRule(4, lapse=0.2, position_bias=bias), np.random.default_rng(5)
    slates = np.tile(rewards, (N, 1))
    best = rule.draw(slates, rng).picked
    worst = rule.draw_worst(slates, best, rng).picked
    u = rewards + np.array(bias)
    expected = np.zeros((4, 4))
    for i, j in product(range(4), repeat=2):
        if i != j:
            left = [k for k in range(4) if k != i]
            p_best = 0.2 / 4 + 0.8 * np.exp(u[i]) / np.exp(u).sum()
            expected[i, j] = p_best * (0.2 / 3 + 0.8 * np.exp(-u[j]) / np.exp(-u[left]).sum())
    assert np.allclose(rule.worst_probabilities(slates[:4], np.arange(4)), expected / expected.sum(1, keepdims=True))
    counts = np.bincount(4 * best + worst, minlength=16)
    assert (counts[expected.ravel() == 0] == 0).all()
    off = expected.ravel() > 0
    assert chisquare(counts[off], N * expected.ravel()[off]).pvalue > 0.001


def test_of_two_there_is_no_worst_to_pick():
    with pytest.raises(ValueError, match="3 or more, not of 2"):
        luce.LuceRule(2).worst_probabilities(np.zeros((1, 2)), np.array([0]))


@pytest.mark.parametrize(("theta", "lapse"), [(1.0, 0.0), (1.7, 0.0), (3.0, 0.3)])
def test_ties_have_rao_and_kuppers_frequencies(theta: float, lapse: float):
    w = np.exp([0.6, -0.1])
    first, second = w[0] / (w[0] + theta * w[1]), w[1] / (theta * w[0] + w[1])
    attentive = np.array(
        [first, second, (theta**2 - 1) * w[0] * w[1] / ((w[0] + theta * w[1]) * (theta * w[0] + w[1]))]
    )
    assert attentive.sum() == pytest.approx(1)
    expected = lapse * np.array([0.5, 0.5, 0]) + (1 - lapse) * attentive
    rule, rewards = luce.RaoKupperRule(theta, lapse), np.tile(np.log(w), (N, 1))
    assert np.allclose(rule.probabilities(rewards[:1])[0], expected)
    some = np.array([0, 1, 2]) if theta > 1 else np.array([0, 1])
    assert np.allclose(rule.log_probability(rewards[: len(some)], some), np.log(expected[some]))
    choice, tied = rule.draw(rewards, np.random.default_rng(6))
    counts = np.bincount(np.where(tied, 2, choice.picked), minlength=3)
    assert chisquare(counts[some], N * expected[some]).pvalue > 0.001
    assert not (tied & choice.lapsed).any()
