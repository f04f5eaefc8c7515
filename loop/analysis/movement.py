"""Movement between generations: of designs the named number that moved most, of all else the class share that did.

From the samples on which generations were measured, which start from the same noise. Torch-free.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from data.designs import Factor
from data.records import Evaluated, Generation
from data.store import Store
from loop.analysis.taste import direction

LEAST_EFFECT = 0.1  # standard deviations; smaller movement isn't worth words
ERRORS = 3.0  # standard errors that a movement has to exceed
LEAST_SHARE = 0.01  # of the samples: a smaller change of a class is noise on 2,000 of them
PLACES = 72  # on a circle that samples may have moved toward
NEARLY = 0.85  # of the largest fall: the place next to the later mean says it better
SCATTERED = 0.24  # mean distance to a place from which on samples aren't at it; they lie everywhere at 0.25
Way = Literal["line", "toward", "away", "share"]


@dataclass(frozen=True, slots=True)
class Move:
    """The movement of one number from one generation to a later one.

    Attributes:
        way: of a number on a line, toward or away from a place on a circle, or of a class's share.
        name: of the number or the class.
        words: "more petals" of a line, the place of a circle; of a class nothing.
        before: mean in the number's own units; on a circle the mean distance to that place, by the shorter way; of a
            class its share.
        after: the same of the later generation.
        digits: decimals that matter.
        effect: the change in standard deviations within the two generations.
    """

    way: Way
    name: str
    words: str
    before: float
    after: float
    digits: int
    effect: float


def moved_most(before: Evaluated, after: Evaluated, factors: Sequence[Factor]) -> Move | None:
    """The named number of designs that moved most, in standard deviations; None where none moved by more than chance.

    Raises:
        ValueError: samples without points.
    """
    if before.points is None or after.points is None:
        raise ValueError("only samples of designs have named numbers")
    moves, place = [], 0
    for factor in factors:
        width = 2 if factor.circle else 1
        columns = slice(place, place + width)
        measure = turned if factor.circle else shifted
        moves.append(measure(factor, before.points[:, columns], after.points[:, columns]))
        place += width
    most = max(moves, key=lambda move: abs(move.effect))
    chance = ERRORS * np.sqrt(1 / len(before.points) + 1 / len(after.points))
    return most if abs(most.effect) > max(LEAST_EFFECT, chance) else None


def shifted(factor: Factor, before: np.ndarray, after: np.ndarray) -> Move:
    """The movement of a number on a line, from (n, 1) coordinates, which go from -1 to 1."""
    first, second = (np.clip(points[:, 0].astype(float), -1, 1) for points in (before, after))
    effect = float(second.mean() - first.mean()) / spread(first, second)
    words = factor.further if effect > 0 else factor.fewer
    means = [factor.at((float(some.mean()) + 1) / 2) for some in (first, second)]
    return Move("line", factor.name, words, means[0], means[1], digits_of(factor), effect)


def turned(factor: Factor, before: np.ndarray, after: np.ndarray) -> Move:
    """The movement of a number on a circle, from (n, 2) cosines and sines.

    It is the change of the mean distance to a place: of all `PLACES` that to which distances fell most, and of nearly
    equal ones that next to the later mean direction. As much moved away from the opposite place. That is named where
    the later samples lie everywhere.
    """
    shares = np.arange(PLACES) / PLACES
    earlier, later = (distances(points, shares) for points in (before, after))
    falls = earlier.mean(axis=0) - later.mean(axis=0)
    largest = np.flatnonzero(falls >= NEARLY * falls.max())
    way: Way = "toward" if later[:, largest].mean(axis=0).min() < SCATTERED else "away"
    points, opposite = (after, 0.0) if way == "toward" else (before, 0.5)
    unit = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)
    apart = (shares[largest] - direction(unit.mean(axis=0)) - opposite) % 1.0
    place = int(largest[np.minimum(apart, 1 - apart).argmin()])
    effect = float(falls[place]) / spread(earlier[:, place], later[:, place])
    means = float(earlier[:, place].mean()), float(later[:, place].mean())
    if way == "away":
        place, means = (place + PLACES // 2) % PLACES, (0.5 - means[0], 0.5 - means[1])
    span = factor.high - factor.low
    return Move(
        way, factor.name, factor.arc(shares[place]), means[0] * span, means[1] * span, digits_of(factor), effect
    )


def spread(first: np.ndarray, second: np.ndarray) -> float:
    """The standard deviation of two samples about their own means."""
    return max(float(np.sqrt((first.var() + second.var()) / 2)), 1e-9)


def distances(points: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """(n, m) distances of (n, 2) points of a circle to m places on it, by the shorter way, in turns: 0 .. 0.5."""
    own = np.arctan2(points[:, 1], points[:, 0]) / (2 * np.pi)
    apart = (own[:, None] - shares) % 1.0
    return np.minimum(apart, 1 - apart)


def digits_of(factor: Factor) -> int:
    """Decimals that matter of a number: three significant figures of its range, or so."""
    return int(np.clip(2 - np.floor(np.log10(factor.high - factor.low)), 0, 4))


def most_changed_class(before: Generation, after: Generation) -> Move | None:
    """The class whose share changed most; None where none did by `LEAST_SHARE`, or shares are unknown."""
    first, second = before.measurements.class_shares, after.measurements.class_shares
    if not first or len(first) != len(second):
        return None
    label = max(range(len(second)), key=lambda label: abs(second[label] - first[label]))
    change = second[label] - first[label]
    if abs(change) < LEAST_SHARE:
        return None
    names = after.measurements.class_names
    name = str(names[label]) if label < len(names) else str(label)
    spread = max(np.sqrt(first[label] * (1 - first[label])), 1e-9)
    return Move("share", name, "", first[label], second[label], 2, float(change / spread))


class Movements:
    """The movements between generations of one study, each measured once: generations never change.

    Args:
        store: the study's.
        factors: the named numbers of its designs; none of other data.
    """

    def __init__(self, store: Store, factors: Sequence[Factor]):
        self._store, self._factors = store, factors
        self._measured: dict[tuple[int, int], Move | None] = {}

    def __call__(self, before: Generation, after: Generation) -> Move | None:
        """The movement that was largest; None where there was none, or nothing was measured."""
        key = before.t, after.t
        if key not in self._measured:
            earlier, later = (self._store.evaluation(t) if self._factors else None for t in key)
            if earlier and later and earlier.points is not None and later.points is not None:
                self._measured[key] = moved_most(earlier, later, self._factors)
            else:
                self._measured[key] = most_changed_class(before, after)
        return self._measured[key]
