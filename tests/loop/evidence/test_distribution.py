"""More than the mean on simulated truth: transmission of other figures, the whole law, decay, differing studies."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.beyond import DECAYS, LAWS, Crossed, beyond_mean
from benchmarks.simulated_studies import Population, Setting
from benchmarks.simulated_studies import simulate as simulate_loop
from data.records import Evaluated
from loop.evidence.distribution import (
    CLASS_DIVERSITY,
    CLASSES,
    FREQUENCIES,
    SPREAD,
    VARIANCE,
    DecayTest,
    LawTest,
    Step,
    decay_words,
    distribution_evidence,
    features_of,
    fourier,
    holm,
    law_words,
    slopes_of,
    two_sample,
    unbiased,
)
from loop.evidence.schema import Evidence
from loop.evidence.study import analyse, assess, course_of
from loop.study import configure
from loop.sweep.results import SeededMean, split_variance

HONEST = replace(LAWS["honest"], samples=4_000, picks=4_000)


@pytest.fixture(scope="module")
def honest():
    return beyond_mean(HONEST, 0)


def test_figures_of_an_honest_study_change_as_the_operator_predicts(honest):
    together = {row.of: row for row in honest.changes if row.t is None}
    assert {VARIANCE, CLASSES, CLASS_DIVERSITY, SPREAD, "share of low", "share of high"} == together.keys()
    for of in (CLASSES, CLASS_DIVERSITY, "share of low"):
        ratio = together[of].ratio
        assert ratio and ratio.low < 1 < ratio.high and ratio.high - ratio.low < 0.6
    assert [row.t for row in honest.changes if row.of == CLASSES] == [1, 2, None]
    low, high = (next(row for row in honest.changes if row.of == f"share of {name}") for name in ("low", "high"))
    assert low.predicted.value == pytest.approx(-high.predicted.value) and low.predicted.value < 0


def test_a_class_that_takes_all_has_no_noise():
    evidence = beyond_mean(Setting(k=8, generations=6, spread=6.0, samples=300, picks=300), 0)
    assert all(row.ratio is None for row in evidence.changes if row.t == 6 and row.of == "share of high")


def test_half_the_way_is_half_the_transmission_of_class_shares():
    evidence = beyond_mean(replace(HONEST, carried=0.5), 0)
    ratio = next(row.ratio for row in evidence.changes if row.of == CLASSES and row.t is None)
    assert ratio and ratio.low < 0.5 < ratio.high < 1


def test_predicted_figures_are_those_of_the_exact_operator():
    population = Population.of(HONEST)
    law = population.target(population.first)
    evidence = beyond_mean(HONEST, 0)
    for of, values in ((VARIANCE, population.w), (SPREAD, population.coordinates)):
        x = values.reshape(len(law), -1)
        before, after = (p @ (x**2).sum(axis=1) - ((p @ x) ** 2).sum() for p in (population.first, law))
        row = next(row for row in evidence.changes if row.of == of and row.t == 1)
        true = (after - before) * (2 if of == SPREAD else 1)
        assert abs(row.predicted.value - true) < 4 * row.predicted.se


def test_an_honest_generation_is_not_said_to_differ_and_one_that_goes_half_the_way_is(honest):
    assert {test.verdict for test in honest.laws} == {"not found"}
    half = beyond_mean(replace(HONEST, carried=0.5), 0)
    first = half.laws[0]
    assert first.verdict == "found" and first.distance and first.promised
    assert first.distance / first.promised == pytest.approx(0.5, abs=0.15)
    assert "differ" in half.sentences[0] and "not" not in half.sentences[0]


def test_a_drift_that_the_reward_does_not_see_is_seen():
    evidence = beyond_mean(replace(HONEST, sideways=0.5), 0)
    assert all(test.verdict == "found" for test in evidence.laws)


def test_false_alarms_of_the_whole_law_are_rare_where_few_picks_are_far_from_their_law():
    words = [test.verdict for seed in range(20) for test in beyond_mean(LAWS["honest, 250 picks"], seed).laws]
    assert words.count("found") <= 3


def test_the_kernel_of_the_waves_is_gaussian():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 2))
    waves = fourier(1.5, 2, seed=1)(x)
    assert waves.shape == (2 * FREQUENCIES, 200)
    exact = np.exp(-((x[:, None] - x[None]) ** 2).sum(-1) / (2 * 1.5**2))
    assert np.abs(waves.T @ waves - exact).max() < 0.35 and np.abs(waves.T @ waves - exact).mean() < 0.06


def test_p_of_the_paired_test_is_uniform_under_equal_laws():
    rng, ps = np.random.default_rng(0), []
    for seed in range(200):
        groups = 0.3 * rng.standard_normal((6, 40))
        columns = np.column_stack([groups.mean(axis=1), (groups.sum(axis=1)[:, None] - groups) / 39])
        zero = np.zeros_like(columns)
        ps.append(two_sample(Step(1, zero, zero, columns, np.zeros((6, 6))), seed, flips=199)[0])
    assert 0.01 <= np.mean(np.array(ps) <= 0.05) <= 0.10 and 0.4 < np.mean(ps) < 0.6


def test_without_choice_the_picks_promise_no_move_and_nothing_is_divided_by_it():
    before = np.random.default_rng(0).standard_normal((6, 41))
    _, distance, promised = two_sample(Step(1, before, before + 1e-13, before + 0.5, np.zeros((6, 6))), 0)
    assert promised == 0 and distance > 1
    test = LawTest(t=1, n=9, space="points", verdict="found", p=0.001, distance=distance, promised=promised)
    assert law_words([test])[0].startswith("Generation 1 differs from the law that the picks promise (a kernel")


def test_holm_names_a_second_generation_at_twice_the_level():
    tests = [LawTest(t=t, n=9, space="points", verdict="not found", p=p) for t, p in ((1, 0.04), (2, 0.02), (3, 0.3))]
    assert [test.verdict for test in holm(tests)] == ["not found"] * 3
    assert [test.verdict for test in holm(tests[:2])] == ["found", "found"]


def test_transmission_that_falls_is_named_and_a_constant_one_is_not():
    falls, constant = (beyond_mean(DECAYS[name], 0).decay for name in ("falls by 40% a generation", "constant, 0.6"))
    assert falls.verdict == "found" and falls.slope and falls.slope < -0.05
    assert constant.verdict == "not found" and constant.carried == pytest.approx(0.6, abs=0.1)
    assert "falls" in decay_words(falls) and "isn't seen to fall" in decay_words(constant)


def test_the_slope_is_that_of_transmission():
    wanted = np.array([[1.0], [0.5], [0.2], [0.4]])
    gained = wanted * (0.8 - 0.1 * (np.arange(4) - 1.5))[:, None]
    assert slopes_of(gained, wanted, np.array([1.0, 4.0, 2.0, 1.0])) == pytest.approx([-0.1])


def test_a_short_study_has_no_slope():
    decay = beyond_mean(LAWS["honest"], 0).decay
    assert decay.verdict == "can't tell" and "3 generations" in decay.reason
    assert decay_words(DecayTest(verdict="can't tell", reason="x")) == "Whether transmission decays can't be told: x."


def test_the_jackknife_takes_the_bias_off_a_square():
    rng, values = np.random.default_rng(0), []
    for _ in range(500):
        x = rng.standard_normal(20)
        columns = np.r_[x.mean(), (x.sum() - x) / 19]
        values.append(unbiased(columns**2)[0])
    assert abs(np.mean(values)) < 0.01


def test_where_samples_have_no_features_or_are_too_few_it_says_so():
    history, _ = simulate_loop(Population.of(Setting(generations=1)), np.random.default_rng(0))
    bare = [replace(samples, points=None) for samples in history.evaluations]
    evidence = distribution_evidence(course_of(analyse(replace(history, evaluations=bare))))
    assert evidence and [test.verdict for test in evidence.laws] == ["can't tell"]
    assert "no features" in law_words(evidence.laws)[0] and SPREAD not in {row.of for row in evidence.changes}
    few = beyond_mean(Setting(generations=1, samples=120), 0)
    assert few.laws[0].verdict == "can't tell" and "effective samples" in few.laws[0].reason


def test_designs_are_compared_on_their_named_numbers():
    config = configure("flowers")
    assert config.data.family
    dimension = sum(2 if factor.circle else 1 for factor in config.data.family.factors)
    x = np.random.default_rng(0).standard_normal((5, dimension)).astype(np.float32)
    own = features_of(Evaluated(0, np.zeros((1, 5)), np.zeros(5, dtype=np.int32), x), config)
    assert own is not None and np.abs(own).max() <= 1 + 1e-6


def test_it_is_in_the_evidence_and_survives_json():
    history, _ = simulate_loop(Population.of(Setting(generations=2, samples=300)), np.random.default_rng(0))
    evidence = assess(history)
    assert evidence.distribution and Evidence.model_validate_json(evidence.model_dump_json()) == evidence
    assert assess(history, quick=True).distribution is None


def test_the_split_of_the_variance_is_unbiased_and_its_intervals_hold_the_truth():
    rng, crossed = np.random.default_rng(0), Crossed(6, 3, picks=1.0, training=0.5, evaluation=0.5)
    splits = [crossed.split(rng) for _ in range(200)]
    assert all(evaluation == pytest.approx(0.25) for evaluation, _, _ in splits)
    trainings, picks = [split[1] for split in splits if split[1]], [split[2] for split in splits if split[2]]
    for estimates, truth in ((trainings, 0.25), (picks, 1.0)):
        assert len(estimates) == len(splits)
        assert np.mean([some.value for some in estimates]) == pytest.approx(truth, rel=0.15)
        assert 0.9 <= np.mean([some.low <= truth <= some.high for some in estimates]) <= 0.99


def test_studies_of_one_seed_or_of_one_training_each_are_split_as_far_as_they_go():
    some = [SeededMean(1, value, 0.1, np.array([])) for value in (0.0, 1.0, 2.0)]
    _, training, picks = split_variance(some)
    assert picks is None and training and training.value == pytest.approx(1 - 0.01)
    each = [replace(study, seed=seed) for seed, study in enumerate(some)]
    evaluation, training, picks = split_variance(each)
    assert training is None and picks and picks.value == pytest.approx(1 - 0.01) and evaluation == pytest.approx(0.01)
