"""Flowers: fourteen numbers each, a law of twelve species, and a painter that makes a picture of any size of them."""

from dataclasses import dataclass

import numpy as np

from data.designs import Factor, to_points

HUES = "red orange yellow lime green mint cyan blue blue violet magenta pink"  # azure is a blue, too
FACTORS = (
    Factor("petals", 4, 16, "fewer petals", "more petals", whole=True),
    Factor("rings", 1, 3.99, "fewer rings", "more rings"),
    Factor("length", 0, 1, "shorter petals", "longer petals"),
    Factor("width", 0, 1, "narrower petals", "wider petals"),
    Factor("tip", 0, 1, "rounder tips", "sharper tips"),
    Factor("hue", 0, 1, more=HUES, circle=True),
    Factor("saturation", 0, 1, "paler", "more colourful"),
    Factor("lightness", 0, 1, "darker", "lighter"),
    Factor("throat", 0, 1, "petals of one colour", "throats of another colour"),
    Factor("veins", 0, 1, "smooth petals", "veined petals"),
    Factor("centre", 0, 1, "smaller centres", "larger centres"),
    Factor("centre hue", 0, 1, "{} centres", HUES, circle=True),
    Factor("tilt", 0, 1, "seen from the front", "seen from the side"),
    Factor("sky", 0, 1, "darker backgrounds", "lighter backgrounds"),
)

#   petals rings length width tip  hue  satur light throat veins centre hue  tilt  sky
SPECIES = {
    "daisy": (14.0, 1.6, 0.60, 0.36, 0.25, 0.13, 0.20, 0.84, 0.15, 0.25, 0.50, 0.14, 0.30, 0.60),
    "sunflower": (14.5, 2.4, 0.70, 0.42, 0.72, 0.12, 0.82, 0.50, 0.25, 0.40, 0.80, 0.07, 0.25, 0.66),
    "peony": (7.5, 3.4, 0.62, 0.78, 0.18, 0.94, 0.55, 0.66, 0.20, 0.30, 0.20, 0.13, 0.30, 0.70),
    "cornflower": (11.0, 2.5, 0.48, 0.40, 0.62, 0.62, 0.72, 0.48, 0.25, 0.45, 0.30, 0.76, 0.40, 0.72),
    "poppy": (5.3, 1.6, 0.66, 0.80, 0.15, 0.01, 0.80, 0.40, 0.62, 0.35, 0.42, 0.70, 0.35, 0.62),
    "viola": (5.4, 2.5, 0.38, 0.74, 0.20, 0.77, 0.55, 0.52, 0.76, 0.74, 0.22, 0.15, 0.25, 0.50),
    "lily": (6.4, 1.7, 0.80, 0.52, 0.80, 0.05, 0.76, 0.56, 0.50, 0.70, 0.20, 0.18, 0.50, 0.36),
    "lotus": (9.0, 3.3, 0.70, 0.56, 0.60, 0.90, 0.50, 0.76, 0.36, 0.40, 0.36, 0.15, 0.74, 0.30),
    "aster": (14.6, 1.7, 0.52, 0.20, 0.50, 0.71, 0.48, 0.58, 0.20, 0.30, 0.46, 0.13, 0.45, 0.40),
    "dahlia": (12.0, 3.4, 0.56, 0.56, 0.50, 0.98, 0.76, 0.36, 0.40, 0.50, 0.20, 0.95, 0.20, 0.28),
    "buttercup": (5.6, 1.6, 0.22, 0.76, 0.20, 0.16, 0.84, 0.54, 0.25, 0.26, 0.46, 0.24, 0.56, 0.74),
    "gentian": (6.0, 2.4, 0.52, 0.50, 0.74, 0.58, 0.76, 0.34, 0.60, 0.62, 0.24, 0.45, 0.66, 0.26),
}
SPREAD = 0.17  # standard deviation of a coordinate within a species; the coordinates go from -1 to 1
TURN = 0.035  # standard deviation of a hue, in turns
RADIUS = 0.08  # and of the circles' radius, which no picture shows
SHADOW = 0.035  # how far beside a petal its shadow falls; a picture goes from -1 to 1


def species() -> np.ndarray:
    """(12, 14) the designs in the middle of each species."""
    return np.array(list(SPECIES.values()))


def draw_flowers(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(n, 16) float32 points of flowers, and their (n,) int64 species: each species is as likely.

    Within a species coordinates are independent and normal, hues normal on their circle.
    """
    labels = rng.integers(len(SPECIES), size=n)
    points = to_points(FACTORS, species())[labels].astype(np.float64)
    place = 0
    for factor in FACTORS:
        if factor.circle:
            angle = np.arctan2(points[:, place + 1], points[:, place]) + 2 * np.pi * TURN * rng.standard_normal(n)
            radius = 1 + RADIUS * rng.standard_normal(n)
            points[:, place], points[:, place + 1] = radius * np.cos(angle), radius * np.sin(angle)
        else:
            points[:, place] += SPREAD * rng.standard_normal(n)
        place += 2 if factor.circle else 1
    return points.astype(np.float32), labels


def nearest_species(points: np.ndarray) -> np.ndarray:
    """(n,) int64 for each of (n, 16) points the species whose middle is nearest, in standard deviations."""
    scale = np.concatenate([[2 * np.pi * TURN] * 2 if factor.circle else [SPREAD] for factor in FACTORS])
    distances = (points[:, None] - to_points(FACTORS, species())[None]) / scale
    return np.square(distances).sum(axis=2).argmin(axis=1)


class Flowers:
    """The flowers as a family of designs; pictures are painted by shapes in closed form, smooth at any size."""

    factors = FACTORS
    label_names = tuple(SPECIES)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """(n, 16) float32 points of real flowers."""
        return draw_flowers(n, rng)[0]

    def label(self, points: np.ndarray) -> np.ndarray:
        """(n,) int64 the nearest species of (n, 16) points."""
        return nearest_species(points)

    def paint(self, design: np.ndarray, size: int) -> np.ndarray:
        """(size, size, 3) uint8 picture of one flower.

        Args:
            design: (14,) values in the order of `FACTORS`.
            size: pixels a side.
        """
        flower = Flower(*(float(value) for value in design))
        planes = np.round(np.clip(flower.painted(size), 0, 1) * 255).astype(np.uint8)
        return np.ascontiguousarray(planes.transpose(1, 2, 0))


@dataclass(frozen=True, slots=True)
class Flower:
    """One flower; the fields are those of `FACTORS`."""

    petals: float
    rings: float
    length: float
    width: float
    tip: float
    hue: float
    saturation: float
    lightness: float
    throat: float
    veins: float
    centre: float
    centre_hue: float
    tilt: float
    sky: float

    def painted(self, size: int) -> np.ndarray:
        """(3, size, size) float32 in about [0, 1]; planes of red, green and blue, which numpy is quick on."""
        axis = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
        x, y = np.broadcast_to(axis, (size, size)), np.broadcast_to(-axis[:, None], (size, size))
        pixel = 2.0 / size
        image = self.background(x, y)
        y = y - 0.11
        low = within(size, 0.62, -0.5, 0.61)
        self.stem(image[:, *low], x[low], y[low], pixel)
        reach = 0.54 + 0.31 * self.length
        squeeze = np.float32(1.0 - 0.5 * self.tilt)  # a flower that is turned away looks flatter
        box = within(size, reach * 1.03, 0.11, reach * 1.03 * float(squeeze))
        head, u, v = image[:, *box], x[box], y[box] / squeeze
        radius, angle = np.hypot(u, v), np.arctan2(v, u)
        for ring in range(int(self.rings)):
            self.ring(head, radius, angle, ring, reach, pixel)
        self.heart(head, u, v, radius, pixel)
        return image

    def background(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """A soft sky: lighter above, darker toward the corners; a pale opposite of the petals' hue."""
        light = 0.14 + 0.8 * self.sky
        top = colour(self.hue + 0.5, 0.20 + 0.15 * (1 - self.sky), light)
        bottom = colour(self.hue + 0.42, 0.32, light * 0.80)
        mix = (y[:, :1] + 1) / 2
        return (top * mix + bottom * (1 - mix)) * (1 - 0.16 * (x * x + y * y) / 2)

    def stem(self, image: np.ndarray, x: np.ndarray, y: np.ndarray, pixel: float) -> None:
        """The stem, bent a little, and two leaves."""
        green = colour(0.31, 0.5, 0.36 + 0.12 * self.sky)
        bend = 0.10 * np.sin((y[:, :1] + 0.1) * 2.2) * (0.4 + self.tilt)
        blend(image, green * (1.0 + 0.9 * (x - bend)), cover(0.026 - np.abs(x - bend), pixel) * (y < 0))
        for side, base, lean in ((1.0, -1.02, 0.95), (-1.0, -0.94, 0.75)):
            cosine, sine = side * np.cos(lean), np.sin(lean)
            a, b = x * cosine + (y - base) * sine, -side * x * sine + (y - base) * side * cosine
            leaf = (a > 0) & (a < 0.62) & (np.abs(b) < 0.105 + pixel)
            a, b, part = a[leaf], b[leaf], image[:, leaf]
            s = a / 0.62
            half = 0.105 * np.sin(np.pi * s**0.85) ** 1.1
            shade = 0.82 + 0.3 * s + 0.22 * np.tanh(b / 0.02) * 0.5
            blend(part, green[..., 0] * shade, cover(half - np.abs(b), pixel))
            image[:, leaf] = part

    def ring(
        self, image: np.ndarray, radius: np.ndarray, angle: np.ndarray, ring: int, reach: float, pixel: float
    ) -> None:
        """One ring of petals, each lying over the one before it; inner rings are shorter than `reach`."""
        n = max(3, round(self.petals))
        step = 2 * np.pi / n
        reach *= (1.0, 0.76, 0.54)[ring]
        across = np.pi * reach / n * (0.62 + 1.0 * self.width) * 0.62
        across = min(across, 0.42 * reach)
        turned = angle / step - 0.5 * (ring % 2) - 0.25
        nearest = np.round(turned)
        lightness = 0.24 + 0.62 * self.lightness + 0.05 * ring
        main = colour(self.hue, self.saturation, lightness)[..., 0]
        outer = colour(self.hue + 0.03, self.saturation * 0.8, min(lightness + 0.13, 0.97))[..., 0]
        throat = colour(self.centre_hue, min(1.0, self.saturation + 0.25), 0.30 + 0.4 * lightness)[..., 0]
        for shift in (-1, 0, 1):
            off = (turned - nearest - shift) * step
            a, b = radius * np.cos(off), radius * np.sin(off)
            near = (a > 0) & (a < reach + pixel) & (np.abs(b) < across + SHADOW)
            a, b, part = a[near], b[near], image[:, near]
            s = np.minimum(a / reach, 1)
            half = across * outline(s, self.tip)
            edge = half - np.abs(b)
            inside = cover(edge, pixel) * cover(reach - a, pixel)
            shadow = np.clip(1 + edge / SHADOW, 0, 1) * np.clip((reach - a) / 0.06, 0, 1)
            part *= 1 - 0.20 * shadow * (1 - inside)
            petal = main * (1 - s) + outer * s
            petal += (throat - petal) * (self.throat * np.clip(1.25 - 2.6 * s, 0, 1))
            across_share = b / np.maximum(half, 1e-3)
            vein = 0.5 + 0.5 * np.cos(across_share * 9.0)
            shade = 0.80 + 0.24 * s - 0.10 * across_share * across_share + 0.05 * across_share
            shade -= 0.16 * self.veins * vein * np.clip(1.1 - s, 0, 1)
            shade -= 0.10 * np.exp(-((b / 0.008) ** 2)) * (1 - s)
            blend(part, petal * shade, inside)
            image[:, near] = part

    def heart(self, image: np.ndarray, u: np.ndarray, v: np.ndarray, radius: np.ndarray, pixel: float) -> None:
        """The centre of the flower: a dome of florets in the spiral of a sunflower."""
        size = 0.07 + 0.20 * self.centre
        rows, columns = np.nonzero(radius < size * 1.5)
        if not len(rows):
            return
        box = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        u, v, radius = u[box], v[box], radius[box]
        part = image[:, *box]
        part *= 1 - 0.35 * np.clip(1.45 - radius / size, 0, 1)
        base = colour(self.centre_hue, 0.75, 0.50)
        dome = 1.08 - 0.42 * (radius / size) ** 2 + 0.22 * (v - u) / size * 0.5
        blend(part, base * dome, cover(size - radius, pixel))
        count = int(26 + 90 * self.centre)
        k = np.arange(count) + 0.5
        turn, far = k * 2.399963, size * 0.94 * np.sqrt(k / count)
        spot = 0.62 * size / np.sqrt(count)
        light, dark = colour(self.centre_hue + 0.02, 0.85, 0.68), colour(self.centre_hue - 0.03, 0.8, 0.34)
        x, y = far * np.cos(turn), far * np.sin(turn)
        left, right = (np.searchsorted(u[0], x + rim) for rim in (-spot - pixel, spot + pixel))
        top, bottom = (np.searchsorted(-v[:, 0], rim - y) for rim in (-spot - pixel, spot + pixel))
        for i in range(count):
            floret = np.s_[top[i] : bottom[i], left[i] : right[i]]
            distance = np.hypot(u[floret] - x[i], v[floret] - y[i])
            blend(part[:, *floret], light if i % 3 else dark, cover(spot - distance, pixel) * 0.85)


def within(size: int, across: float, up: float, high: float) -> tuple[slice, slice]:
    """Rows and columns of a picture around the point (0, up), so far to each side and above and below."""
    rows = np.clip([(1 - up - high) / 2 * size, (1 - up + high) / 2 * size + 1], 0, size).astype(int)
    columns = np.clip([(1 - across) / 2 * size, (1 + across) / 2 * size + 1], 0, size).astype(int)
    return slice(*rows.tolist()), slice(*columns.tolist())


def outline(s: np.ndarray, tip: float) -> np.ndarray:
    """(...) half-width of a petal at the share s of its length, at most 1; tip 0 is blunt, 1 is pointed."""
    end = np.sqrt(np.clip(1 - (np.clip(s - 0.62, 0, None) / 0.38) ** 2, 0, 1))
    blunt = end * (0.22 + 0.78 * np.sin(np.pi / 2 * np.clip(s / 0.62, 0, 1)))
    sharp = np.clip(np.sin(np.pi * s**0.8), 0, 1) ** 0.9 * (1 - 0.25 * s)
    return blunt * (1 - tip) + sharp * tip


def colour(hue: float, saturation: float, lightness: float) -> np.ndarray:
    """(3, 1, 1) float32 red, green and blue in [0, 1] of hue, saturation and lightness (HSL), each in [0, 1]."""
    k = (np.array([0.0, 8.0, 4.0]) + 12 * (hue % 1.0)) % 12
    spread = saturation * min(lightness, 1 - lightness)
    rgb = lightness - spread * np.clip(np.minimum(k - 3, 9 - k), -1, 1)
    return rgb.astype(np.float32)[:, None, None]


def cover(distance: np.ndarray, pixel: float) -> np.ndarray:
    """(...) share of a pixel that lies inside a shape, from the signed distance to its edge (positive inside)."""
    return np.clip(distance / pixel + 0.5, 0, 1)


def blend(image: np.ndarray, over: np.ndarray, alpha: np.ndarray) -> None:
    """Lays a colour, or (3, ...) one for each pixel, over the (3, ...) image in place, as far as (...) alpha says."""
    image += (over - image) * alpha
