"""Mild augmentation of real images in pretraining, where a small data set would otherwise be learned by heart."""

import numpy as np
import torch
from torch.nn.functional import affine_grid, grid_sample

from model.config import AugmentConfig


def augment(x: torch.Tensor, config: AugmentConfig, rng: np.random.Generator) -> torch.Tensor:
    """Turns, scales and shifts a share of the images a little; the rest stay as they are.

    Args:
        x: (n, channels, height, width) in [-1, 1], with -1 the background that comes in at the border.
        config: how often and how far.
        rng: the source of randomness.
    """
    n, _, height, width = x.shape
    changed = (rng.random(n) < config.share).astype(np.float64)
    angle = np.deg2rad(config.degrees) * rng.uniform(-1, 1, n) * changed
    zoom = 1 + config.zoom * rng.uniform(-1, 1, n) * changed
    across, down = config.shift * rng.uniform(-1, 1, (2, n)) * changed * 2 / np.array([[width], [height]])
    cosine, sine = zoom * np.cos(angle), zoom * np.sin(angle)
    matrix = np.stack([np.stack([cosine, -sine, across], 1), np.stack([sine, cosine, down], 1)], 1)
    grid = affine_grid(torch.from_numpy(matrix.astype(np.float32)), list(x.shape), align_corners=False)
    moved = grid_sample(x + 1, grid, mode="bicubic", padding_mode="zeros", align_corners=False)
    return moved.clamp(0, 2) - 1
