"""The pairing of noise and data against brute force."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.training import pair


def batch(n: int, shape: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = np.random.default_rng([n, seed]).standard_normal((2, n, *shape)).astype(np.float32)
    return torch.from_numpy(drawn[0]), torch.from_numpy(drawn[1])


def cost(x0: torch.Tensor, x1: torch.Tensor) -> float:
    return float((x0.double() - x1.double()).square().sum())


def rows(x: torch.Tensor) -> list[list[float]]:
    return sorted(x.flatten(1).tolist())


@given(st.integers(1, 6), st.sampled_from([(1,), (2,), (1, 2, 2)]), st.integers(0, 10_000))
def test_the_cost_is_the_least_over_all_permutations(n: int, shape: tuple[int, ...], seed: int):
    x0, x1 = batch(n, shape, seed)
    least = min(cost(x0, x1[list(order)]) for order in permutations(range(n)))
    assert cost(x0, pair(x0, x1, n)) == pytest.approx(least, rel=1e-5)


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 10_000))
def test_pairing_reorders_the_data_within_each_group(n: int, group: int, seed: int):
    x0, x1 = batch(n, (2,), seed)
    paired = pair(x0, x1, group)
    for start in range(0, n, group):
        assert rows(paired[start : start + group]) == rows(x1[start : start + group])
    assert cost(x0, paired) <= cost(x0, x1) + 1e-4


def test_each_group_is_paired_as_if_alone():
    x0, x1 = batch(10, (3,), seed=1)
    parts = [pair(x0[start : start + 4], x1[start : start + 4], 4) for start in (0, 4, 8)]
    torch.testing.assert_close(pair(x0, x1, 4), torch.cat(parts), rtol=0, atol=0)
    assert cost(x0, pair(x0, x1, 10)) < cost(x0, pair(x0, x1, 4))


def test_in_one_dimension_pairs_are_sorted_alike():
    x0, x1 = batch(200, (1,), seed=2)
    assert torch.equal(pair(x0, x1, 200).flatten().argsort(), x0.flatten().argsort())


def test_batches_of_different_sizes_are_refused():
    with pytest.raises((ValueError, RuntimeError)):
        pair(torch.zeros(5, 2), torch.zeros(9, 2), 4)
