"""The training mix: shares, counts, and whose samples they are."""

import math

import numpy as np
import pytest
import torch

from loop.policy import DataPolicy
from loop.study import configure
from loop.training_data import Mixture, curated_count, real_only
from model.interfaces import Rows

REAL, CURATED = torch.zeros(50, 2), torch.ones(7, 2)


def mix(real: torch.Tensor, curated: torch.Tensor, lam: float) -> Mixture:
    policy = DataPolicy("mix", lam)
    return Mixture.compose(
        Rows(real), [Rows(curated)], policy.compose(len(real), [len(curated)]), np.random.default_rng(0)
    )


@pytest.mark.parametrize(("lam", "share"), [(0.5, 1 / 3), (1.0, 0.5), (3.0, 0.75), (math.inf, 1.0)])
def test_the_share_of_curated_samples_is_lam_over_one_plus_lam(lam: float, share: float):
    mixture, rng, n, draws = mix(REAL, CURATED, lam), np.random.default_rng(0), 64, 2_000
    found = np.array([float(mixture.draw(n, rng).x[:, 0].sum()) for _ in range(draws)])
    assert found.mean() / n == pytest.approx(share, abs=4 * 0.5 / n / np.sqrt(draws) + 1e-9)
    assert set(found) <= {math.floor(share * n), math.ceil(share * n)}  # rounded, not binomial
    assert mixture.achieved() == pytest.approx((1 - share, share), abs=0.001)


def test_every_datum_comes_up_equally_often_within_its_part_and_in_any_place():
    mixture = mix(torch.arange(5.0)[:, None], 10 + torch.arange(4.0)[:, None], 1.0)
    rng = np.random.default_rng(1)
    drawn = torch.stack([mixture.draw(10, rng).x[:, 0] for _ in range(4_000)]).numpy()
    counts = np.array([(drawn == value).sum() for value in (*range(5), *range(10, 14))]) / drawn.size
    np.testing.assert_allclose(counts, [0.1] * 5 + [0.125] * 4, atol=0.01)
    np.testing.assert_allclose((drawn >= 10).mean(0), 0.5, atol=0.05)


def test_pretraining_draws_the_real_data_alone():
    drawn = real_only(torch.arange(6.0)[:, None]).draw(1_000, np.random.default_rng(2))
    assert sorted(set(drawn.x.flatten().tolist())) == [0, 1, 2, 3, 4, 5]


def test_the_same_generator_state_gives_the_same_batch():
    mixture = mix(torch.randn(30, 2), torch.randn(9, 2), 0.7)
    first, again, other = (mixture.draw(20, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.x, again.x) and not torch.equal(first.x, other.x)


@pytest.mark.parametrize("kind", ["accumulate", "accumulate_subsample"])
def test_accumulated_sets_are_drawn_in_proportion_to_their_rows(kind: str):
    sets, rng = [torch.full((30, 1), 1.0), torch.full((20, 1), 2.0)], np.random.default_rng(3)
    composition = DataPolicy(kind).compose(50, [30, 20], rng)
    mixture = Mixture.compose(Rows(torch.zeros(50, 1)), [Rows(x) for x in sets], composition, rng)
    assert [len(part) for part in mixture.parts] == [composition.real, *composition.sets]
    assert sum(map(len, mixture.parts)) == (100 if kind == "accumulate" else 50)
    drawn = np.concatenate([mixture.draw(25, rng).x[:, 0].numpy() for _ in range(400)])
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
        Mixture(tuple(map(Rows, parts)), shares)


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


def test_the_curated_rows_of_several_sets_are_joined_with_the_weights_of_their_shares():
    sets = [Rows(torch.full((3, 1), 1.0)), Rows(torch.full((2, 1), 2.0), weights=np.array([1.0, 3.0]))]
    mixture = Mixture((Rows(torch.zeros(4, 1)), *sets), (0.5, 0.3, 0.2))
    assert mixture.real_share == 0.5 and mixture.curated.x.flatten().tolist() == [1, 1, 1, 2, 2]
    weights = mixture.curated.weights
    assert weights is not None
    np.testing.assert_allclose(weights, [0.1, 0.1, 0.1, 0.05, 0.15])
    assert len(real_only(torch.zeros(4, 1)).curated) == 0
    assert mixture.achieved() == mixture.shares  # by a learner of its own


def test_rows_are_drawn_by_their_weights_and_keep_their_conditions():
    rows = Rows(torch.arange(4.0)[:, None], torch.tensor([0, 1, 0, 1]), np.array([1.0, 2.0, 3.0, 4.0]))
    mixture = Mixture((rows,), (1.0,))
    drawn = mixture.draw(40_000, np.random.default_rng(5))
    assert drawn.conditions is not None and torch.equal(drawn.conditions, drawn.x[:, 0].long() % 2)
    np.testing.assert_allclose(np.bincount(drawn.x[:, 0].long()) / 40_000, [0.1, 0.2, 0.3, 0.4], atol=0.01)
