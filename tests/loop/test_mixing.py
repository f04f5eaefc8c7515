"""The training mix: shares, counts, and whose samples they are."""

import math

import numpy as np
import pytest
import torch

from loop.mixing import Mixture, curated_count, real_only

REAL, CURATED = torch.zeros(50, 2), torch.ones(7, 2)


@pytest.mark.parametrize(("lam", "share"), [(0.5, 1 / 3), (1.0, 0.5), (3.0, 0.75), (math.inf, 1.0)])
def test_the_share_of_curated_samples_is_lam_over_one_plus_lam(lam: float, share: float):
    mixture, rng, n, draws = Mixture(REAL, CURATED, lam), np.random.default_rng(0), 64, 2_000
    assert mixture.curated_share == pytest.approx(share)
    found = np.array([float(mixture.draw(n, rng)[:, 0].sum()) for _ in range(draws)])
    assert found.mean() / n == pytest.approx(share, abs=4 * 0.5 / n / np.sqrt(draws) + 1e-9)
    assert set(found) <= {math.floor(share * n), math.ceil(share * n)}  # rounded, not binomial


def test_every_datum_comes_up_equally_often_within_its_part_and_in_any_place():
    mixture = Mixture(torch.arange(5.0)[:, None], 10 + torch.arange(4.0)[:, None], 1.0)
    rng = np.random.default_rng(1)
    drawn = torch.stack([mixture.draw(10, rng)[:, 0] for _ in range(4_000)]).numpy()
    counts = np.array([(drawn == value).sum() for value in (*range(5), *range(10, 14))]) / drawn.size
    np.testing.assert_allclose(counts, [0.1] * 5 + [0.125] * 4, atol=0.01)
    np.testing.assert_allclose((drawn >= 10).mean(0), 0.5, atol=0.05)


def test_pretraining_draws_the_real_data_alone():
    drawn = real_only(torch.arange(6.0)[:, None]).draw(1_000, np.random.default_rng(2))
    assert sorted(set(drawn.flatten().tolist())) == [0, 1, 2, 3, 4, 5]


def test_the_same_generator_state_gives_the_same_batch():
    mixture = Mixture(torch.randn(30, 2), torch.randn(9, 2), 0.7)
    first, again, other = (mixture.draw(20, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("lam", [1.0, math.inf, -1.0])
def test_a_mix_without_curated_samples_is_refused(lam: float):
    with pytest.raises(ValueError, match="curated"):
        Mixture(REAL, REAL[:0], lam)


@pytest.mark.parametrize(
    ("asked", "lam", "n_real", "count"),
    [(0, 1.0, 300, 300), (0, 0.5, 301, 150), (0, math.inf, 300, 300), (60, 2.0, 300, 60), (0, 1e-9, 300, 1)],
)
def test_how_many_curated_samples_a_generation_asks_for(asked: int, lam: float, n_real: int, count: int):
    assert curated_count(asked, lam, n_real) == count
