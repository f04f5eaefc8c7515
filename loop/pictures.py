"""What a generation looks like: a contact sheet of its images, or a scatter plot of its points, as a PNG."""

import io

import numpy as np
import torch

from data.images import contact_sheet, encode_png
from loop.tensors import to_pixels

COLUMNS = 8
SHOWN_POINTS = 2_000


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
