"""Pictures from files of any kind as squares of one size, in memory."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
CHUNK = 50  # images between two reports
LARGE = 50_000  # bytes of a file whose decoding is worth a thread; small ones are mostly Python's work

OnRead = Callable[[int, int], None]
"""Called with (done, total) images."""


def find(root: Path) -> dict[Path, str]:
    """The images under a folder, in the order of their paths, with their classes: the names of its sub-folders.

    Images that lie in the folder itself are of class 'all'. What is hidden, or macOS adds to archives, is left out.

    Raises:
        ValueError: no folder, or no images in it.
    """
    if not root.is_dir():
        raise ValueError(f"There is no folder of images at '{root}'; set data.path to one.")
    found = {file: file.relative_to(root).parts for file in root.rglob("*") if file.suffix.lower() in SUFFIXES}
    files = sorted(file for file, parts in found.items() if not any(map(_is_hidden, parts)))
    if not files:
        raise ValueError(f"There are no images under {root}; it needs files such as .png or .jpg.")
    return {file: found[file][0] if len(found[file]) > 1 else "all" for file in files}


def read(files: list[Path], size: int, on_read: OnRead | None = None) -> np.ndarray:
    """(n, size, size, 3) uint8, cut to squares from the centre and scaled.

    Raises:
        ValueError: a file can't be read as an image.
    """
    some = [file.stat().st_size for file in files[:CHUNK]]
    threads = os.cpu_count() or 1 if sum(some) > LARGE * len(some) else 1
    return _filled(len(files), size, lambda i: _open(files[i], size), threads, on_read)


def scale(images: np.ndarray, size: int, on_read: OnRead | None = None) -> np.ndarray:
    """(n, size, size, 3) uint8 from (n, height, width, 3) uint8."""
    return _filled(len(images), size, lambda i: _fit(Image.fromarray(images[i]), size), 1, on_read)


def _filled(n: int, size: int, make: Callable[[int], np.ndarray], threads: int, on_read: OnRead | None) -> np.ndarray:
    x = np.empty((n, size, size, 3), dtype=np.uint8)

    def fill(start: int) -> int:
        for i in range(start, min(start + CHUNK, n)):
            x[i] = make(i)
        return min(start + CHUNK, n)

    with ThreadPoolExecutor(threads) as pool:
        for done in pool.map(fill, range(0, n, CHUNK)):
            if on_read:
                on_read(done, n)
    return x


def _open(file: Path, size: int) -> np.ndarray:
    try:
        with Image.open(file) as image:
            return _fit(_in_colour(ImageOps.exif_transpose(image)), size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file} can't be read as an image ({error}); remove or replace it.") from error


def _fit(image: Image.Image, size: int) -> np.ndarray:
    """(size, size, channels) the square in the middle of an image."""
    return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS))


def _in_colour(image: Image.Image) -> Image.Image:
    """In red, green and blue of 8 bits; transparent places are white."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError("its grey levels have 32 bits, of unknown range")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _is_hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"
