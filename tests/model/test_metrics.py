"""Nearest neighbours against the full matrix of distances."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.judging.fidelity import nearest_distances, nearest_ratio, typical_spacing


def points(n: int, seed: int, shape: tuple[int, ...] = (2,)) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, *shape)).astype(np.float32))


@given(st.integers(1, 20), st.integers(2, 20), st.integers(1, 9), st.integers(0, 1000))
def test_distances_are_the_smallest_of_all_whatever_the_chunk(n: int, m: int, chunk: int, seed: int):
    x, reference = points(n, seed, (1, 2, 2)), points(m, seed + 1, (1, 2, 2))
    full = (x[:, None] - reference[None]).flatten(2).norm(dim=2)
    torch.testing.assert_close(nearest_distances(x, reference, chunk=chunk), full.amin(1), rtol=1e-3, atol=1e-3)
    own = (reference[:, None] - reference[None]).flatten(2).norm(dim=2).fill_diagonal_(torch.inf)
    some = torch.arange(m)[seed % 2 :: 2]
    found = nearest_distances(reference[some], reference, own=some, chunk=chunk)
    torch.testing.assert_close(found, own.amin(1)[some], rtol=1e-3, atol=1e-3)


def test_the_spacing_of_a_grid_is_its_step():
    grid = torch.cartesian_prod(torch.arange(6.0), torch.arange(5.0)) * 0.25
    assert typical_spacing(grid) == pytest.approx(0.25)
    assert typical_spacing(grid, limit=3) == pytest.approx(0.25)


def test_the_spacing_of_a_few_is_to_any_other_and_the_few_are_from_all_classes():
    one, other = torch.arange(30.0)[:, None], 1_000 + 3 * torch.arange(31.0)[:, None]
    assert typical_spacing(torch.cat([one, other]), limit=10) == pytest.approx(3)
    assert typical_spacing(torch.cat([other, one]), limit=10) == pytest.approx(3)


def test_copies_have_ratio_zero_and_fresh_draws_about_one():
    real, fresh = points(2_000, 0), points(500, 1)
    spacing = typical_spacing(real)
    assert nearest_ratio(real[:100], real, spacing) == pytest.approx(0, abs=1e-3)
    assert nearest_ratio(fresh, real, spacing) == pytest.approx(1, abs=0.15)
    assert nearest_ratio(fresh + 50, real, spacing) > 100
