"""One picture per generation, as data: addresses: densities of points on a common scale, or the stored sample grids."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from data.store import Store
from loop.evidence.schema import Evidence

CELLS = 150  # along the wider axis
BLUR = 1.4  # cells
OUTSIDE = 0.001  # share of points that may lie beyond the frame, on each side
PALETTES = {  # from empty to dense: on paper the dense parts are dark, on a dark page light
    "light": ("#ffffff", "#dfe4fa", "#9dabf0", "#4a63df", "#1f2f9e", "#0b123f"),
    "dark": ("#1d1f24", "#262e55", "#3a4aa8", "#7488f0", "#c0caff", "#ffffff"),
}


@dataclass(frozen=True, slots=True)
class Picture:
    """One image.

    Attributes:
        title: what it is of, such as "t = 3".
        alt: for those who don't see it.
        light: a data: address.
        dark: the same for a dark page; empty where there is one for both.
    """

    title: str
    alt: str
    light: str
    dark: str = ""


@dataclass(frozen=True, slots=True)
class Gallery:
    """The pictures of a study, the real data first where they are points.

    Attributes:
        pictures: in order.
        size: (width, height) of each in the units of `ring`; (0, 0) for sample grids.
        ring: (x, y, radius) around the points of the highest reward, in picture units; None where there is no such.
        note: what the scale is.
    """

    pictures: Sequence[Picture]
    size: tuple[float, float] = (0, 0)
    ring: tuple[float, float, float] | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Frame:
    """The part of the plane that is shown, and its cells."""

    low: np.ndarray
    high: np.ndarray

    @property
    def cells(self) -> tuple[int, int]:
        side = float((self.high - self.low).max()) / CELLS
        width, height = np.ceil((self.high - self.low) / side).astype(int)
        return max(int(width), 2), max(int(height), 2)

    def density(self, points: np.ndarray) -> np.ndarray:
        """(height, width) samples per unit area over the number of samples, the top row first."""
        span = list(zip(self.low, self.high, strict=True))
        counts = np.histogram2d(points[:, 0], points[:, 1], self.cells, span)[0]
        area = float(np.prod((self.high - self.low) / self.cells))
        return gaussian_filter(counts / (len(points) * area), BLUR).T[::-1]


def gather(store: Store, evidence: Evidence) -> Gallery:
    """The pictures of all generations in the evidence."""
    points = [("real data", store.evaluation(None))]
    points += [(f"t = {one.t}", store.evaluation(one.t)) for one in evidence.generations]
    found = [(title, one.points) for title, one in points if one is not None and one.points is not None]
    if found:
        return _densities(found, evidence.config.get("reward", {}))
    pictures = []
    for one in evidence.generations:
        png = store.image(one.picture_sha256) if one.picture_sha256 else None
        if png:
            pictures.append(Picture(f"t = {one.t}", f"Samples of generation {one.t}", data_address(png)))
    return Gallery(pictures, note="Every grid starts from the same noise, place by place." if pictures else "")


def data_address(png: bytes) -> str:
    """A PNG as a data: address."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _densities(found: Sequence[tuple[str, np.ndarray]], reward: dict) -> Gallery:
    frame = _frame([points for _, points in found], reward)
    densities = [frame.density(points) for _, points in found]
    highest = max(float(density.max()) for density in densities)
    pictures = [
        Picture(title, f"Density of {_said(title)} in the plane", *map(data_address, _pngs(density / highest)))
        for (title, _), density in zip(found, densities, strict=True)
    ]
    width, height = frame.high - frame.low
    x, y = ((low, high) for low, high in zip(frame.low, frame.high, strict=True))
    note = (
        f"Samples per unit area on one scale for all, from 0 to {highest:.2g} (square-root steps); "
        f"x from {x[0]:.2f} to {x[1]:.2f}, y from {y[0]:.2f} to {y[1]:.2f}."
    )
    return Gallery(pictures, (float(width), float(height)), _ring(frame, reward), note.replace(" -", " −"))


def _said(title: str) -> str:
    return title if title == "real data" else title.replace("t =", "generation")


def _frame(points: Sequence[np.ndarray], reward: dict) -> _Frame:
    ends = [np.quantile(some[np.isfinite(some).all(1)], [OUTSIDE, 1 - OUTSIDE], axis=0) for some in points]
    if reward.get("kind") == "ball":  # where it is highest shall be in sight
        ends.append(np.array([reward["center"], reward["center"]], dtype=float))
    low, high = np.min([end[0] for end in ends], axis=0), np.max([end[1] for end in ends], axis=0)
    room = 0.06 * float((high - low).max()) + 1e-9
    return _Frame(low - room, high + room)


def _ring(frame: _Frame, reward: dict) -> tuple[float, float, float] | None:
    if reward.get("kind") != "ball" or not reward.get("r_min"):
        return None
    x, y = reward["center"]
    return float(x - frame.low[0]), float(frame.high[1] - y), float(reward["r_min"])


def _pngs(share: np.ndarray) -> tuple[bytes, bytes]:
    """The picture for a light page and that for a dark one, of (height, width) shares of the highest density."""
    levels = np.round(255 * np.sqrt(np.clip(share, 0, 1))).astype(np.uint8)
    light, dark = (_png(levels, PALETTES[name]) for name in ("light", "dark"))
    return light, dark


def _png(levels: np.ndarray, colours: Sequence[str]) -> bytes:
    stops = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in colours], dtype=float)
    at = np.linspace(0, len(colours) - 1, 256)
    palette = np.stack([np.interp(at, range(len(colours)), stops[:, channel]) for channel in range(3)], axis=1)
    image = Image.fromarray(levels)
    image.putpalette(palette.round().astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
