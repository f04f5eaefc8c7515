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
        texts: the first few of each generation, with a title, where samples are texts; then there are no pictures.
    """

    pictures: Sequence[Picture]
    size: tuple[float, float] = (0, 0)
    ring: tuple[float, float, float] | None = None
    note: str = ""
    texts: Sequence[tuple[str, Sequence[str]]] = ()


@dataclass(frozen=True, slots=True)
class Frame:
    """The part of the plane that is shown, and its cells."""

    low: np.ndarray
    high: np.ndarray

    @property
    def cells(self) -> tuple[int, int]:
        """The number of cells along x and along y."""
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
    texts = [(f"t = {g.t}", g.language.examples) for g in evidence.generations if g.language]
    if texts:
        real = [("real text", evidence.real_language.examples)] if evidence.real_language else []
        return Gallery(
            (), note="Every generation's texts are of the same seeds, place by place.", texts=[*real, *texts]
        )
    points = [("real data", store.evaluation(None))]
    points += [(f"t = {generation.t}", store.evaluation(generation.t)) for generation in evidence.generations]
    samples = [(title, some.points) for title, some in points if some is not None and some.points is not None]
    if samples and samples[0][1].shape[1] == 2:
        return densities(samples, evidence.config.get("reward", {}))
    pictures = []
    for generation in evidence.generations:
        png = store.image(generation.picture_sha256) if generation.picture_sha256 else None
        if png:
            t, sources = generation.t, evidence.sources
            title, alt = sources[t] if sources else f"t = {t}", f"Samples of generation {t}"
            pictures.append(Picture(title, alt, data_address(png)))
    return Gallery(pictures, note="Every grid starts from the same noise, place by place." if pictures else "")


def data_address(png: bytes) -> str:
    """A PNG as a data: address."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def densities(samples: Sequence[tuple[str, np.ndarray]], reward: dict) -> Gallery:
    """A picture of each density on one scale, and the ring of a 'ball' reward's highest values.

    Args:
        samples: titles with (n, 2) points.
        reward: the settings of the study's reward.
    """
    ball = reward.get("kind") == "ball"
    frame = common_frame([points for _, points in samples], [reward["center"]] if ball else [])
    per_area = [frame.density(points) for _, points in samples]
    highest = max(float(density.max()) for density in per_area)
    pictures = []
    for (title, _), density in zip(samples, per_area, strict=True):
        levels = np.round(255 * np.sqrt(np.clip(density / highest, 0, 1))).astype(np.uint8)
        light, dark = (data_address(palette_png(levels, PALETTES[name])) for name in ("light", "dark"))
        alt = f"Density of {title.replace('t =', 'generation')} in the plane"
        pictures.append(Picture(title, alt, light, dark))
    ring = None
    if ball and reward.get("r_min"):
        center_x, center_y = reward["center"]
        ring = float(center_x - frame.low[0]), float(frame.high[1] - center_y), float(reward["r_min"])
    width, height = frame.high - frame.low
    x, y = ((low, high) for low, high in zip(frame.low, frame.high, strict=True))
    note = (
        f"Samples per unit area on one scale for all, from 0 to {highest:.2g} (square-root steps); "
        f"x from {x[0]:.2f} to {x[1]:.2f}, y from {y[0]:.2f} to {y[1]:.2f}."
    )
    return Gallery(pictures, (float(width), float(height)), ring, note.replace(" -", " −"))


def common_frame(samples: Sequence[np.ndarray], in_sight: Sequence[Sequence[float]]) -> Frame:
    """The part of the plane with nearly all of each of some (n, 2) samples, and the points that shall be in sight."""
    ends = [np.quantile(points[np.isfinite(points).all(1)], [OUTSIDE, 1 - OUTSIDE], axis=0) for points in samples]
    ends += [np.array([point, point], dtype=float) for point in in_sight]
    low, high = np.min([end[0] for end in ends], axis=0), np.max([end[1] for end in ends], axis=0)
    room = 0.06 * float((high - low).max()) + 1e-9
    return Frame(low - room, high + room)


def palette_png(levels: np.ndarray, colours: Sequence[str]) -> bytes:
    """A PNG of (height, width) levels 0 .. 255, drawn in colours that run evenly through the given ones."""
    stops = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in colours], dtype=float)
    at = np.linspace(0, len(colours) - 1, 256)
    palette = np.stack([np.interp(at, range(len(colours)), stops[:, channel]) for channel in range(3)], axis=1)
    image = Image.fromarray(levels)
    image.putpalette(palette.round().astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
