"""Renderers: designs with a few named numbers, and the pictures of them. The generator draws the numbers.

A point of the generator has a coordinate in [-1, 1] for each number on a line, and two (cosine and sine) for each on a
circle.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, slots=True)
class Factor:
    """A number that a design has.

    Attributes:
        name: as reports and pages print it.
        low: its least value; of a circle, the value at angle 0.
        high: its largest value; of a circle, the value at which it comes round to `low`.
        less: what a design with less of it is called, such as "fewer petals".
        more: what a design with more of it is called; of a circle, words for equal arcs of it, separated by spaces.
        circle: it has no ends, like a hue.
        whole: pictures show it rounded to a whole number.
    """

    name: str
    low: float
    high: float
    less: str = ""
    more: str = ""
    circle: bool = False
    whole: bool = False


class Renderer(Protocol):
    """Pictures of designs. A class of your own with these two is named in study.toml as 'module:Class'."""

    factors: Sequence[Factor]

    def paint(self, design: np.ndarray, size: int) -> np.ndarray:
        """(size, size, 3) uint8 picture of one design; the same design always gives the same picture.

        Args:
            design: (number of factors,) values, each within its range.
            size: pixels a side.
        """
        ...


def dimension(factors: Sequence[Factor]) -> int:
    """Coordinates of a point: one for each number on a line, two for each on a circle."""
    return sum(2 if factor.circle else 1 for factor in factors)


def to_points(factors: Sequence[Factor], designs: np.ndarray) -> np.ndarray:
    """(n, dimension) float32 points of (n, number of factors) designs."""
    columns = []
    for factor, values in zip(factors, np.asarray(designs, dtype=np.float64).T, strict=True):
        share = (values - factor.low) / (factor.high - factor.low)
        if factor.circle:
            columns += [np.cos(2 * np.pi * share), np.sin(2 * np.pi * share)]
        else:
            columns.append(2 * share - 1)
    return np.stack(columns, axis=1).astype(np.float32)


def to_designs(factors: Sequence[Factor], points: np.ndarray) -> np.ndarray:
    """(n, number of factors) float64 designs of (n, dimension) points; what lies outside a range is put on its end."""
    columns, place = [], 0
    for factor in factors:
        if factor.circle:
            cosine, sine = np.asarray(points[:, place : place + 2], dtype=np.float64).T
            share = np.arctan2(sine, cosine) / (2 * np.pi) % 1.0
        else:
            share = np.clip((np.asarray(points[:, place], dtype=np.float64) + 1) / 2, 0.0, 1.0)
        columns.append(factor.low + (factor.high - factor.low) * share)
        place += 2 if factor.circle else 1
    return np.stack(columns, axis=1)
