"""A rater's taste: coverage of its intervals, false alarms, separated picks, and predictions better than chance."""

import numpy as np
import pytest

from data.designs import dimension
from data.flowers import FACTORS, draw_flowers
from loop.analysis.log import Slates
from loop.analysis.taste import taste

NAMES = [factor.name for factor in FACTORS]


def shown(n: int, rng: np.random.Generator, weights: dict[int, float], k: int = 4) -> tuple[Slates, np.ndarray]:
    """N slates of K flowers, picked from by Luce's rule with weights on coordinates."""
    x, _ = draw_flowers(n * k, rng)
    b = np.zeros(dimension(FACTORS))
    for place, weight in weights.items():
        b[place] = weight
    utilities = (x @ b).reshape(n, k) + rng.gumbel(size=(n, k))
    return Slates.of_equal_size(k, utilities.argmax(axis=1), np.zeros(n, dtype=np.int64)), x


def test_fewer_than_three_picks_say_nothing():
    slates, x = shown(2, np.random.default_rng(0), {})
    assert taste(slates, x, FACTORS).leanings == ()


def test_a_separated_taste_is_named_with_a_finite_interval():
    rng = np.random.default_rng(1)
    x, _ = draw_flowers(4 * 24, rng)
    blue = np.cos(2 * np.pi * (np.arctan2(x[:, 6], x[:, 5]) / (2 * np.pi) - 0.62))
    slates = Slates.of_equal_size(4, blue.reshape(24, 4).argmax(axis=1), np.zeros(24, dtype=np.int64))
    found = taste(slates, x, FACTORS)
    first = found.leanings[0]
    assert first.name == "hue" and first.words in ("azure", "blue", "violet") and first.is_clear
    assert np.isfinite(first.high)
    assert found.hits > 2 * found.chance


@pytest.mark.parametrize("place", [0, 10])
def test_intervals_cover_and_the_sign_is_right(place: int):
    """Of utilities drawn from the prior, 95% intervals of the posterior hold 95%; here of one number at a time."""
    covered, n = 0, 150
    for seed in range(n):
        rng = np.random.default_rng([2, place, seed])
        x, _ = draw_flowers(4 * 40, rng)
        slates = Slates.of_equal_size(4, np.zeros(40, dtype=np.int64), np.zeros(40, dtype=np.int64))
        centred = slates.centred(x.astype(float))
        z = centred / np.sqrt((centred**2).mean(axis=0))
        b = rng.standard_normal(z.shape[1])
        picked = ((z @ b).reshape(40, 4) + rng.gumbel(size=(40, 4))).argmax(axis=1)
        slates = Slates.of_equal_size(4, picked, np.zeros(40, dtype=np.int64))
        line = {one.name: one for one in taste(slates, x, FACTORS).leanings}[["petals", "centre"][place == 10]]
        factor = FACTORS[NAMES.index(line.name)]
        truth = b[0 if place == 0 else 11] * (1 if line.words == factor.more else -1)
        covered += line.low <= truth <= line.high
    assert covered / n > 0.89  # three standard errors under 95%


def test_picks_at_random_seldom_look_like_a_taste():
    """14 numbers of each of 50 raters: at most about 5% are clear."""
    clear = 0
    for seed in range(50):
        slates, x = shown(24, np.random.default_rng([3, seed]), {})
        clear += sum(one.is_clear for one in taste(slates, x, FACTORS).leanings)
    assert clear / (50 * len(FACTORS)) < 0.08


def test_predictions_of_random_picks_are_chance():
    hits = chance = 0.0
    for seed in range(40):
        slates, x = shown(24, np.random.default_rng([4, seed]), {})
        found = taste(slates, x, FACTORS)
        hits, chance = hits + found.hits, chance + found.chance
    assert abs(hits - chance) < 4 * np.sqrt(chance * 0.75)
