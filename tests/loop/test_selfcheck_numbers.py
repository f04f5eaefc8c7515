"""The numbers behind the self-check: honest data give uniform p-values, faulty data tiny ones."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import kstest

from loop import selfcheck
from loop.selfcheck.picks import estimate, frequencies, positions, scale, score_test, weighed_draws
from loop.selfcheck.rule import AnsweredSlates, DeclaredRule, TieRule, count_by_bin
from loop.selfcheck.slates import against_evaluation, exchangeable, normal_scores, shares, variance_ratio
from loop.selfcheck.verdicts import Finding, judge
from model import luce

THIRTY = {"a": 0.3, "b": 0.7}
PLAIN = DeclaredRule()
BIASED = DeclaredRule(lapse=0.2, bias=(1.0, 0.0, -0.5, 0.0))


def users(
    n: int, rng: np.random.Generator, rule: DeclaredRule = PLAIN, factor: float = 1.0, spread: float = 1.5
) -> AnsweredSlates:
    """n slates of four with picks by a rule in which `factor` multiplies the rewards."""
    rewards = spread * rng.normal(size=(n, 4))
    picked = luce.pick(factor * rewards + np.asarray(rule.bias or 0.0), rng)
    lapsed = rng.random(n) < rule.lapse
    picked[lapsed] = rng.integers(4, size=int(lapsed.sum()))
    return AnsweredSlates(rewards, picked)


def test_the_declared_rule_is_the_users_rule_written_apart():
    """The checks import no code of `model.luce`, and come to its probabilities all the same."""
    for path in Path(selfcheck.__file__).parent.glob("*.py"):
        assert "model.luce" not in path.read_text().replace("`model.luce.LuceRule`", ""), path
    rewards = np.random.default_rng(0).normal(size=(50, 4))
    for rule in (PLAIN, BIASED):
        users_rule = luce.LuceRule(4, rule.lapse, rule.bias)
        np.testing.assert_allclose(rule.probabilities(rewards), users_rule.probabilities(rewards), rtol=1e-12)


def p_of(finding: Finding) -> float:
    assert finding.p is not None, finding
    return finding.p


def score_p(blocks: list[AnsweredSlates], rule: DeclaredRule) -> float:
    found = score_test(blocks, rule)
    assert found is not None
    return found[1]


HONEST: dict[str, Callable[[np.random.Generator], float]] = {
    "pick frequencies": lambda rng: p_of(frequencies([users(400, rng)], DeclaredRule(), 0)),
    "pick frequencies, lapses and bias": lambda rng: p_of(frequencies([users(400, rng, BIASED)], BIASED, 0)),
    "pick frequencies, two blocks": lambda rng: p_of(frequencies([users(200, rng), users(150, rng)], PLAIN, None)),
    "positions": lambda rng: p_of(positions([users(400, rng)], DeclaredRule(), 0)),
    "positions, lapses and bias": lambda rng: p_of(positions([users(400, rng, BIASED)], BIASED, 0)),
    "scale": lambda rng: score_p([users(400, rng)], DeclaredRule()),
    "scale, few picks far apart": lambda rng: score_p([users(60, rng, spread=6)], DeclaredRule()),
    "scale, lapses and bias": lambda rng: score_p([users(400, rng, BIASED)], BIASED),
    "slates alike": lambda rng: variance_ratio(normal_scores(rng.exponential(size=(200, 4))))[1],
    "slates alike, ties": lambda rng: variance_ratio(normal_scores(rng.integers(3, size=(200, 4)) * 1.0))[1],
    "order in slates": lambda rng: variance_ratio(normal_scores(rng.exponential(size=(200, 4))).T)[1],
    "fresh draws": lambda rng: p_of(against_evaluation(rng.normal(size=997), rng.normal(size=1103), 0)),
    "rater types": lambda rng: p_of(shares({"a": (n := int(rng.binomial(5_000, 0.3))), "b": 5_000 - n}, THIRTY)),
    "weighed draws": lambda rng: _weighed(rng, factor=1.0),
    "weighed draws, lapses": lambda rng: _weighed(rng, factor=1.0, lapse=0.3),
    "fresh draws, slates of ten conditions": lambda rng: _fresh(rng, 0.0),
    "weighed draws, ten conditions": lambda rng: _weighed_within(rng, factor=1.0),
}  # fmt: skip


def _weighed(rng: np.random.Generator, factor: float, lapse: float = 0.0) -> float:
    pool = -np.abs(rng.normal(size=4_000))
    winners = luce.pick_from_all(factor * pool, 500, rng)
    lapsed = rng.random(500) < lapse
    winners[lapsed] = rng.integers(4_000, size=int(lapsed.sum()))
    return p_of(weighed_draws(pool[winners], -np.abs(rng.normal(size=1_000)), lapse, 8, 0))


def _fresh(rng: np.random.Generator, better: float) -> float:
    """Slates of four whose samples are of one condition out of ten, all far apart."""
    of, fresh_of = rng.integers(10, size=300), np.arange(2_000) % 10
    shown = rng.normal(size=(300, 4)) + better + 0.8 * of[:, None]
    fresh = rng.normal(size=2_000) + 0.8 * fresh_of
    return p_of(against_evaluation(shown.ravel(), fresh, 0, (np.repeat(of, 4), fresh_of)))


def _weighed_within(rng: np.random.Generator, factor: float) -> float:
    of, fresh_of, picked = rng.integers(10, size=600), np.arange(2_000) % 10, np.zeros(600)
    for name in range(10):
        own = np.flatnonzero(of == name)
        pool = name - np.abs(rng.normal(size=8 * len(own)))
        picked[own] = pool[luce.pick_from_all(factor * pool, len(own), rng)]
    return p_of(weighed_draws(picked, fresh_of - np.abs(rng.normal(size=2_000)), 0.0, 8, 0, (of, fresh_of)))


@pytest.mark.parametrize("draw", HONEST.values(), ids=HONEST)
def test_p_values_of_honest_data_are_uniform(draw: Callable[[np.random.Generator], float]):
    values = [draw(np.random.default_rng([17, i])) for i in range(300)]
    assert kstest(values, "uniform").pvalue > 1e-3
    assert min(values) > 1e-5


FAULTY: dict[str, Callable[[np.random.Generator], float]] = {
    "temperature 0.8": lambda rng: score_p([users(4_000, rng, factor=1.25)], DeclaredRule()),
    "temperature 0.8, by frequency": lambda rng: p_of(frequencies([users(4_000, rng, factor=1.25)], DeclaredRule(), 0)),
    "lapses nobody declared": lambda rng: score_p([users(4_000, rng, DeclaredRule(0.1))], DeclaredRule()),
    "lapses that don't happen": lambda rng: score_p([users(4_000, rng)], DeclaredRule(0.1)),
    "a bias nobody declared": lambda rng: p_of(
        positions([users(4_000, rng, DeclaredRule(0, (0.5, 0, 0, 0)))], DeclaredRule(), 0)
    ),
    "weights against the reward": lambda rng: _weighed(rng, factor=-1.0),
    "weights of ten times the reward": lambda rng: _weighed(rng, factor=10.0),
    "weights of ten times the reward, ten conditions": lambda rng: _weighed_within(rng, factor=10.0),
    "another generator's samples, ten conditions": lambda rng: _fresh(rng, 0.5),
    "another generator's samples": lambda rng: p_of(
        against_evaluation(rng.normal(size=5_000) + 0.4, rng.normal(size=2_000), 0)
    ),
    "slates that share a lot": lambda rng: variance_ratio(
        normal_scores(rng.normal(size=(1_000, 4)) + 0.7 * rng.normal(size=(1_000, 1)))
    )[1],
    "slates of one good and three bad": lambda rng: variance_ratio(
        normal_scores(rng.normal(size=(1_000, 4)) + np.array([3.0, 0, 0, 0]))
    )[1],
    "a type that is missing": lambda rng: p_of(shares({"a": 100}, {"a": 0.5, "b": 0.5})),
}


@pytest.mark.parametrize("draw", FAULTY.values(), ids=FAULTY)
def test_p_values_of_faulty_data_are_tiny(draw: Callable[[np.random.Generator], float]):
    assert max(draw(np.random.default_rng([18, i])) for i in range(5)) < 1e-6


def share_found(faulty: Callable[[np.random.Generator, float], Finding], size: float, threshold: float) -> float:
    return float(np.mean([p_of(faulty(np.random.default_rng([19, i]), size)) < threshold for i in range(50)]))


def scaled(block: AnsweredSlates) -> Finding:
    """As `scale` finds, without the estimate."""
    return replace(SCALE, p=score_p([block], PLAIN))


def favoured(rng: np.random.Generator, size: float) -> Finding:
    return positions([users(3_000, rng, DeclaredRule(0, (size, 0, 0, 0)))], PLAIN, 0)


def types(rng: np.random.Generator, size: float) -> Finding:
    n = int(rng.binomial(5_000, 0.3 + size))
    return shares({"a": n, "b": 5_000 - n}, THIRTY)


def alike(rng: np.random.Generator, size: float) -> Finding:
    common = np.sqrt(size) * rng.normal(size=(400, 1))
    return exchangeable({4: common + np.sqrt(1 - size) * rng.normal(size=(400, 4))}, 0)[0]


def shifted(rng: np.random.Generator, size: float) -> Finding:
    return exchangeable({4: rng.normal(size=(400, 4)) + np.array([size, 0, 0, 0])}, 0)[1]


def weighed(rng: np.random.Generator, size: float) -> Finding:
    pool = -np.abs(rng.normal(size=8_000))
    picked = pool[luce.pick_from_all((1 + size) * pool, 1_000, rng)]
    return weighed_draws(picked, -np.abs(rng.normal(size=20_000)), 0.0, 8, 0)


SCALE = scale([users(3_000, np.random.default_rng(0))], PLAIN, 0)
POWERS: dict[str, tuple[Callable[[np.random.Generator, float], Finding], str]] = {
    "scale": (lambda rng, size: scaled(users(3_000, rng, factor=1 + size)), "scale"),
    "scale, by lapses": (lambda rng, size: scaled(users(3_000, rng, DeclaredRule(size))), "lapse"),
    "frequencies": (lambda rng, size: frequencies([users(3_000, rng, factor=1 + size)], PLAIN, 0), "scale"),
    "frequencies, by lapses": (
        lambda rng, size: frequencies([users(3_000, rng, DeclaredRule(size))], PLAIN, 0),
        "lapse",
    ),
    "positions": (favoured, "position_bias"),
    "types": (types, "share"),
    "slates alike": (alike, "correlation"),
    "order in slates": (shifted, "shift"),
    "weighed draws": (weighed, "scale"),
}


@pytest.mark.parametrize(("faulty", "name"), POWERS.values(), ids=POWERS)
def test_a_fault_of_the_stated_size_is_found_in_about_80_percent(
    faulty: Callable[[np.random.Generator, float], Finding], name: str
):
    threshold = 2e-5
    honest = faulty(np.random.default_rng(0), 0.0)
    size = next(fault.size(threshold) for fault in honest.detectable if fault.name == name)
    assert 0.6 <= share_found(faulty, size, threshold) <= 0.95
    assert share_found(faulty, size / 3, threshold) < 0.2


def test_what_15_000_picks_could_have_shown_is_in_the_sentence_and_the_figures():
    """A lapse, a scale and a position bias of .05 go unseen in 15,000 picks when 40 tests share a chance in 1,000."""
    block = users(15_000, np.random.default_rng(6))
    others = [Finding("x", None, 1, "a", "b", p=0.5)] * 37
    found = [check([block], PLAIN, None) for check in (scale, frequencies, positions)]
    checks = judge([*found, *others])
    figures = {name: value for check in checks[:3] for name, value in check.figures.items() if "detectable" in name}
    assert all(0.03 < value < 0.2 for value in figures.values()) and len(figures) == 3
    sentence = checks[0].sentence
    assert all(check.figures["threshold"] == pytest.approx(1e-3 / 40) for check in checks)
    assert "passes because p isn't under 2.5e-05 (0.001 over 40 tests)" in sentence
    assert f"a factor on the rewards off by {checks[0].figures['detectable_scale']:.2g}" in sentence
    assert f"a lapse of {checks[0].figures['detectable_lapse']:.2g} more" in sentence
    assert f"a position bias of {checks[2].figures['detectable_position_bias']:.2g}" in checks[2].sentence


def test_a_pass_with_an_interval_without_1_says_what_was_decided():
    for seed in range(100):
        check = judge([scale([users(300, np.random.default_rng(seed))], PLAIN, None)])[0]
        leaves_out = check.figures["low"] > 1 or check.figures["high"] < 1
        assert ("The 95% interval leaves out 1" in check.sentence) == leaves_out
        if leaves_out:
            assert check.verdict == "pass" and check.p is not None and check.p > check.figures["threshold"]
            return
    raise AssertionError("no interval without 1 in 100 studies")


def test_the_covariance_of_the_counts_is_what_repeating_the_picks_gives():
    rng = np.random.default_rng(1)
    rewards = rng.normal(size=(50, 4))
    p, bins = luce.probabilities(rewards), rng.integers(3, size=(50, 4))
    counts = []
    for _ in range(4_000):
        found = count_by_bin([(AnsweredSlates(rewards, luce.pick(rewards, rng)), p)], lambda _: bins, 3)
        counts.append(found.observed)
    np.testing.assert_allclose(np.mean(counts, axis=0), found.expected, atol=0.3)
    np.testing.assert_allclose(np.cov(np.array(counts).T), found.covariance, atol=0.8)
    assert found.items.sum() == 200 and found.covariance.sum() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 10.0, -1.0])
def test_the_scale_is_the_maximum_of_the_likelihood_and_its_interval_covers(factor: float):
    rng = np.random.default_rng(2)
    block = users(2_000, rng, factor=factor)
    found = estimate([block], DeclaredRule())

    def loss(beta: float) -> float:
        return -np.log(luce.probabilities(beta * block.rewards)[np.arange(2_000), block.picked]).sum()

    by_scipy = minimize_scalar(loss, bounds=(factor - 2, factor + 2), method="bounded")
    assert found.beta == pytest.approx(by_scipy.x, abs=1e-3)
    assert found.low < found.beta < found.high and abs(found.beta - factor) < 2 * (found.high - found.low)
    assert loss(found.low) - by_scipy.fun == pytest.approx(1.92, abs=0.02)


def test_picks_of_the_best_alone_are_an_infinite_scale_and_their_chance_is_exact():
    rewards = np.random.default_rng(3).normal(size=(30, 4))
    block = AnsweredSlates(rewards, rewards.argmax(axis=1))
    found = estimate([block], DeclaredRule())
    assert found.beta == np.inf == found.high and found.low > 1
    assert score_p([block], DeclaredRule()) == pytest.approx(
        2 * np.prod(luce.probabilities(rewards).max(axis=1)), rel=1e-2
    )


def test_ten_picks_and_equal_rewards_get_no_verdict():
    few, rng = users(10, np.random.default_rng(4)), np.random.default_rng(5)
    assert frequencies([few], DeclaredRule(), 0).p is None and positions([few], DeclaredRule(), 0).p is None
    equal = AnsweredSlates(np.ones((500, 4)), rng.integers(4, size=500))
    assert score_test([equal], DeclaredRule()) is None and frequencies([equal], DeclaredRule(), 0).p is None
    assert positions([equal], DeclaredRule(), 0).p is not None


def test_one_odd_pick_makes_no_verdict():
    """A pick of probability 1e-4 among 200 sure ones happens in 2 of 100 studies; a plain chi-square calls it 1e-23."""
    rewards = np.tile([10.0, 0.8], (200, 1))
    picked = np.zeros(200, dtype=int)
    picked[0] = 1
    for check in (frequencies, positions):
        assert check([AnsweredSlates(rewards, picked)], DeclaredRule(), 0).p is None
    assert 1e-3 < score_p([AnsweredSlates(rewards, picked)], DeclaredRule()) < 0.2


def test_the_verdict_allows_for_the_number_of_checks():
    def verdicts(p: float, others: int) -> str:
        extra = [Finding("x", None, 1, "a", "b", p=0.5)] * others
        return judge([Finding("x", 3, 1, "Apples", "rotten", "Eat none.", p=p), *extra])[0].verdict

    assert [verdicts(p, 0) for p in (1e-2, 5e-4, 5e-7)] == ["pass", "suspicious", "fail"]
    assert [verdicts(p, 99) for p in (5e-4, 5e-7, 5e-9)] == ["pass", "suspicious", "fail"]
    broken = judge([Finding("x", 3, 1, "Apples", "rotten", "Eat none.", broken=True)])[0]
    assert (broken.verdict, broken.sentence) == ("fail", "Generation 3: Apples: rotten. Eat none.")
    assert judge([Finding("x", 3, 1, "Apples", "fine", "Eat none.", broken=False)])[0].sentence.endswith("fine.")


@pytest.mark.parametrize("rule", [TieRule(theta=1.6), TieRule(0.2, (0.5, 0.0), 3.0)])
def test_the_rule_of_ties_is_the_users_rule_written_apart(rule: TieRule):
    rewards = np.random.default_rng(0).normal(size=(50, 2))
    users_rule = luce.RaoKupperRule(rule.theta, rule.lapse, rule.bias)
    assert np.allclose(rule.probabilities(rewards), users_rule.probabilities(rewards))


def pairs(n: int, rng: np.random.Generator, theta: float) -> AnsweredSlates:
    rewards = rng.normal(size=(n, 2))
    choice, tied = luce.RaoKupperRule(theta).draw(rewards, rng)
    return AnsweredSlates(rewards, np.where(tied, 2, choice.picked))


@pytest.mark.parametrize("check", [frequencies, positions])
def test_honest_ties_give_uniform_p_values_and_another_theta_tiny_ones(check: Callable):
    rng = np.random.default_rng(8)
    p = [check([pairs(2_000, rng, 1.6)], TieRule(theta=1.6), None).p for _ in range(150)]
    assert kstest(p, "uniform").pvalue > 1e-3
    wrong = check([pairs(4_000, rng, 2.0)], TieRule(theta=1.6), None)
    assert wrong.p < 1e-6
    if check is positions:
        assert wrong.meaning.startswith("Ties are favoured")
        assert "tie_theta" in wrong.meaning
