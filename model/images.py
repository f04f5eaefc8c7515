"""Images as networks see them: scaled to [-1, 1], and augmented in training."""

import numpy as np
import torch
from torch.nn.functional import affine_grid, grid_sample

ROTATION_DEGREES = 5.0
ZOOM = 0.04
SHIFT_PIXELS = 0.25


def scaled(images: torch.Tensor) -> torch.Tensor:
    """Float32 in [-1, 1] from uint8 pixels; float data pass as they are."""
    return images.float() / 127.5 - 1 if images.dtype == torch.uint8 else images


def augment(x: torch.Tensor, share: float, rng: np.random.Generator) -> torch.Tensor:
    """Turns, scales and shifts a share of the images a little; the rest stay as they are.

    Args:
        x: (n, channels, height, width) in [-1, 1], with -1 the background that comes in at the border.
        share: of the images that change; how far is drawn evenly up to the constants above.
        rng: the source of randomness.
    """
    n, _, height, width = x.shape
    changed = (rng.random(n) < share).astype(np.float64)
    angle = np.deg2rad(ROTATION_DEGREES) * rng.uniform(-1, 1, n) * changed
    zoom = 1 + ZOOM * rng.uniform(-1, 1, n) * changed
    across, down = SHIFT_PIXELS * rng.uniform(-1, 1, (2, n)) * changed * 2 / np.array([[width], [height]])
    cosine, sine = zoom * np.cos(angle), zoom * np.sin(angle)
    matrix = np.stack([np.stack([cosine, -sine, across], 1), np.stack([sine, cosine, down], 1)], 1)
    grid = affine_grid(torch.from_numpy(matrix.astype(np.float32)), list(x.shape), align_corners=False)
    grid = grid.to(x.device)
    moved = grid_sample(x + 1, grid, mode="bicubic", padding_mode="zeros", align_corners=False)
    return moved.clamp(0, 2) - 1


def mirrored(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """(n, channels, height, width) images, each mirrored left to right with probability one half."""
    turned = torch.from_numpy(rng.random(len(x)) < 0.5).to(x.device)
    return torch.where(turned[:, None, None, None], x.flip(3), x)
