"""The other intervals of a report, on draws of known truth: total variation, distances, fitted gains."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from loop.analysis.log import Slates
from loop.analysis.logit import fit
from loop.divergence import total_variation
from loop.evidence.people import UnknownGainError, fitted_gain
from model.judging.fidelity import Reference

Interval = tuple[str, float, float, float]  # interval, its ends, the truth
UTILITIES = np.array([0.0, 0.6, -0.4])  # of three classes, mean over raters
TASTE = 0.4  # standard deviation of a rater's own
SHARES = np.array([[1 / 3, 1 / 3, 1 / 3], [0.2, 0.55, 0.25]])  # of classes, before and now
FEATURES = 16


@dataclass(frozen=True)
class Draws:
    """A kind of measurement.

    Attributes:
        kind: 'cells', 'features' or 'raters'.
        n: samples, or raters.
        size: cells, or 0.
        apart: how far the law is from the real one: total variation of cells, shift of features.
    """

    kind: str
    n: int
    size: int = 0
    apart: float = 0.0

    def __str__(self) -> str:
        if self.kind == "raters":
            return f"{self.n} raters, 20 picks each"
        if self.kind == "cells":
            return f"{self.size} cells, {self.n:,} samples, true value {self.apart:g}"
        return f"{FEATURES} normal features, {self.n:,} samples, shifted by {self.apart:g}"


def rows() -> Iterator[Draws]:
    """All kinds."""
    for size in (10, 128):
        for n in (2_000, 20_000):
            for apart in (0.0, 0.02, 0.2):
                yield Draws("cells", n, size, apart)
    for raters in (3, 5, 9, 10, 20, 50, 200):
        yield Draws("raters", raters)
    for apart in (0.0, 0.3):
        yield Draws("features", 500, apart=apart)


def measure(draws: Draws, numbers: range) -> list[Interval]:
    """The intervals of some simulated measurements."""
    simulate = {"cells": _cells, "raters": _raters, "features": _features}[draws.kind]
    return [interval for number in numbers for interval in simulate(draws, np.random.default_rng([2, draws.n, number]))]


def _cells(draws: Draws, rng: np.random.Generator) -> list[Interval]:
    q = np.full(draws.size, 1 / draws.size)
    p = q * (1 + 2 * draws.apart * np.where(np.arange(draws.size) % 2, 1, -1))
    estimate = total_variation(rng.choice(draws.size, draws.n, p=p), q)
    return [("total variation", estimate.low or 0.0, estimate.high or 1.0, draws.apart)]


def _raters(draws: Draws, rng: np.random.Generator) -> list[Interval]:
    slates, labels = _picks(draws.n, rng)
    before, now = (rng.choice(3, 2_000, p=shares) for shares in SHARES)
    truth = float((SHARES[1] - SHARES[0]) @ _pooled())
    try:
        gain = fitted_gain(slates, labels, now, before)
    except UnknownGainError:
        return []
    return [("fitted gain", gain.low, gain.high, truth)]


def _picks(raters: int, rng: np.random.Generator, picks: int = 20, k: int = 4) -> tuple[Slates, np.ndarray]:
    """Luce picks of raters whose utilities of the classes differ."""
    labels = rng.integers(0, 3, (raters * picks, k))
    own = UTILITIES + TASTE * rng.normal(size=(raters, 3))
    utilities = np.take_along_axis(np.repeat(own, picks, axis=0), labels, axis=1)
    picked = (utilities + rng.gumbel(size=utilities.shape)).argmax(axis=1)
    return Slates.of_equal_size(k, picked, np.repeat(np.arange(raters), picks)), labels.ravel()


@cache
def _pooled() -> np.ndarray:
    """(3,) what the pooled fit estimates where raters differ, from very many of them: a little less than their mean."""
    slates, labels = _picks(8_000, np.random.default_rng(3))
    columns = (labels[:, None] == np.array([1, 2])).astype(float)
    return np.concatenate([[0.0], fit(slates, columns, ["1", "2"]).coefficients])


def _features(draws: Draws, rng: np.random.Generator) -> list[Interval]:
    """With the real data fixed, the truth is the mean over many draws of the samples, at this number of them."""
    real = torch.from_numpy(np.random.default_rng(7).normal(size=(1_000, FEATURES)))
    reference = Reference(real)

    def compared(source: np.random.Generator) -> dict:
        x = source.normal(size=(draws.n, FEATURES))
        x[:, 0] += draws.apart
        return reference.compare(torch.from_numpy(x)).as_json()

    key = (draws.n, draws.apart)
    names = ("fd", "kd", "precision", "recall", "density", "coverage")
    if key not in _TRUTHS:
        many = [compared(np.random.default_rng([8, number])) for number in range(150)]
        _TRUTHS[key] = {name: float(np.mean([measured[name] for measured in many])) for name in names}
    measured = compared(rng)
    return [
        (name.upper() if len(name) == 2 else name, *measured[f"{name}_interval"], _TRUTHS[key][name]) for name in names
    ]


_TRUTHS: dict[tuple[int, float], dict[str, float]] = {}
