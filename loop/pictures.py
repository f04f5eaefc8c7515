"""Samples between the forms that they have: pixels that are kept, tensors that networks see, pictures of many."""

import io

import numpy as np
import torch

from data.images import contact_sheet, encode_png
from model.images import scaled
from model.interfaces import Generator

COLUMNS = 8
SHOWN_POINTS = 2_000


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


def picture(x: torch.Tensor, real: np.ndarray) -> tuple[str, bytes]:
    """(sha256, png) of the first 64 images, or of points over the real ones.

    Args:
        x: (n, *shape) samples; generations drawn from the same seeds put the same noise at the same place.
        real: the real data, which set the range of the plot of points.
    """
    if x.ndim == 4:
        return encode_png(contact_sheet(to_pixels(x[: COLUMNS * COLUMNS]), COLUMNS))
    return encode_png(_scatter(x[:SHOWN_POINTS].numpy(), real[:SHOWN_POINTS]))


def _scatter(points: np.ndarray, real: np.ndarray) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(3.2, 3.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(*real.T, s=2, color="#c9ccd3", linewidths=0, label="real")
    axes.scatter(*points.T, s=2, color="#4f46e5", linewidths=0, label="generated")
    low, high = real.min(axis=0), real.max(axis=0)
    margin = 0.15 * (high - low).max()
    axes.set(xlim=(low[0] - margin, high[0] + margin), ylim=(low[1] - margin, high[1] + margin), aspect="equal")
    axes.tick_params(labelsize=6)
    axes.legend(loc="upper right", fontsize=6, markerscale=3, framealpha=0.8)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return np.asarray(Image.open(buffer).convert("RGB"))
