"""Linear regression, Gaussian and tokens: closed forms by hand, and simulation over them within chance."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.text import Characters, load_corpus, windows
from loop.policy import POLICY_KINDS, DataPolicy
from loop.theory.toy_models import (
    Curve,
    GaussianModel,
    KernelModel,
    LinearModel,
    ToyModel,
    curves,
    largest_z,
    mean_and_se,
    paired_spread,
    simulate_in_blocks,
    spread,
    z_score,
)
from loop.theory.toy_tokens import CategoricalModel, ContextModel
from model.generators.language import Ngram

REPLACE, ACCUMULATE, SUBSAMPLE = (DataPolicy(k) for k in ("replace", "accumulate", "accumulate_subsample"))
MIX = DataPolicy("mix", 1.0)
ALL = [REPLACE, ACCUMULATE, SUBSAMPLE, MIX]
GROWN, UNIFORM = DataPolicy("replace_grown"), DataPolicy("uniform")
RECENT = DataPolicy("recent", recent=3)
LIMIT = 4.0  # of |z|: the seeds are fixed, so these pass or fail for good; by chance one in thousands would not


def by_kind(found: list[Curve]) -> dict[str, np.ndarray]:
    return {curve.policy.kind: np.array([point.simulated for point in curve.points]) for curve in found}


class Off:
    """A model whose exact curve is a little wrong."""

    def __init__(self, model: ToyModel, wrong):
        self._model, self.exact = model, wrong

    def __getattr__(self, name: str):
        return getattr(self._model, name)


def test_linear_regression_by_hand():
    model = LinearModel(10, 60)
    assert model.v == pytest.approx(10 / 49)
    assert model.exact(REPLACE, 4) == pytest.approx([1, 2, 3, 4])
    assert model.exact(ACCUMULATE, 3) == pytest.approx([1, 1 + 1 / 4, 1 + 1 / 4 + 1 / 9])
    assert model.exact(MIX, 3) == pytest.approx([1, 1.25, 1.3125])
    assert model.exact(DataPolicy("mix", 3.0), 400)[-1] == pytest.approx(1 + 3 / 7)  # pyright: ignore
    fresh = LinearModel(10, 60, fresh=True).exact(ACCUMULATE, 2)
    assert fresh == pytest.approx([1, 1 + 49 / (2 * 109)])
    for policy in (SUBSAMPLE, DataPolicy("mix", 0.5)):
        assert model.exact(policy, 3) is None
    assert LinearModel(10, 60, fresh=True).exact(MIX, 3) is None
    assert model.exact(GROWN, 3) == pytest.approx([1, 1 + 1 / 2, 1 + 1 / 2 + 1 / 3])
    assert LinearModel(10, 60, fresh=True).exact(GROWN, 2) == pytest.approx([1, 1 + 49 / 109])
    assert model.exact(RECENT, 3) is model.exact(UNIFORM, 3) is None


def test_accumulate_stays_under_its_bound_and_replace_grows_without_end():
    model = LinearModel()
    assert model.exact(ACCUMULATE, 100_000).max() < math.pi**2 / 6  # pyright: ignore[reportOptionalMemberAccess]
    found = by_kind(curves(model, [REPLACE, ACCUMULATE], 8, 2_000, seed=2))
    slope = np.polyfit(np.arange(1, 9), found["replace"], 1)[0]
    assert slope == pytest.approx(1, abs=0.08)
    assert found["accumulate"].max() < math.pi**2 / 6


def test_subsampling_lies_between_with_no_closed_form():
    found = curves(LinearModel(), [SUBSAMPLE], 10, 1_500, seed=4)
    simulated = by_kind(found)["accumulate_subsample"]
    assert simulated[[0, 1, 4, 9]] == pytest.approx([1, 1.8, 2.5, 2.9], rel=0.06)
    assert all(point.exact is None and point.z is None for point in found[0].points) and largest_z(found) is None


def test_spread_by_hand():
    assert spread(REPLACE, 4, 3) == pytest.approx([3 / 4, 9 / 16, 27 / 64])
    assert spread(ACCUMULATE, 4, 2) == pytest.approx([3 / 4, 3 / 4 * 15 / 16])
    assert spread(MIX, 4, 2) == pytest.approx([3 / 4, 3 / 4 * 15 / 16])  # after two fits there is no difference
    # 4 of the 8 rows: the pool's 45/64, less 1/7 of it
    assert spread(SUBSAMPLE, 4, 2) == pytest.approx([3 / 4, 45 / 64 * 6 / 7])
    assert spread(GROWN, 4, 3) == pytest.approx([3 / 4, 3 / 4 * 7 / 8, 3 / 4 * 7 / 8 * 11 / 12])
    # two rows of each: two of the same set differ by 1 and 3/4, none is the other but by chance, 1 - 1/2; across 3/4
    assert spread(UNIFORM, 4, 2) == pytest.approx([3 / 4, 1 / 4 * (1 / 2 + 3 / 8) + 1 / 2 * 3 / 4])
    assert spread(DataPolicy("recent", recent=1), 4, 3) == pytest.approx(spread(REPLACE, 4, 3))


@given(rows=st.integers(2, 300), lam=st.floats(0.05, 20), recent=st.integers(1, 12), n=st.integers(1, 12))
def test_the_recursion_over_pairs_of_rows_has_the_closed_forms(rows: int, lam: float, recent: int, n: int):
    for policy in (REPLACE, GROWN, ACCUMULATE, SUBSAMPLE, DataPolicy("mix", lam), DataPolicy("recent", recent=1)):
        assert paired_spread(policy, rows, n) == pytest.approx(spread(policy, rows, n))
    last, every = spread(DataPolicy("recent", recent=recent), rows, n), spread(UNIFORM, rows, n)
    assert last[:recent] == pytest.approx(every[:recent])  # until the real data are too old


def test_the_latest_few_only_delay_the_collapse_and_all_generations_level_it_off():
    last, every = spread(RECENT, 100, 400), spread(UNIFORM, 100, 400)
    assert last[-1] < 0.3 < spread(REPLACE, 100, 400)[-1] + 0.3 < 0.35
    rate = -np.diff(np.log(last))[-1]
    assert rate == pytest.approx(-np.diff(np.log(last))[100], rel=1e-6) and rate > 1e-3  # for ever, at one rate
    assert -np.diff(np.log(every))[-1] < rate / 10


@given(rows=st.integers(2, 200), lam=st.floats(0.05, 20), n=st.integers(2, 30))
def test_mixing_is_seddiks_partly_synthetic_case(rows: int, lam: float, n: int):
    policy = DataPolicy("mix", lam)
    found, alpha, draws = spread(policy, rows, n), lam / (1 + lam), policy.asked(rows)
    b = alpha**2 * (1 - 1 / draws)
    lost = alpha**2 / draws * (1 - b ** np.arange(n)) / (1 - b)  # E||p^(m) - p^(1)||^2 over 1 - S_1
    assert found == pytest.approx((1 - 1 / rows) * (1 - lost))


@given(rows=st.integers(2, 500))
def test_the_more_real_data_stay_the_less_is_lost(rows: int):
    lost = {policy.kind: spread(policy, rows, 12) for policy in ALL}
    for curve in lost.values():
        assert (np.diff(curve) <= 1e-15).all() and (curve > 0).all()
    assert (lost["replace"] <= lost["accumulate_subsample"] + 1e-15).all()
    assert (lost["accumulate_subsample"] <= lost["accumulate"] + 1e-15).all()
    assert (lost["accumulate"] <= lost["mix"] + 1e-15).all()


MODELS = {
    "linear": (LinearModel(4, 20), 3_000),
    "linear, fresh rows": (LinearModel(3, 12, fresh=True), 3_000),
    "Gaussian": (GaussianModel(20), 8_000),
    "kernels": (KernelModel(10, 0.4), 5_000),
    "tokens": (CategoricalModel(6, 8), 8_000),
    "two tokens, two rows": (CategoricalModel(2, 2), 8_000),
}


@pytest.mark.parametrize(("model", "repetitions"), MODELS.values(), ids=MODELS)
def test_simulation_is_over_the_exact_curves(model: ToyModel, repetitions: int):
    found = curves(model, [*ALL[:-1], DataPolicy("mix", 2.0), GROWN, RECENT, UNIFORM], 7, repetitions, seed=11)
    largest = largest_z(found)
    assert largest is not None and largest < LIMIT


@pytest.mark.parametrize("lam", [0.4, 1.7])
def test_any_lam_is_exact_where_sets_are_not_rows_of_a_design(lam: float):
    for model in (GaussianModel(7), CategoricalModel(5, 9)):
        largest = largest_z(curves(model, [DataPolicy("mix", lam)], 6, 8_000, seed=5))
        assert largest is not None and largest < LIMIT


def test_kernels_by_hand():
    model = KernelModel(10, 0.5)
    assert model.exact(REPLACE, 3) == pytest.approx([1.15, 0.9 * 1.15 + 0.25, 0.9 * (0.9 * 1.15 + 0.25) + 0.25])
    assert model.exact(REPLACE, 500)[-1] == pytest.approx(0.25 * 10)  # where a fit gains what it loses
    for policy in ALL:
        assert KernelModel(10, 0.0).exact(policy, 5) == pytest.approx(GaussianModel(10).exact(policy, 5))


def wrong_curves():
    linear, tokens = LinearModel(4, 20), CategoricalModel(6, 8)
    n = np.arange(1, 8)
    return {
        "accumulate, 1/i for 1/i^2": (linear, ACCUMULATE, np.cumsum(1 / n)),
        "accumulate, one fit late": (linear, ACCUMULATE, np.cumsum(1 / (n + 1.0) ** 2)),
        "replace, one fit late": (linear, REPLACE, n - 1.0),
        "replace, v of T - d": (linear, REPLACE, n * 15 / 16),
        "tokens, one fit late": (tokens, REPLACE, tokens.exact(REPLACE, 8)[1:]),  # pyright: ignore
        "tokens, mix with alpha for its square": (tokens, MIX, 0.7 * (1 - 1 / 8) * (1 - 0.5 / 8 * n)),
        "tokens, subsample as accumulate": (tokens, SUBSAMPLE, tokens.exact(ACCUMULATE, 7)),
        "tokens, uniform as the subsample": (tokens, UNIFORM, tokens.exact(SUBSAMPLE, 7)),
        "tokens, recent as uniform": (tokens, RECENT, tokens.exact(UNIFORM, 7)),
        "kernels, without their noise": (KernelModel(10, 0.4), MIX, spread(MIX, 10, 7) + 0.16),
        "linear, a grown set as one of the same size": (linear, GROWN, n.astype(float)),
    }


@pytest.mark.parametrize(("model", "policy", "wrong"), wrong_curves().values(), ids=wrong_curves())
def test_a_wrong_formula_shows(model: ToyModel, policy: DataPolicy, wrong: np.ndarray):
    largest = largest_z(curves(Off(model, lambda *_: wrong), [policy], 7, 3_000, seed=11))
    assert largest is not None and largest > 5


def test_z_is_standard_normal_over_seeds():
    z = [curves(GaussianModel(20), [REPLACE], 1, 400, seed)[0].points[0].z for seed in range(300)]
    assert np.mean(z) == pytest.approx(0, abs=0.2) and np.std(z) == pytest.approx(1, abs=0.15)  # pyright: ignore


def test_the_drift_and_the_variance_of_a_gaussian_add_up_to_one():
    for curve in curves(GaussianModel(5), ALL, 6, 6_000, seed=8):
        for point in curve.points:
            assert point.exact is not None and point.exact + point.extra["drift_squared_exact"] == pytest.approx(1)
            assert point.extra["drift_squared"] == pytest.approx(point.extra["drift_squared_exact"], abs=0.06)


def test_tokens_are_lost_for_good_by_replacing_and_never_beside_real_rows():
    left = {
        curve.policy.kind: [point.extra["tokens_left"] for point in curve.points]
        for curve in curves(CategoricalModel(6, 8), ALL, 8, 500, seed=1)
    }
    assert (np.diff(left["replace"]) < 0).all() and left["replace"][-1] < 2.5
    assert np.ptp(left["accumulate"]) == 0 == np.ptp(left["mix"])


def test_curated_tokens_have_no_closed_form_and_follow_the_operator_when_rows_are_many():
    model = CategoricalModel(6, 3_000, k=3, gamma=2.0)
    for curve in curves(model, [REPLACE, MIX, ACCUMULATE], 4, 60, seed=1):
        assert all(point.exact is None for point in curve.points)
        endless = [point.extra["endless_rows"] for point in curve.points]
        assert [point.simulated for point in curve.points] == pytest.approx(endless, abs=0.003)
        assert endless[1] > endless[0], "the rarest are liked best"


@settings(max_examples=15, deadline=None)
@given(kind=st.sampled_from(POLICY_KINDS), seed=st.integers(0, 2**32), n=st.integers(1, 5))
def test_a_seed_gives_the_same_whatever_other_policies_there_are(kind, seed: int, n: int):
    model, policy = CategoricalModel(4, 5), DataPolicy(kind)
    alone = curves(model, [policy], n, 20, seed)
    beside = curves(model, ALL if policy in ALL else [policy], n, 20, seed)
    assert alone[0] in beside


def test_blocks_cover_all_repetitions(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("loop.theory.toy_models.BLOCK", 5_000)
    told: list[float] = []
    found = curves(LinearModel(3, 20), ALL, 3, 2_001, seed=6, on_progress=told.append)
    assert largest_z(found) < LIMIT  # pyright: ignore[reportOptionalOperand]
    assert told == sorted(told) and told[-1] == pytest.approx(1) and len(told) > 100


@pytest.mark.parametrize(
    "make",
    [
        lambda: LinearModel(10, 13),
        lambda: LinearModel(0, 20),
        lambda: GaussianModel(1),
        lambda: CategoricalModel(1, 5),
        lambda: CategoricalModel(5, 5, k=0),
        lambda: CategoricalModel(5, 5, gamma=math.nan),
        lambda: curves(GaussianModel(), ALL, 0, 100, 0),
        lambda: curves(GaussianModel(), ALL, 3, 1, 0),
        lambda: curves(GaussianModel(), ALL, 3, 100, -1),
        lambda: curves(GaussianModel(), [MIX, MIX], 3, 100, 0),
        lambda: curves(LinearModel(8, 12), [SUBSAMPLE], 40, 50, 0),
    ],
)
def test_sizes_out_of_range_are_errors(make):
    with pytest.raises(ValueError, match=r"between|seed|once|coefficients"):
        make()


def test_mean_standard_error_and_z():
    assert mean_and_se(np.array([1.0, 3.0])) == (2.0, 1.0)
    assert z_score(3.0, 1.5) == 2.0 and z_score(0.0, 0.0) is None and z_score(1e-17, 1e-17, scale=1.0) is None


LAWS = np.array([[0.5, 0.3, 0.2, 0.0], [0.25, 0.25, 0.25, 0.25], [0.0, 0.9, 0.05, 0.05], [0.0, 0.0, 1.0, 0.0]])


def test_contexts_by_hand():
    model = ContextModel(LAWS, rows=20)
    s0 = float((LAWS**2).sum(axis=1).mean())
    assert model.exact(REPLACE, 3) == pytest.approx([1 - (1 - 1 / 20) ** m * (1 - s0) for m in (1, 2, 3)])
    first = model.exact(MIX, 6)[0]
    b = 0.25 * (1 - 1 / 20)  # alpha = 1/2, n = N = 20
    expected = 0.25 * (1 - first) / 20 * (1 - b ** np.arange(6)) / (1 - b)
    assert model.beside(MIX, 6)["l2_squared_exact"] == pytest.approx(expected)
    with pytest.raises(ValueError, match="adds up to 1"):
        ContextModel(LAWS[:, :2])


@pytest.mark.parametrize("policy", [*ALL, GROWN, RECENT, UNIFORM], ids=str)
def test_each_context_loses_what_theory_says(policy: DataPolicy):
    model = ContextModel(LAWS, rows=12)
    points = curves(model, [policy], 6, 2_500, seed=9)[0].points
    steps = simulate_in_blocks(model, policy, 6, 2_500, 9, lambda share: None)
    band = 3.9  # of both curves at six fits and all policies: 99% at once, by Bonferroni
    assert max(abs(point.z) for point in points if point.z is not None) < band
    for point, l2 in zip(points[1:], steps[1:, 1], strict=True):
        exact, error = point.extra["l2_squared_exact"], l2.std(ddof=1) / math.sqrt(len(l2))
        assert abs(l2.mean() - exact) < band * error + 1e-15
        assert point.extra["l1"] <= point.extra["l1_bound"]


def test_an_n_gram_model_gives_the_laws_of_the_control():
    corpus = load_corpus(characters=60_000)
    vocabulary = Characters.of(corpus)
    model = Ngram(len(vocabulary), order=3).fit(windows(vocabulary.encode(corpus.train), 200))
    contexts = windows(vocabulary.encode(corpus.held_out), 2, 50, np.random.default_rng(0))
    control = ContextModel(model.next_laws(contexts), rows=30)
    largest = largest_z(curves(control, [REPLACE, ACCUMULATE], 5, 60, seed=2))
    assert largest is not None and largest < LIMIT
