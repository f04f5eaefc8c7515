"""The conditional logit against closed forms, statsmodels, and picks of known truth."""

import numpy as np
import pytest
from scipy.special import log_softmax
from statsmodels.discrete.conditional_models import ConditionalLogit

from loop.analysis.design import NotIdentifiedError, SeparatedError, estimable, separating
from loop.analysis.log import Slates
from loop.analysis.logit import Fit, fit, wald
from tests.loop.analysis.simulated import TRUTH, always_best, anyone, differing, known, luce, mixed

NAMES = ("a", "b", "c", "d")


def by_statsmodels(slates: Slates, x: np.ndarray):
    picked = np.zeros(len(x))
    picked[slates.rows] = 1
    groups = slates.per_sample(np.arange(len(slates)))
    return ConditionalLogit(picked, x, groups=groups).fit(method="newton", disp=0, tol=1e-12)


def covered(found: Fit, truth: np.ndarray) -> np.ndarray:
    low, high = found.intervals().T
    return (low <= truth) & (truth <= high)


def test_one_dummy_has_a_closed_form():
    """In pairs of one sample with a mark and one without, the coefficient is the log odds of the share of marks."""
    slates = Slates.of_equal_size(2, np.array([0] * 30 + [1] * 10))
    found = fit(slates, np.tile([1.0, 0.0], 40)[:, None], ("mark",))
    assert found.coefficients[0] == pytest.approx(np.log(3))
    assert found.plain[0, 0] == pytest.approx(1 / 30 + 1 / 10)
    assert found.log_likelihood == pytest.approx(30 * np.log(0.75) + 10 * np.log(0.25))
    assert found.chance == pytest.approx(40 * np.log(0.5))


@pytest.mark.parametrize("data", [known(800, 1), mixed(600, 2)], ids=["K = 4", "K = 2 to 5"])
def test_estimates_and_standard_errors_are_those_of_statsmodels(data: tuple[Slates, np.ndarray]):
    slates, x = data
    found, oracle = fit(slates, x, NAMES[: x.shape[1]]), by_statsmodels(slates, x)
    np.testing.assert_allclose(found.coefficients, oracle.params, atol=1e-6)
    np.testing.assert_allclose(np.sqrt(np.diag(found.plain)), oracle.bse, atol=1e-5)
    assert found.log_likelihood == pytest.approx(oracle.llf, abs=1e-6)


def test_the_likelihood_is_flat_at_the_estimate_and_curved_as_the_covariance_says():
    slates, x = mixed(300, 3)
    found = fit(slates, x, ("a", "b"))

    def value(b: np.ndarray) -> float:
        return slates.log_probabilities(x @ b)[slates.rows].sum()

    h = 1e-4 * np.eye(2)
    slope = [(value(found.coefficients + e) - value(found.coefficients - e)) / 2e-4 for e in h]
    np.testing.assert_allclose(slope, 0, atol=1e-4)
    curve = [
        [(value(found.coefficients + e + f) - value(found.coefficients + e - f)
          - value(found.coefficients - e + f) + value(found.coefficients - e - f)) / 4e-8 for e in h]
        for f in h
    ]  # fmt: skip
    np.testing.assert_allclose(-np.linalg.inv(curve), found.plain, rtol=1e-3)


def test_slates_of_equal_size_agree_with_a_softmax():
    slates, x = known(50, 4)
    u = x @ TRUTH
    np.testing.assert_allclose(slates.log_probabilities(u), log_softmax(u.reshape(-1, 4), axis=1).ravel())
    assert slates.subset(np.arange(50) < 3)[1].sum() == 12


def coverage(replications: int, n: int) -> np.ndarray:
    return np.mean([covered(fit(*known(n, seed), NAMES), TRUTH) for seed in range(replications)], axis=0)


def test_intervals_hold_the_truth_in_most_of_a_few_replications():
    share = coverage(40, 2_000)
    assert ((share >= 0.85) & (share < 1.0 + 1e-9)).all(), share


@pytest.mark.slow
def test_every_interval_of_20_000_picks_holds_the_truth_in_90_to_99_of_100_replications():
    share = coverage(100, 20_000)
    assert ((share >= 0.90) & (share <= 0.99)).all(), share


def test_where_raters_differ_clustered_intervals_keep_their_coverage_and_plain_ones_do_not():
    many = fit(*differing(4_000, 25, seed=999, spread=0.6), ("a", "b"))  # the truth of a crowd is not the mean taste
    clustered, plain = [], []
    for seed in range(100):
        found = fit(*differing(40, 50, seed, spread=0.6), ("a", "b"))
        clustered.append(covered(found, many.coefficients)[0])
        reach = 1.96 * np.sqrt(found.plain[0, 0])
        plain.append(abs(found.coefficients[0] - many.coefficients[0]) < reach)
    assert np.mean(clustered) >= 0.88 and np.mean(plain) < 0.7, (np.mean(clustered), np.mean(plain))


def test_clusters_of_one_pick_give_the_robust_covariance():
    slates, x = known(3_000, 5)
    found = fit(slates, x, NAMES)
    assert found.raters == 3_000 and found.by_rater
    np.testing.assert_allclose(found.se, np.sqrt(np.diag(found.plain)), rtol=0.1)


@pytest.mark.parametrize("raters", [2, 5, 9])
def test_few_raters_get_intervals_that_cover_a_crowds_tastes(raters: int):
    many = fit(*differing(4_000, 25, seed=999, spread=0.6), ("a", "b"))
    found = [fit(*differing(raters, 50, seed, spread=0.6), ("a", "b")) for seed in range(100)]
    assert np.mean([covered(one, many.coefficients)[0] for one in found]) >= 0.92
    assert not found[0].by_rater and found[0].quantile > 2.2


def test_a_rater_with_most_of_the_picks_costs_degrees_of_freedom():
    slates, x = differing(6, 60, 1, spread=0.3)
    even = fit(slates, x, ("a", "b"))
    chosen = (slates.raters == slates.raters[0]) | (np.arange(len(slates)) % 10 == 0)
    some, rows = slates.subset(chosen)
    uneven = fit(some, x[rows], ("a", "b"))
    assert even.freedom == pytest.approx(5, abs=0.5) and uneven.freedom < 4


def test_simulated_users_picks_are_independent_whoever_made_them():
    slates, x = differing(5, 60, 1, spread=0.0)
    found = fit(Slates(slates.sizes, slates.picked, slates.raters, independent=True), x, ("a", "b"))
    assert found.jackknife is None and found.quantile == pytest.approx(1.96, abs=1e-3)
    np.testing.assert_array_equal(found.se, np.sqrt(np.diag(found.plain)))


@pytest.mark.parametrize("raters", [30, 1_200])
def test_the_joint_test_keeps_its_level_with_few_clusters(raters: int):
    rejected = []
    for seed in range(150):
        slates, x = differing(raters, 1_200 // raters, seed, spread=0.0)
        noise = np.random.default_rng(seed + 10_000).normal(size=(len(x), 3))
        found = fit(slates, np.hstack([x, noise]), ("a", "b", "n1", "n2", "n3"))
        rejected.append(wald(found, np.eye(5)[2:]).p < 0.05)
    assert 0.01 <= np.mean(rejected) <= 0.11, np.mean(rejected)


def test_a_ridge_pulls_to_zero_and_the_units_do_not_matter():
    slates, x = known(400, 6)
    sizes = [np.abs(fit(slates, x, NAMES, ridge).coefficients[0]) for ridge in (0.0, 10.0, 1e3, 1e7)]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < 1e-2
    other = fit(slates, x * [1, 100, 1, 1], NAMES, 10.0)
    np.testing.assert_allclose(other.coefficients * [1, 100, 1, 1], fit(slates, x, NAMES, 10.0).coefficients, rtol=1e-6)


def test_separated_picks_are_named_and_a_ridge_helps():
    slates, x = known(200, 7)
    best = np.zeros(len(x))
    best[slates.rows] = 1
    perfect = np.column_stack([x, best + 0.3 * np.random.default_rng(0).random(len(x))])
    with pytest.raises(NotIdentifiedError, match=r"separated by .*'best'"):
        fit(slates, perfect, (*NAMES, "best"))
    assert np.isfinite(fit(slates, perfect, (*NAMES, "best"), ridge=1.0).se).all()


def test_a_mark_that_was_never_picked_is_separated():
    slates, x = known(200, 8)
    mark = np.zeros(len(x))
    mark[::9] = 1
    mark[slates.rows] = 0
    with pytest.raises(NotIdentifiedError, match=r"separated by 'mark'.*--ridge 1"):
        fit(slates, np.column_stack([mark, x]), ("mark", *NAMES))


def columns(x: np.ndarray) -> list[str]:
    return [f"c{j}" for j in range(x.shape[1])]


def test_sixty_raters_who_always_take_the_best_are_refused_by_a_column_and_fitted_with_a_ridge():
    for seed in range(60):
        slates, x = always_best(seed)
        with pytest.raises(SeparatedError, match=r"^The picks are separated by 'c\d'.*; add --ridge 1, .*\.$") as why:
            fit(slates, x, columns(x))
        assert set(why.value.columns) <= set(columns(x))
        found = fit(slates, x, columns(x), ridge=1.0)
        scale = np.sqrt((slates.centred(x) ** 2).mean(axis=0))
        errors = np.stack([np.sqrt(np.diag(found.plain)), found.se]) * scale
        assert (np.abs(found.coefficients * scale) < 10).all() and (errors > 0.1).all() and (errors <= 1.01).all(), seed


def test_960_fits_end_in_finite_errors_or_in_a_sentence_that_names_a_column():
    refused = 0
    for seed in range(960):
        slates, x = anyone(seed)
        try:
            found = fit(slates, x, columns(x))
        except NotIdentifiedError as error:
            assert "'c" in str(error) and "--ridge 1" in str(error), seed
            refused += 1
            continue
        errors = np.sqrt(np.diag(found.plain))
        assert (errors > 1e-3).all() and (np.abs(found.coefficients) < np.maximum(50, 10 * errors)).all(), seed
        gradient = x[slates.rows] - slates.total(np.exp(slates.log_probabilities(x @ found.coefficients))[:, None] * x)
        assert np.abs(gradient.sum(axis=0)).max() < 1e-4, seed
    assert 250 < refused < 450


def test_separation_is_what_a_search_over_directions_finds():
    """In two dimensions every direction can be tried: a fine grid, and those at a right angle to a difference."""
    angles = np.linspace(0, 2 * np.pi, 721)[:-1]
    grid = np.stack([np.cos(angles), np.sin(angles)])
    outcomes = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        differences = rng.integers(-2, 3, size=(int(rng.integers(2, 6)), 2)) + np.array([1.0, 0.0]) * (seed % 3)
        right = differences @ [[0.0, 1.0], [-1.0, 0.0]]
        gains = (differences @ np.hstack([grid, right.T, -right.T])).round(9)
        separated = bool(((gains >= 0).all(axis=0) & (gains > 0).any(axis=0)).any())
        assert bool(separating(differences, ("a", "b"))) == separated, seed
        outcomes.append(separated)
    assert 100 < sum(outcomes) < 140


def test_a_direction_that_ties_everywhere_but_once_is_separated():
    differences = np.array([[1.0, -1.0], [-1.0, 1.0], [2.0, -1.0], [0.0, 0.0]])
    assert separating(differences, ("a", "b")) == ["a", "b"]
    assert separating(differences[:2], ("a", "b")) == []


@pytest.mark.parametrize("by_rater", [False, True])
def test_intervals_with_a_ridge_hold_tastes_drawn_from_its_prior(by_rater: bool):
    """Where tastes come from the prior, a posterior's 95% interval holds them in 95% of studies, separated or not."""
    held = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(20, 3, 3))
        slates = Slates.of_equal_size(3, np.zeros(20, np.int64), None if by_rater else np.zeros(20, np.int64))
        taste = rng.normal(size=3) / np.sqrt((slates.centred(x.reshape(-1, 3)) ** 2).mean(axis=0))
        found = fit(Slates(slates.sizes, luce(x @ taste, rng), slates.raters), x.reshape(-1, 3), NAMES[:3], ridge=1.0)
        assert found.by_rater == by_rater
        held.append(covered(found, taste))
    assert 0.92 <= np.mean(held) <= 0.98, np.mean(held)


def test_a_ridge_leaves_the_first_columns_alone_where_asked():
    slates, x = known(400, 6)
    free = fit(slates, x, NAMES, 1e8, free=1)
    np.testing.assert_allclose(free.coefficients[0], fit(slates, x[:, :1], NAMES[:1]).coefficients[0], rtol=1e-4)
    assert np.abs(free.coefficients[1:]).max() < 1e-4
    best = np.zeros(len(x))
    best[slates.rows] = 1
    with pytest.raises(SeparatedError) as refused:
        fit(slates, np.column_stack([best, x]), ("best", *NAMES), 1.0, free=1)
    assert "--ridge" not in str(refused.value) and refused.value.columns == ("best",)


def test_columns_that_are_no_finite_numbers_are_named():
    slates, x = known(40, 6)
    x[3, 1] = np.nan
    with pytest.raises(ValueError, match="'b' has values that are no finite numbers"):
        fit(slates, x, NAMES)
    with pytest.raises(ValueError, match="ridge must be 0 or more, and finite, not nan"):
        fit(slates, x, NAMES, ridge=float("nan"))


def test_strong_utilities_are_not_taken_for_separation():
    slates, x = known(3_000, 9, truth=np.array([8.0, -4.0, 3.0, 0.0]))
    assert covered(fit(slates, x, NAMES), np.array([8.0, -4.0, 3.0, 0.0])).sum() >= 3


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda x: np.column_stack([x, x[:, 0] + 2 * x[:, 1]]), "'e' can't be estimated: it follows from a, b"),
        (lambda x: np.column_stack([x, np.repeat(np.arange(60.0), 4)]), "'e' can't be estimated: it never differs"),
    ],
)
def test_columns_without_information_are_named(change, match: str):
    slates, x = known(60, 10)
    with pytest.raises(NotIdentifiedError, match=match):
        fit(slates, change(x), (*NAMES, "e"))


def test_columns_that_can_be_estimated_are_kept_in_order():
    slates, x = known(60, 11)
    kept, problems = estimable(slates.centred(np.column_stack([x[:, :2], x[:, 0] - x[:, 1], x[:, 2]])), NAMES)
    assert kept == [0, 1, 3] and "a, b" in problems["c"]


@pytest.mark.parametrize("n", [0, 1, 9])
def test_too_few_picks_are_refused(n: int):
    slates, x = known(12, 12)
    few, rows = slates.subset(np.arange(12) < n)
    with pytest.raises(NotIdentifiedError, match=f"{n} picks are too few"):
        fit(few, x[rows], NAMES)


def test_without_columns_every_pick_has_the_probability_of_chance():
    slates, x = known(40, 13)
    found = fit(slates, x[:, :0], ())
    assert found.log_likelihood == pytest.approx(found.chance)
