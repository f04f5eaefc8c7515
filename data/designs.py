"""Designs: a few named numbers each, a law of them, and pictures of them. The generator draws the numbers alone.

A point of the generator has a coordinate in [-1, 1] for each number on a line, and two (cosine and sine) for each on a
circle.
"""

import importlib
import math
from collections.abc import Mapping, Sequence
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
        less: what a design with less of it is called, such as "fewer petals"; of a circle, nothing or a phrase with {}
            for the word of `more`, such as "{} centres".
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

    @property
    def further(self) -> str:
        """The words for more of it."""
        return self.more or f"more {self.name}"

    @property
    def fewer(self) -> str:
        """The words for less of it."""
        return self.less or f"less {self.name}"

    def arc(self, share: float) -> str:
        """The word for a place on the circle, at a share of the way round; its value where there are no words."""
        names = self.more.split()
        return names[round(share * len(names)) % len(names)] if names else f"{self.at(share):.3g}"

    def toward(self, share: float) -> str:
        """The words for a design at a place on the circle."""
        words = self.less or ("{}" if self.more else f"{self.name} {{}}")
        return words.format(self.arc(share))

    def at(self, share: float) -> float:
        """The value at a share of the way from `low` to `high`."""
        return self.low + share * (self.high - self.low)


class Designs(Protocol):
    """A family of designs. A class of your own with these members is named in study.toml as `data.designs`.

    Attributes:
        factors: the named numbers that a design has.
        label_names: kinds of designs, such as species.
    """

    @property
    def factors(self) -> Sequence[Factor]:
        """The named numbers."""
        ...

    @property
    def label_names(self) -> Sequence[str]:
        """The kinds."""
        ...

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """(n, dimension) float32 points of real designs."""
        ...

    def label(self, points: np.ndarray) -> np.ndarray:
        """(n,) int64 which of `label_names` each of (n, dimension) points is."""
        ...

    def paint(self, design: np.ndarray, size: int) -> np.ndarray:
        """(size, size, 3) uint8 picture of one design; the same design always gives the same picture.

        Args:
            design: (number of factors,) values, each within its range.
            size: pixels a side.
        """
        ...


def load_designs(name: str) -> Designs:
    """The family of designs of that name: 'flowers', or a class as 'module:Class'.

    Raises:
        ValueError: there is no such module or class, or it lacks a member.
    """
    if name == "flowers":
        from data.flowers import Flowers

        return Flowers()
    module, _, attribute = name.partition(":")
    try:
        family = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"data.designs = '{name}' can't be used: {error}; name a class as 'module:Class'.") from error
    lacking = [member for member in ("factors", "label_names", "draw", "label", "paint") if not hasattr(family, member)]
    if lacking:
        raise ValueError(f"data.designs = '{name}' lacks {', '.join(lacking)}; see data/designs.py.")
    return family


def paint_points(family: Designs, points: np.ndarray, size: int) -> np.ndarray:
    """(n, size, size, 3) uint8 pictures of (n, dimension) points."""
    designs = to_designs(family.factors, points)
    return np.stack([family.paint(design, size) for design in designs])


def coordinate_names(factors: Sequence[Factor]) -> list[str]:
    """Of a point's coordinates: the factor's name, or for a circle its name with (cosine) and with (sine)."""
    names: list[str] = []
    for factor in factors:
        names += [f"{factor.name} (cosine)", f"{factor.name} (sine)"] if factor.circle else [factor.name]
    return names


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


def weights_on_points(factors: Sequence[Factor], weights: Mapping[str, float]) -> np.ndarray:
    """(dimension,) weights of a point's coordinates from weights by name.

    The weight of a number on a line is worth as much from the middle of its range to the end. Of a number on a circle
    'name@value' gives the weight times the cosine of the angle to that value.

    Raises:
        ValueError: a name that no factor has, or a circle without a value.
    """
    known, total = {factor.name: factor for factor in factors}, dict.fromkeys(coordinate_names(factors), 0.0)
    for name, weight in weights.items():
        plain, _, value = name.partition("@")
        factor = known.get(plain)
        if factor is None or bool(value) != factor.circle:
            names = [f"{factor.name}@VALUE" if factor.circle else factor.name for factor in factors]
            raise ValueError(f"There is no named number '{name}'; there are {', '.join(names)}.")
        if factor.circle:
            angle = 2 * np.pi * (float(value) - factor.low) / (factor.high - factor.low)
            total[f"{plain} (cosine)"] += weight * float(np.cos(angle))
            total[f"{plain} (sine)"] += weight * float(np.sin(angle))
        else:
            total[plain] += weight
    return np.array(list(total.values()))


def factor_utility(points: np.ndarray, factors: Sequence[Factor], weights: Mapping[str, float]) -> np.ndarray:
    """(n,) utilities of (n, dimension) points, whose numbers are first put into their ranges and on their circles.

    Weights and errors as in `weights_on_points`.
    """
    inside = to_points(factors, to_designs(factors, points)).astype(np.float64)
    return inside @ weights_on_points(factors, weights)


def parse_weights(words: Sequence[str]) -> dict[str, float]:
    """Weights by name from words NAME=WEIGHT.

    Raises:
        ValueError: a word of another form, or a weight that isn't finite.
    """
    weights = {}
    for word in words:
        name, _, weight = word.rpartition("=")
        try:
            weights[name.strip()] = float(weight)
        except ValueError:
            name = ""
        if not name.strip() or not math.isfinite(weights[name.strip()]):
            raise ValueError(f"a weight must be NAME=NUMBER, such as petals=1, not '{word}'")
    return weights
