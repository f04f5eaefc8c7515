"""The laws that the points are drawn from: their log-density, and the mass of rectangles.

Both are mixtures of round Gaussians: of a few about the ring's centres, or of those about every point of two arcs,
which a fine grid of angles stands for.
"""

import math

import numpy as np
from scipy.special import logsumexp, ndtr

from data.config import DataConfig
from data.real import ring

FEWEST_ANGLES = 400  # on each arc; the sum over a half circle converges far below what anything here is measured to
ANGLES_BY_NOISE = 40.0  # over the noise: steps of an eighth of a standard deviation and less
LEAST_NOISE = 1e-3  # below it the density of the moons is as good as none
CHUNK = 2_000_000  # pairs of a point and a centre held at once


def has_density(config: DataConfig) -> bool:
    """Whether the data are points drawn from a law with a density known in closed form."""
    return config.dataset == "gaussians" or (config.dataset == "moons" and config.noise >= LEAST_NOISE)


def log_density(config: DataConfig, points: np.ndarray) -> np.ndarray:
    """(n,) float64 log-density at (n, 2) points of the law that `data.real.load` draws them from.

    Raises:
        ValueError: the data have no known density.
    """
    if not has_density(config):
        raise ValueError(f"The density of {config.dataset} isn't known.")
    centres, std = _mixture(config)
    points = np.asarray(points, dtype=np.float64)
    constant = math.log(2 * math.pi * std**2 * len(centres))
    size = max(1, CHUNK // len(centres))
    parts = [
        np.asarray(logsumexp(-((part[:, None] - centres[None]) ** 2).sum(2) / (2 * std**2), axis=1))
        for part in (points[start : start + size] for start in range(0, len(points), size))
    ]
    return np.concatenate(parts) - constant if parts else np.empty(0)


def rectangle_masses(config: DataConfig, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(m,) the law's mass in rectangles.

    Args:
        config: the [data] table; of points.
        low: (m, 2) lower left corners; -inf for none.
        high: (m, 2) upper right ones.
    """
    centres, std = _mixture(config)
    scale = max(std, 1e-9)

    def within(axis: int, i: int) -> np.ndarray:
        edges = (np.array([low[i, axis], high[i, axis]])[:, None] - centres[:, axis]) / scale
        below, above = ndtr(edges)
        return above - below

    return np.array([(within(0, i) * within(1, i)).mean() for i in range(len(low))])


def _mixture(config: DataConfig) -> tuple[np.ndarray, float]:
    """(m, 2) equally likely centres of Gaussians, and their standard deviation."""
    if config.dataset == "gaussians":
        return ring(config), config.std
    n = max(FEWEST_ANGLES, math.ceil(ANGLES_BY_NOISE / max(config.noise, LEAST_NOISE)))
    angle = np.pi * (np.arange(n) + 0.5) / n
    arc = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.concatenate([arc, [1.0, 0.5] - arc]), config.noise
