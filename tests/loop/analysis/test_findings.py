"""The tests of the model: what is planted is found, and what isn't there isn't, in simulated studies of 1,200 picks."""

from dataclasses import replace

import numpy as np
import pytest

from loop.analysis.assumptions import AssumptionTest, consistency, position_bias, slate_dependence
from loop.analysis.log import Repeats, Slates
from loop.analysis.logit import fit, scores
from loop.analysis.raters import disagreement, own_tastes, rater_tests
from tests.loop.analysis.simulated import CLASSES, Crowd, Groups, luce

NAMES = ("position", "context", "disagreement", "random", "odd")


def findings(crowd: Crowd, seed: int) -> dict[str, AssumptionTest]:
    slates, x, labels = crowd.draw(seed)
    found = fit(slates, x, CLASSES)
    each = scores(slates, x, found)
    at_random, differing, _ = rater_tests(slates, x, x @ found.coefficients, informative=True)
    return {
        "position": position_bias(slates, x),
        "context": slate_dependence(slates, x, found, labels),
        "disagreement": disagreement(slates, each, found.plain, np.random.default_rng(seed)),
        "random": at_random,
        "odd": differing,
    }


def rates(crowd: Crowd, studies: int) -> dict[str, float]:
    """In which share of studies each test found something."""
    all_ = [findings(crowd, seed) for seed in range(studies)]
    return {name: float(np.mean([each[name].verdict == "found" for each in all_])) for name in NAMES}


@pytest.mark.slow
def test_false_alarms_are_near_one_in_twenty_over_200_studies():
    found = rates(Crowd(), 200)
    assert all(rate <= 0.095 for rate in found.values()), found  # 0.05 and three standard errors


def test_false_alarms_are_rare_in_a_few_studies():
    assert all(rate <= 0.25 for rate in rates(Crowd(), 12).values())


@pytest.mark.parametrize(
    ("crowd", "name"),
    [
        (Crowd(bias=0.5), "position"),
        (Crowd(similar=-0.6), "context"),
        (Crowd(similar=0.6), "context"),
        (Crowd(against=3), "odd"),
        (Crowd(against=3), "disagreement"),
        (Crowd(at_random=1, picks=80), "odd"),
        (Crowd(at_random=1, picks=120), "random"),
        (Crowd(spread=0.7), "disagreement"),
    ],
)
def test_what_is_planted_is_found(crowd: Crowd, name: str):
    assert all(findings(crowd, seed)[name].verdict == "found" for seed in (1, 2, 3))


def test_a_position_bias_has_its_size():
    found = findings(Crowd(raters=60, bias=0.5), 4)["position"]
    effect = found.effects[0]
    assert "position 2" in effect.name and effect.low < 0.5 * 3 / 4 < effect.high
    shares = found.figures["shares"]
    assert shares[1] == pytest.approx(np.exp(0.5) / (np.exp(0.5) + 3), abs=0.03)
    assert effect.low > 0 and found.sentence.startswith("Samples of equal utility would be picked at position 2 in 3")


def test_a_similarity_effect_has_its_size_and_says_what_would_have_been_found():
    effects = findings(Crowd(raters=60, similar=-0.5), 5)["context"].effects
    similar = next(effect for effect in effects if "class" in effect.name)
    assert similar.low < -0.5 < similar.high and similar.detectable is not None
    assert similar.detectable == pytest.approx(2.8 * (similar.high - similar.low) / 2 / 2, rel=0.05)


def test_slates_of_different_size_are_compared():
    """Twice the scale at K = 5 is found; the same scale isn't."""
    for factor, word in ((1.0, "not found"), (2.0, "found")):
        rng = np.random.default_rng(6)
        sizes = np.repeat([2, 5], 800)
        x = rng.normal(size=(int(sizes.sum()), 1))
        utilities = x[:, 0] * np.where(np.repeat(sizes, sizes) == 5, factor, 1.0) + rng.gumbel(size=len(x))
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        picked = np.array([int(part.argmax()) for part in np.split(utilities, starts[1:])])
        slates = Slates(sizes, picked, np.arange(1_600))
        found = slate_dependence(slates, x, fit(slates, x, ("a",)), None)
        assert found.verdict == word and any("doubling of K" in effect.name for effect in found.effects)


def test_pairs_without_other_sizes_cannot_show_a_dependence():
    slates, x, _ = Crowd(k=2).draw(7)
    found = slate_dependence(slates, x, fit(slates, x, CLASSES), None)
    assert found.verdict == "can't tell" and found.p is None and "K = 3" in found.sentence


def test_random_raters_and_those_of_opposite_taste_are_told_apart_by_name():
    slates, x, _ = Crowd(picks=100, at_random=1, against=2).draw(8)
    at_random, differing, raters = rater_tests(slates, x, x @ fit(slates, x, CLASSES).coefficients, informative=True)
    manners = {rater.rater: rater.manner for rater in raters}
    assert {who: manner for who, manner in manners.items() if manner != "like the others"} == {
        0: "at random", 28: "other tastes", 29: "other tastes",
    }  # fmt: skip
    assert "rater 0 (100 picks)" in at_random.sentence and [row["rater"] for row in at_random.figures["named"]] == [0]
    assert at_random.figures["tested"] == 30 and at_random.figures["power"] > 0.9
    assert "rater 28 other tastes" in differing.sentence and "no reason to leave anyone out" in differing.sentence


def test_a_rater_who_always_takes_the_worst_has_another_taste():
    slates, x, _ = Crowd(against=0).draw(9)
    u = x @ fit(slates, x, CLASSES).coefficients
    worst = u.reshape(-1, 4).argmin(axis=1)
    spoiled = replace(slates, picked=np.where(slates.raters == 3, worst, slates.picked))
    raters = rater_tests(spoiled, x, u, informative=True)[2]
    assert (raters[0].rater, raters[0].manner) == (3, "other tastes") and raters[0].p < 1e-6


def test_the_tail_of_a_rater_is_that_of_simulation():
    """The chance of so low a scale with eight picks, among 3,000 raters who pick by the utilities."""
    rng = np.random.default_rng(10)
    u = np.tile(2 * rng.normal(size=(8, 4)), (3_000, 1))
    slates = Slates.of_equal_size(4, luce(u, rng), np.repeat(np.arange(3_000), 8))
    p = np.array([rater.p_alone for rater in rater_tests(slates, u.reshape(-1, 1), u.ravel(), informative=True)[2]])
    for level in (0.1, 0.01, 0.002):
        assert np.mean(p < level) == pytest.approx(level, abs=3 * np.sqrt(level / 3_000))


def named(studies: int, **crowd: float) -> tuple[float, float, float]:
    """The share of studies that name an honest rater, the share of random raters named, and the stated power."""
    honest, found, power = [], [], []
    for seed in range(studies):
        slates, x, random = Groups(**crowd).draw(seed)  # pyright: ignore[reportArgumentType]
        tastes = own_tastes(slates, x, slates.raters, len(random))
        as_random = (len(random) * tastes.p_usual < 0.05) & (tastes.p >= 0.05)
        honest.append(as_random[~random].any())
        found += as_random[random].tolist()
        power.append(tastes.power)
    return float(np.mean(honest)), float(np.mean(found or [0.0])), float(np.mean(power))


def test_groups_of_opposite_tastes_hold_nobody_at_random():
    """Two or three groups, 10 to 60 raters of 20 to 60 picks each; strengths alike within a study, or not."""
    assert named(40)[0] <= 0.05 and named(40, spread=0.3)[0] <= 0.1


def test_raters_at_random_are_found_among_groups_as_often_as_is_stated():
    honest, found, power = named(40, at_random=2)
    assert honest <= 0.05 and found == pytest.approx(power, abs=0.15) and found > 0.4


@pytest.mark.slow
@pytest.mark.parametrize("crowd", [{}, {"spread": 0.3}, {"at_random": 3}, {"strength": 0.6}, {"strength": 3.0}])
def test_honest_raters_are_named_in_at_most_5_percent_of_1000_studies(crowd: dict[str, float]):
    honest, found, power = named(1_000, **crowd)
    assert honest <= 0.05 and (not crowd.get("at_random") or found == pytest.approx(power, abs=0.05))


def test_one_rater_of_a_taste_that_nobody_shares_is_not_at_random():
    """Everyone likes the first feature, and one the second; the statistic looks in all directions alike."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, who = rng.normal(size=(30 * 60, 4, 4)), np.repeat(np.arange(30), 60)
        slates = Slates.of_equal_size(4, luce(np.where(who[:, None] == 0, x[..., 1], x[..., 0]) * 1.5, rng), who)
        flat = x.reshape(-1, 4)
        raters = rater_tests(slates, flat, flat @ fit(slates, flat, ("a", "b", "c", "d")).coefficients, True)[2]
        assert {rater.rater: rater.manner for rater in raters}[0] == "other tastes", seed


def test_what_cannot_be_seen_is_said():
    slates, x, _ = Crowd(raters=30, picks=10).draw(3)
    found = rater_tests(slates, x, x @ fit(slates, x, CLASSES).coefficients, informative=True)[0]
    assert found.verdict == "can't tell" and "can't show who picks at random" in found.sentence


def test_the_intraclass_correlation_sets_the_width_of_clustered_intervals():
    slates, x, _ = Crowd(raters=60, spread=0.8).draw(11)
    found = fit(slates, x, CLASSES)
    finding = disagreement(slates, scores(slates, x, found), found.plain, np.random.default_rng(0))
    assert found.clustered is not None
    inflation = np.trace(np.linalg.solve(found.plain, found.clustered)) / len(CLASSES)
    assert finding.figures["design_effect"] == pytest.approx(inflation, rel=0.1)
    assert finding.effects[0].low > 0


@pytest.mark.parametrize("raters", [1, 3])
def test_few_raters_cannot_be_compared(raters: int):
    found = findings(Crowd(raters=raters, picks=400), 12)
    assert found["odd"].verdict == found["disagreement"].verdict == "can't tell"
    assert found["position"].verdict != "can't tell"


def test_utilities_that_explain_nothing_make_nobody_differ():
    slates, x, _ = Crowd().draw(13)
    assert rater_tests(slates, x, x[:, 0], informative=False)[1].verdict == "can't tell"


def test_positions_are_tested_where_the_samples_columns_are_separated():
    slates, x, _ = Crowd(bias=1.0).draw(14)
    best = np.zeros((len(x), 1))
    best[slates.rows] = 1
    assert position_bias(slates, np.hstack([x, best])).verdict == "found"


def repeated(same: float, seed: int) -> AssumptionTest:
    """20 raters with 10 repeats each, a share of them answered alike whatever the slate, the rest at random."""
    rng = np.random.default_rng(seed)
    slates, x, _ = Crowd(raters=20, picks=30).draw(seed)
    first = np.flatnonzero(np.arange(len(slates)) % 30 < 10)
    again = np.where(rng.random(200) < same, slates.picked[first], rng.integers(4, size=200))
    return consistency(slates, x @ fit(slates, x, CLASSES).coefficients, Repeats(first, again))


def test_consistent_raters_are_told_from_those_who_answer_anew():
    steady, fickle = repeated(0.8, 15), repeated(0.0, 16)
    assert steady.verdict == "found" and fickle.verdict == "not found"
    effect = steady.effects[0]
    assert effect.low < 0.8 + 0.2 / 4 < effect.high
    assert steady.figures["chance"] == 0.25 < steady.figures["expected"] < effect.low


def test_luce_raters_are_as_consistent_as_luce_says():
    rng = np.random.default_rng(17)
    u = rng.normal(size=(2_000, 4)) * 1.5
    slates = Slates.of_equal_size(4, luce(u, rng), np.repeat(np.arange(40), 50))
    found = consistency(slates, u.ravel(), Repeats(np.arange(2_000), luce(u, rng)))
    assert found.effects[0].low < found.figures["expected"] < found.effects[0].high


def test_few_repeats_say_nothing():
    slates, x, _ = Crowd(raters=2, picks=10).draw(18)
    found = consistency(slates, x[:, 0], Repeats(np.arange(4), np.zeros(4, np.int64)))
    assert found.verdict == "can't tell" and "4 repeated slates" in found.sentence
