"""What moved most between generations: numbers on lines and circles of known movement, chance, and classes."""

import numpy as np
import pytest

from data.designs import Factor, to_points
from data.flowers import FACTORS, draw_flowers
from data.measurements import Measurements
from data.records import Evaluated, Generation
from loop.analysis.movement import Move, most_changed_class, moved_most

LINE, HUE = Factor("petals", 4, 16, "fewer petals", "more petals"), FACTORS[5]


def evaluated(points: np.ndarray) -> Evaluated:
    n = len(points)
    return Evaluated(0, np.zeros((1, n)), np.zeros(n, dtype=np.int32), points.astype(np.float32))


def designs(petals: np.ndarray, hue: np.ndarray) -> Evaluated:
    return evaluated(to_points((LINE, HUE), np.stack([petals, hue % 1.0], axis=1)))


def moved(before: Evaluated, after: Evaluated) -> Move:
    move = moved_most(before, after, (LINE, HUE))
    assert move is not None
    return move


def test_a_number_on_a_line_is_given_by_its_means():
    rng = np.random.default_rng(0)
    petals, hue = rng.uniform(4, 12, 2_000), rng.uniform(size=2_000)
    more = moved(designs(petals, hue), designs(petals + 1.2, hue))
    assert (more.way, more.words, more.digits) == ("line", "more petals", 1)
    assert more.after - more.before == pytest.approx(1.2, abs=1e-4)
    fewer = moved(designs(petals + 1.2, hue), designs(petals, hue))
    assert fewer.words == "fewer petals" and fewer.effect < 0


@pytest.mark.parametrize("start", [0.0, 0.95, 0.4])
def test_a_circle_is_gone_round_the_shorter_way(start: float):
    """Hues about `start` move on by an eighth of a turn, also over the place where the circle comes round."""
    rng = np.random.default_rng(1)
    petals, hue = rng.uniform(4, 12, 2_000), start + 0.03 * rng.standard_normal(2_000)
    move = moved(designs(petals, hue), designs(petals, hue + 0.125))
    assert (move.way, move.name) == ("toward", "hue")
    assert move.before - move.after == pytest.approx(0.12, abs=0.02)
    place = HUE.more.split().index(move.words) / 12
    assert abs((place - start - 0.125 + 0.5) % 1 - 0.5) < 0.1


def test_hues_from_everywhere_gather_and_scatter():
    rng = np.random.default_rng(2)
    petals, everywhere, blue = (
        rng.uniform(4, 12, 2_000),
        rng.uniform(size=2_000),
        2 / 3 + 0.05 * rng.standard_normal(2_000),
    )
    gathered = moved(designs(petals, everywhere), designs(petals, blue))
    assert (gathered.way, gathered.words) == ("toward", "blue")
    assert gathered.before == pytest.approx(0.25, abs=0.01) and gathered.after < 0.06
    scattered = moved(designs(petals, blue), designs(petals, everywhere))
    assert (scattered.way, scattered.words) == ("away", "blue")
    assert scattered.after - scattered.before == pytest.approx(0.21, abs=0.02)


def test_chance_moves_nothing():
    """Of 200 pairs of samples of one law, 14 numbers each, at most a few seem to move."""
    seen = 0
    for seed in range(200):
        rng = np.random.default_rng([3, seed])
        before, after = (evaluated(draw_flowers(300, rng)[0]) for _ in range(2))
        seen += moved_most(before, after, FACTORS) is not None
    assert seen / 200 < 0.1


def test_the_class_that_moved_most_may_have_shrunk():
    def generation(t: int, *shares: float) -> Generation:
        names = ("cat", "dog", "owl")
        return Generation(t, None, "", "", 0, 0, "", measurements=Measurements(class_shares=shares, class_names=names))

    move = most_changed_class(generation(0, 0.2, 0.5, 0.3), generation(1, 0.35, 0.3, 0.35))
    assert move is not None and (move.way, move.name, move.before, move.after) == ("share", "dog", 0.5, 0.3)
    assert most_changed_class(generation(0, 0.2, 0.5, 0.3), generation(1, 0.205, 0.495, 0.3)) is None
    assert most_changed_class(generation(0), generation(1)) is None
