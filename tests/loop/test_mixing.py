"""The training mix: shares, counts, and whose samples they are."""

import math

import numpy as np
import pytest
import torch

from loop.config import DataPolicy
from loop.study import configure
from loop.training_data import TrainingSet, curated_count, real_only

REAL, CURATED = torch.zeros(50, 2), torch.ones(7, 2)


def mix(real: torch.Tensor, curated: torch.Tensor, lam: float) -> TrainingSet:
    policy = DataPolicy("mix", lam)
    return TrainingSet.compose(real, [curated], policy.compose(len(real), [len(curated)]), np.random.default_rng(0))


@pytest.mark.parametrize(("lam", "share"), [(0.5, 1 / 3), (1.0, 0.5), (3.0, 0.75), (math.inf, 1.0)])
def test_the_share_of_curated_samples_is_lam_over_one_plus_lam(lam: float, share: float):
    mixture, rng, n, draws = mix(REAL, CURATED, lam), np.random.default_rng(0), 64, 2_000
    found = np.array([float(mixture.draw(n, rng)[:, 0].sum()) for _ in range(draws)])
    assert found.mean() / n == pytest.approx(share, abs=4 * 0.5 / n / np.sqrt(draws) + 1e-9)
    assert set(found) <= {math.floor(share * n), math.ceil(share * n)}  # rounded, not binomial
    assert mixture.achieved() == pytest.approx((1 - share, share), abs=0.001)


def test_every_datum_comes_up_equally_often_within_its_part_and_in_any_place():
    mixture = mix(torch.arange(5.0)[:, None], 10 + torch.arange(4.0)[:, None], 1.0)
    rng = np.random.default_rng(1)
    drawn = torch.stack([mixture.draw(10, rng)[:, 0] for _ in range(4_000)]).numpy()
    counts = np.array([(drawn == value).sum() for value in (*range(5), *range(10, 14))]) / drawn.size
    np.testing.assert_allclose(counts, [0.1] * 5 + [0.125] * 4, atol=0.01)
    np.testing.assert_allclose((drawn >= 10).mean(0), 0.5, atol=0.05)


def test_pretraining_draws_the_real_data_alone():
    drawn = real_only(torch.arange(6.0)[:, None]).draw(1_000, np.random.default_rng(2))
    assert sorted(set(drawn.flatten().tolist())) == [0, 1, 2, 3, 4, 5]


def test_the_same_generator_state_gives_the_same_batch():
    mixture = mix(torch.randn(30, 2), torch.randn(9, 2), 0.7)
    first, again, other = (mixture.draw(20, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("kind", ["accumulate", "accumulate_subsample"])
def test_accumulated_sets_are_drawn_in_proportion_to_their_rows(kind: str):
    sets, rng = [torch.full((30, 1), 1.0), torch.full((20, 1), 2.0)], np.random.default_rng(3)
    composition = DataPolicy(kind).compose(50, [30, 20], rng)
    mixture = TrainingSet.compose(torch.zeros(50, 1), sets, composition, rng)
    assert [len(part) for part in mixture.parts] == [composition.real, *composition.sets]
    assert sum(map(len, mixture.parts)) == (100 if kind == "accumulate" else 50)
    drawn = np.concatenate([mixture.draw(25, rng)[:, 0].numpy() for _ in range(400)])
    for value, share in enumerate(mixture.shares):
        assert (drawn == value).mean() == pytest.approx(share, abs=0.003)
    assert mixture.achieved() == pytest.approx(mixture.shares, abs=0.003)


def test_a_generator_that_draws_nothing_or_something_else_is_found_out():
    mixture = mix(REAL, CURATED, 1.0)
    with pytest.raises(RuntimeError, match="without drawing"):
        mixture.achieved()
    mixture.draw(64, np.random.default_rng(0))
    mixture.drawn[:] = (64, 0)
    with pytest.raises(RuntimeError, match="asked for"):
        mixture.achieved()


@pytest.mark.parametrize(
    ("parts", "shares", "message"),
    [
        ((REAL, REAL[:0]), (0.5, 0.5), "holds no samples"),
        ((REAL, CURATED), (0.5, 0.6), "adding up"),
        ((REAL,), (0.5, 0.5), "each part"),
    ],
)
def test_shares_without_samples_and_shares_that_are_none_are_refused(parts, shares, message: str):
    with pytest.raises(ValueError, match=message):
        TrainingSet(parts, shares)


@pytest.mark.parametrize(
    ("asked", "lam", "n_real", "count"),
    [(0, 1.0, 300, 300), (0, 0.5, 301, 150), (0, math.inf, 300, 300), (60, 2.0, 300, 60), (0, 1e-9, 300, 1)],
)
def test_how_many_curated_samples_a_generation_asks_for(asked: int, lam: float, n_real: int, count: int):
    config = configure("moons", [f"mix.lam={lam}", f"curation.picks={asked}"])
    assert curated_count(config, n_real) == curated_count(config, n_real, 7) == count


def test_a_grown_set_is_as_large_as_the_accumulated_one():
    grown = configure("moons", ["mix.policy=replace_grown", "curation.picks=0"])
    assert [curated_count(grown, 300, t) for t in (1, 2, 5)] == [600, 900, 1_800]
    fewer = configure("moons", ["mix.policy=replace_grown", "curation.picks=60"])
    assert [curated_count(fewer, 300, t) for t in (1, 2, 5)] == [360, 420, 600]
