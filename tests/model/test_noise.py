"""A sample's noise and the seeds of a study."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from model.sampling import derive_seed, derive_seeds, noise

seeds = st.integers(0, 2**63 - 1)


@given(st.lists(seeds, min_size=1, max_size=8), st.lists(seeds, max_size=8), st.randoms(use_true_random=False))
def test_a_seeds_noise_is_the_same_in_any_company_and_order(own: list[int], others: list[int], order):
    company = own + others
    order.shuffle(company)
    together = noise(np.array(company), (3, 2)).numpy()
    for seed in own:
        np.testing.assert_array_equal(together[company.index(seed)], noise(np.array([seed]), (3, 2)).numpy()[0])


@given(seeds, seeds)
def test_different_seeds_give_different_noise(a: int, b: int):
    assert (a == b) == bool((noise(np.array([a]), (4,)) == noise(np.array([b]), (4,))).all())


@pytest.mark.parametrize("start", [0, 2**62])
def test_noise_is_standard_normal_across_neighbouring_seeds(start: int):
    x0 = noise(start + np.arange(20_000), (2,)).numpy()
    assert x0.dtype == np.float32
    for coordinate in x0.T:
        assert kstest(coordinate, "norm").pvalue > 0.001
    assert abs(np.corrcoef(x0.T)[0, 1]) < 4 / np.sqrt(len(x0))
    assert abs(np.corrcoef(x0[:-1, 0], x0[1:, 0])[0, 1]) < 4 / np.sqrt(len(x0))


def test_negative_seeds_are_refused():
    with pytest.raises(ValueError):
        noise(np.array([-1]), (2,))


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5))
def test_derived_seeds_are_fixed_by_their_path_and_in_range(path: list[int]):
    assert derive_seed(*path) == derive_seed(*path)
    assert 0 <= derive_seed(*path) < 2**63
    several = derive_seeds(5, *path)
    assert several.dtype == np.int64 and several.min() >= 0
    np.testing.assert_array_equal(several[:3], derive_seeds(3, *path))


def test_derived_seeds_of_the_loops_paths_never_collide():
    paths = [(seed, t, stream, i, last) for seed in range(3) for t in range(4) for stream in range(1, 7)
             for i in range(5) for last in (1, 2)]  # fmt: skip
    assert len({derive_seed(*path) for path in paths}) == len(paths)
    assert len(np.unique(np.concatenate([derive_seeds(50, *path) for path in paths]))) == 50 * len(paths)
