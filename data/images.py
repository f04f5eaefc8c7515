"""PNGs named by their content: the same pixels always give the same bytes, so the same sha256. No metadata."""

import hashlib
import io
from collections.abc import Iterable

import numpy as np
from PIL import Image


def encode_png(pixels: np.ndarray) -> tuple[str, bytes]:
    """The sha256 of the PNG, and the PNG.

    Args:
        pixels: (height, width, 1) or (height, width, 3), uint8.

    Raises:
        ValueError: another shape or type.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        raise ValueError(
            f"pixels must be uint8 of shape (height, width, 1 or 3), not {pixels.dtype} of shape {pixels.shape}"
        )
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, format="PNG", compress_level=6)
    png = buffer.getvalue()
    return hashlib.sha256(png).hexdigest(), png


def decode_png(png: bytes) -> np.ndarray:
    """The pixels of a PNG, (height, width, 1) or (height, width, 3), uint8."""
    pixels = np.asarray(Image.open(io.BytesIO(png)))
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def damaged(images: Iterable[tuple[str, bytes]]) -> list[str]:
    """The names of images whose bytes no longer match them."""
    return [sha256 for sha256, png in images if hashlib.sha256(png).hexdigest() != sha256]


def contact_sheet(images: np.ndarray, columns: int, gap: int = 1, background: int = 128) -> np.ndarray:
    """Images side by side in rows of `columns`.

    Args:
        images: (n, height, width, channels), uint8.
        columns: images per row.
        gap: pixels between neighbours.
        background: grey level of the gaps.

    Returns:
        (rows * (height + gap) - gap, columns * (width + gap) - gap, channels), uint8.
    """
    n, height, width, channels = images.shape
    rows = -(-n // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), background, dtype=np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet
