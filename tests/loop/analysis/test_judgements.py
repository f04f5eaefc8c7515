"""Worst picks and ties in the conditional logit: closed forms, and parameters of known truth that intervals hold."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from loop.analysis.design import NotIdentifiedError, SeparatedError
from loop.analysis.log import Slates
from loop.analysis.logit import correct_for_lapses, fit, item_table, scores
from model.luce import LuceRule, RaoKupperRule

TRUTH, NAMES = np.array([0.8, -0.5]), ("a", "b")


def best_worst(n: int, seed: int, k: int = 4, raters: int = 0) -> tuple[Slates, np.ndarray]:
    """n best-worst slates; simulated users' where there are no raters."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, k, 2))
    rule, u = LuceRule(k), x @ TRUTH
    best = rule.draw(u, rng).picked
    worst = rule.draw_worst(u, best, rng).picked
    return Slates(np.full(n, k), best, np.arange(n) % max(raters, 1), not raters, worst), x.reshape(-1, 2)


def pairs(n: int, seed: int, theta: float = 1.8, raters: int = 0) -> tuple[Slates, np.ndarray]:
    """n pairs with ties."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2, 2))
    choice, tied = RaoKupperRule(theta).draw(x @ TRUTH, rng)
    who = np.arange(n) % max(raters, 1)
    return Slates(np.full(n, 2), choice.picked, who, not raters, tied=tied), x.reshape(-1, 2)


def test_best_and_worst_maximise_the_product_of_their_probabilities():
    slates, x = best_worst(120, 1)
    rule, shown = LuceRule(4), x.reshape(120, 4, 2)

    def loss(b: np.ndarray) -> float:
        p = rule.worst_probabilities(shown @ b, slates.picked)[np.arange(120), slates.worst]
        return -float((rule.log_probability(shown @ b, slates.picked) + np.log(p)).sum())

    least, fitted = minimize(loss, np.zeros(2), tol=1e-10), fit(slates, x, NAMES)
    assert fitted.coefficients == pytest.approx(least.x, abs=1e-4)
    assert fitted.log_likelihood == pytest.approx(-least.fun)
    assert fitted.chance == pytest.approx(-120 * np.log(4 * 3))
    assert (fitted.n, fitted.worst) == (120, 120)


def test_ties_maximise_rao_and_kuppers_likelihood():
    slates, x = pairs(150, 2)
    answers = np.where(slates.tied, 2, slates.picked)

    def loss(b: np.ndarray) -> float:
        rule = RaoKupperRule(float(np.exp(abs(b[2]))))
        return -float(rule.log_probability(x.reshape(150, 2, 2) @ b[:2], answers).sum())

    least, fitted = minimize(loss, np.array([0, 0, 0.5]), tol=1e-10), fit(slates, x, NAMES)
    assert fitted.coefficients == pytest.approx(least.x[:2], abs=1e-4)
    assert fitted.threshold.log_theta == pytest.approx(least.x[2], abs=1e-4)
    assert fitted.log_likelihood == pytest.approx(-least.fun)
    assert fitted.threshold.ties == slates.tied.sum()


def test_ties_of_equal_samples_have_a_closed_form():
    """Without utilities theta is (1 + s) / (1 - s), s the share of ties; and chance is that fit."""
    slates = Slates(np.full(40, 2), np.arange(40) % 2, np.arange(40), tied=np.arange(40) < 10)
    fitted = fit(slates, np.zeros((80, 0)), ())
    assert np.exp(fitted.threshold.log_theta) == pytest.approx(1.25 / 0.75)
    assert fitted.log_likelihood == pytest.approx(fitted.chance)


@pytest.mark.parametrize("draw", [best_worst, pairs])
@pytest.mark.parametrize("raters", [0, 15])
def test_intervals_hold_the_truth(draw, raters: int):
    studies, held, thetas = 150, np.zeros(2), []
    for seed in range(studies):
        fitted = fit(*draw(150, 1000 + seed, raters=raters), NAMES)
        low, high = fitted.intervals().T
        held += (low <= TRUTH) & (high >= TRUTH)
        if fitted.threshold:
            thetas.append(fitted.threshold.low <= np.log(1.8) <= fitted.threshold.high)
    assert (held / studies > 0.89).all()
    assert not thetas or np.mean(thetas) > 0.89
    if not raters:  # the jackknife over few raters is on the safe side
        assert (held / studies < 0.995).all()


@pytest.mark.parametrize("kind", ["best", "best and worst", "ties"])
def test_where_it_is_known_how_often_raters_lapse_intervals_hold_strong_tastes(kind: str):
    studies, n, truth, lapse = 60, 400, 3 * TRUTH, np.repeat([0.02, 0.2], 200)
    held, naively, thetas = np.zeros(2), np.zeros(2), []
    for seed in range(studies):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(n, 2 if kind == "ties" else 4, 2))
        picked, worst, tied = np.empty(n, np.int64), np.empty(n, np.int64), np.zeros(n, bool)
        for share in np.unique(lapse):
            own = lapse == share
            rule, u = LuceRule(x.shape[1], share), x[own] @ truth
            picked[own] = rule.draw(u, rng).picked
            if kind == "ties":
                choice, tied[own] = RaoKupperRule(1.8, share).draw(u, rng)
                picked[own] = choice.picked
            elif kind == "best and worst":
                worst[own] = rule.draw_worst(u, picked[own], rng).picked
        slates = Slates(np.full(n, x.shape[1]), picked, np.arange(n), True)
        slates = replace(slates, **{"ties": {"tied": tied}, "best and worst": {"worst": worst}}.get(kind, {}))
        naive = fit(slates, x.reshape(-1, 2), NAMES)
        aware = correct_for_lapses(slates, x.reshape(-1, 2), naive, lapse).intervals()
        held += (aware[:2, 0] <= truth) & (truth <= aware[:2, 1])
        naively += (naive.intervals()[:, 0] <= truth) & (truth <= naive.intervals()[:, 1])
        thetas += [low <= np.log(1.8) <= high for low, high in aware[2:]]
    assert (held / studies > 0.86).all()
    assert (naively / studies < 0.5).all()
    assert not thetas or np.mean(thetas) > 0.86


def test_without_lapses_the_fit_that_knows_of_them_is_the_plain_fit():
    for slates, x in (best_worst(200, 7), pairs(200, 7)):
        plain = fit(slates, x, NAMES)
        aware = correct_for_lapses(slates, x, plain, np.zeros(200))
        assert aware.values[:2] == pytest.approx(plain.coefficients, abs=1e-4)
        assert aware.se[:2] == pytest.approx(np.sqrt(np.diag(plain.plain)), rel=1e-3)


def test_a_worst_pick_is_worth_nearly_another_pick():
    """At K = 4 both clicks say 1.7 times and more what the best alone says."""
    slates, x = best_worst(400, 3)
    both, best = fit(slates, x, NAMES), fit(slates.best_picks()[0], x, NAMES)
    gain = np.diag(best.plain) / np.diag(both.plain)
    assert (gain > 1.5).all()
    assert (gain < 2.2).all()


def test_both_clicks_of_a_slate_are_one_score():
    slates, x = best_worst(60, 4, raters=6)
    fitted = fit(slates, x, NAMES)
    parts = scores(slates, x, fitted)
    assert parts.shape == (60, 2)
    assert parts.sum(axis=0) == pytest.approx([0, 0], abs=1e-6)
    sums = np.array([parts[slates.raters == rater].sum(axis=0) for rater in range(6)])
    sandwich = 6 / 5 * fitted.plain @ sums.T @ sums @ fitted.plain
    assert fitted.clustered == pytest.approx(sandwich, rel=1e-6)


def test_slates_of_other_sizes_and_slates_without_a_worst_stand_beside():
    slates, x = best_worst(50, 5)
    mixed = Slates(
        np.append(slates.sizes, [2] * 20),
        np.append(slates.picked, [0] * 20),
        np.arange(70),
        worst=np.append(slates.worst, [-1] * 20),
    )
    fitted = fit(mixed, np.vstack([x, np.random.default_rng(0).normal(size=(40, 2))]), NAMES)
    assert (fitted.n, fitted.worst) == (70, 50)


def test_ties_alone_say_nothing_of_utilities():
    slates = Slates(np.full(20, 2), np.zeros(20, int), np.arange(20), tied=np.ones(20, bool))
    with pytest.raises(NotIdentifiedError, match="both are as good"):
        fit(slates, np.random.default_rng(1).normal(size=(40, 1)), ("a",))


def test_pairs_that_separate_are_named_also_beside_ties_that_do_not_vary():
    x = np.tile([1.0, 0.0], 30)
    x[:20] = 0.0  # ten ties of equal samples; all others go to the mark
    slates = Slates(np.full(30, 2), np.zeros(30, int), np.arange(30), tied=np.arange(30) < 10)
    with pytest.raises(SeparatedError, match="mark"):
        fit(slates, x[:60, None], ("mark",))


def test_items_count_worst_picks_and_ties():
    slates, x = best_worst(200, 6)
    item = (x[:, 0] > 0).astype(int)
    plain, both = (item_table(some, item, ("low", "high")) for some in (slates.best_picks()[0], slates))
    assert both[1].utility == pytest.approx(plain[1].utility, abs=0.3)
    assert both[1].high - both[1].low < plain[1].high - plain[1].low
    assert sum(row.picked for row in both) == 200
    tied, x = pairs(200, 7)
    table = item_table(tied, (x[:, 0] > 0).astype(int), ("low", "high"))
    assert table[1].utility > 0
    assert sum(row.picked for row in table) == 200 - tied.tied.sum()
