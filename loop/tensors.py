"""Between what is kept (uint8 pixels, points) and what the model package works on (float tensors, channels first)."""

import numpy as np
import torch

from model.interfaces import Generator
from model.pixels import scaled


def to_tensor(x: np.ndarray) -> torch.Tensor:
    """(n, channels, height, width) in [-1, 1] from (n, height, width, channels) uint8; points stay as they are."""
    return scaled(to_bytes(x))


def to_bytes(x: np.ndarray) -> torch.Tensor:
    """(n, channels, height, width) uint8 from (n, height, width, channels) uint8; points stay as they are."""
    if x.ndim != 4:
        return torch.from_numpy(np.asarray(x, dtype=np.float32))
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def to_pixels(x: torch.Tensor) -> np.ndarray:
    """(n, height, width, channels) uint8 from (n, channels, height, width) in [-1, 1]."""
    return ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def draw(generator: Generator, seeds: np.ndarray) -> torch.Tensor:
    """The samples of these seeds as people get to see them: images rounded to 8 bits."""
    x = generator.sample(seeds)
    return to_tensor(to_pixels(x)) if x.ndim == 4 else x
