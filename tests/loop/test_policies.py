"""What a training set is made of: asked against achieved, shares, chance, and errors."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.policy import POLICY_KINDS, Composition, DataPolicy

SETS = [40, 60, 50]


def policies() -> st.SearchStrategy[DataPolicy]:
    lams = st.one_of(st.floats(0.01, 100), st.just(math.inf))
    return st.builds(DataPolicy, st.sampled_from(POLICY_KINDS), lams, st.integers(1, 8))


@pytest.mark.parametrize(
    ("policy", "asked", "made"),
    [
        (DataPolicy("replace"), 100, Composition(0, (0, 0, 50), 0.0, (0.0, 0.0, 1.0))),
        (DataPolicy("mix", math.inf), 100, Composition(0, (0, 0, 50), 0.0, (0.0, 0.0, 1.0))),
        (DataPolicy("accumulate"), 100, Composition(100, (40, 60, 50), 0.4, (0.16, 0.24, 0.2))),
        (DataPolicy("mix", 1.0), 100, Composition(100, (0, 0, 50), 0.5, (0.0, 0.0, 0.5))),
        (DataPolicy("mix", 0.25), 25, Composition(100, (0, 0, 50), 0.8, (0.0, 0.0, 0.2))),
        (DataPolicy("mix", 3.0), 300, Composition(100, (0, 0, 50), 0.25, (0.0, 0.0, 0.75))),
        (DataPolicy("replace_grown"), 200, Composition(0, (0, 0, 50), 0.0, (0.0, 0.0, 1.0))),
        (DataPolicy("recent", recent=1), 100, Composition(0, (0, 0, 50), 0.0, (0.0, 0.0, 1.0))),
        (DataPolicy("recent", recent=2), 100, Composition(0, (0, 50, 50), 0.0, (0.0, 0.5, 0.5))),
        (DataPolicy("recent", recent=3), 100, Composition(0, (34, 34, 34), 0.0, (1 / 3, 1 / 3, 1 / 3))),
        (DataPolicy("recent", recent=9), 100, Composition(25, (25, 25, 25), 0.25, (0.25, 0.25, 0.25))),
        (DataPolicy("uniform"), 100, Composition(25, (25, 25, 25), 0.25, (0.25, 0.25, 0.25))),
    ],
    ids=str,
)
def test_what_each_policy_asks_for_and_makes(policy: DataPolicy, asked: int, made: Composition):
    assert policy.asked(100) == asked
    found = policy.compose(100, SETS)
    assert (found.real, found.sets) == (made.real, made.sets)
    assert (found.real_share, *found.set_shares) == pytest.approx((made.real_share, *made.set_shares))


def test_a_subsample_has_as_many_rows_as_real_ones_and_its_mean_is_the_pools():
    policy, rng = DataPolicy("accumulate_subsample"), np.random.default_rng(3)
    drawn = [policy.compose(100, SETS, rng) for _ in range(4_000)]
    rows = np.array([(one.real, *one.sets) for one in drawn])
    assert (rows.sum(axis=1) == 100).all()
    shares = np.array([(one.real_share, *one.set_shares) for one in drawn])
    assert shares == pytest.approx(rows / 100)
    real_share, set_shares = policy.shares(100, SETS)
    expected = np.array([real_share, *set_shares])
    spread = np.sqrt(expected * (1 - expected) * (250 - 100) / (250 - 1) / 100)  # without replacement
    assert (np.abs(shares.mean(axis=0) - expected) < 4 * spread / math.sqrt(4_000)).all()
    assert shares.std(axis=0) == pytest.approx(spread, rel=0.05)


@given(
    policy=policies(),
    n_real=st.integers(1, 2_000),
    sizes=st.lists(st.integers(0, 500), max_size=6),
    latest=st.integers(1, 500),
    seed=st.integers(0, 2**32 - 1),
)
def test_shares_add_up_and_no_more_rows_are_taken_than_there_are(
    policy: DataPolicy, n_real: int, sizes: list[int], latest: int, seed: int
):
    sizes = [*sizes, latest]
    found = policy.compose(n_real, sizes, np.random.default_rng(seed))
    for real_share, set_shares in (policy.shares(n_real, sizes), (found.real_share, found.set_shares)):
        assert real_share + sum(set_shares) == pytest.approx(1)
        assert min(real_share, *set_shares) >= 0 and len(set_shares) == len(sizes)
    assert 0 <= found.real <= n_real
    assert all(0 <= taken <= size for taken, size in zip(found.sets, sizes, strict=True))
    assert (found.real > 0) == (found.real_share > 0)
    assert all((taken > 0) == (share > 0) for taken, share in zip(found.sets, found.set_shares, strict=True))
    assert policy.uses_real or found.real == 0
    assert policy.accumulates or set(found.sets[:-1]) <= {0}


@given(policy=policies(), n_real=st.integers(1, 10_000))
def test_sets_of_the_size_asked_for_bring_the_share_asked_for(policy: DataPolicy, n_real: int):
    asked = policy.asked(n_real)
    assert asked >= 1
    if policy.is_mixed:  # whole rows: half a row off at the most
        assert asked == 1 or abs(asked - policy.lam * n_real) <= 0.5 + 1e-9 * asked
    elif policy.kind == "replace_grown":  # as accumulate's training set
        assert [policy.asked(n_real, t) for t in (1, 2, 9)] == [2 * n_real, 3 * n_real, 10 * n_real]
    else:
        assert asked == policy.asked(n_real, 7) == n_real
    assert policy.sizes(n_real, 2) == [asked, policy.asked(n_real, 2)]


def test_a_set_with_too_few_rows_keeps_its_share_and_an_empty_one_is_passed_over():
    recent = DataPolicy("recent", recent=2).compose(100, [40, 0, 7])
    assert (recent.real, recent.sets, recent.set_shares) == (0, (40, 0, 7), (0.5, 0.0, 0.5))
    uniform = DataPolicy("uniform").compose(90, [0, 7])
    assert (uniform.real, uniform.sets, uniform.real_share) == (45, (0, 7), 0.5)


@given(policy=policies())
def test_each_policy_is_pure_or_mixed_or_accumulates(policy: DataPolicy):
    assert [policy.is_pure, policy.is_mixed, policy.accumulates].count(True) == 1
    assert policy.uses_real is not policy.is_pure
    assert not policy.is_random or policy.accumulates


def test_chance_is_the_generators_own():
    policy = DataPolicy("accumulate_subsample")
    made = [policy.compose(100, SETS, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
    random = [kind for kind in POLICY_KINDS if DataPolicy(kind).is_random]
    assert random == ["accumulate_subsample", "recent", "uniform"]


@pytest.mark.parametrize("kind", POLICY_KINDS)
@pytest.mark.parametrize("sizes", [[], [0], [5, 0]], ids=str)
def test_a_training_set_needs_the_latest_samples(kind, sizes: list[int]):
    with pytest.raises(ValueError, match="latest generation's samples"):
        DataPolicy(kind).compose(10, sizes, np.random.default_rng(0))


def test_a_subsample_needs_a_generator_of_random_numbers():
    with pytest.raises(ValueError, match="generator of random numbers"):
        DataPolicy("accumulate_subsample").compose(10, [5])


@pytest.mark.parametrize("lam", [0.0, -1.0, math.nan])
def test_lam_is_above_zero(lam: float):
    with pytest.raises(ValueError, match="lam must be above 0"):
        DataPolicy("mix", lam)


def test_there_is_a_latest_generation():
    with pytest.raises(ValueError, match="recent must be 1"):
        DataPolicy("recent", recent=0)


def test_an_unknown_policy_is_told_with_those_there_are():
    with pytest.raises(ValueError, match=r"'hoard'.*mix, replace, accumulate, accumulate_subsample"):
        DataPolicy("hoard")  # pyright: ignore[reportArgumentType]
