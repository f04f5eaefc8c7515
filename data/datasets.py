"""The real data: digits, moons, Gaussians, CIFAR-10, Fashion-MNIST, a folder of images, flowers, texts; point laws."""

import gzip
import math
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
from PIL import Image, ImageOps
from scipy.cluster.vq import kmeans2
from scipy.special import ndtr

from data.config import DataConfig, DatasetName
from data.designs import dimension, load_designs
from data.downloads import DownloadError, default_cache
from data.text import Vocabulary, load_corpus, vocabulary_of, windows

SIDE = 8  # images are compared at so many pixels a side
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
CHUNK = 50  # images between two reports
LARGE = 50_000  # bytes of a file whose decoding is worth a thread; small ones are mostly Python's work
FASHION = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
OnRead = Callable[[int, int], None]
"""Called with (done, total) images."""
DEFAULT_POINTS = 5_000
FEWEST_ANGLES = 400  # on each arc; the sum over a half circle converges far below what anything here is measured to
ANGLES_BY_NOISE = 40.0  # over the noise: steps of an eighth of a standard deviation and less
LEAST_NOISE = 1e-3  # below it the density of the moons is as good as none
LEAST_TEXTS = 2  # held out, for a standard error
POINTS_AT_ONCE = 2_000_000  # pairs of a point and a centre held at once


@dataclass(frozen=True, slots=True)
class RealData:
    """A data set in memory.

    Attributes:
        x: (n, d) float32 points, (n, height, width, channels) uint8 images, or (n, length) int64 tokens of texts.
        labels: (n,) int64, indices into `label_names`.
        vocabulary: of texts; None for all else.
    """

    name: str
    x: np.ndarray
    labels: np.ndarray
    label_names: tuple[str, ...]
    vocabulary: Vocabulary | None = None

    @property
    def is_images(self) -> bool:
        """True if the data are images (else points, or texts)."""
        return self.x.ndim == 4

    def __len__(self) -> int:
        return len(self.x)

    def shares(self) -> np.ndarray:
        """(number of labels,) the share of each label among the data."""
        return np.bincount(self.labels, minlength=len(self.label_names)) / len(self)

    def subset(self, n: int, rng: np.random.Generator) -> Self:
        """A random subset of n in the order of the data; all of them for n = 0.

        Raises:
            ValueError: there are fewer than n.
        """
        if n == 0 or n == len(self):
            return self
        if n > len(self):
            raise ValueError(
                f"data.n asks for {n:,} of {self.name}, which has only {len(self):,}: set it to 0 for all of them"
            )
        chosen = np.sort(rng.choice(len(self), n, replace=False))
        return replace(self, x=self.x[chosen], labels=self.labels[chosen])


def load(config: DataConfig, seed: int, cache: Path | None = None, on_read: OnRead | None = None) -> RealData:
    """The study's real data; random ones (points, a subset) are drawn from `seed`.

    Args:
        config: the [data] table.
        seed: the study's.
        cache: where a download goes; the user's cache folder by default.
        on_read: called with the numbers of images read so far and in all.

    Raises:
        ValueError: more data asked for than there are, a folder without images, or an image that can't be read.
        OSError: the download failed.
    """
    rng = np.random.default_rng([seed, 0xDA7A])
    loaders: dict[DatasetName, Callable[[], RealData]] = {
        "digits": digits,
        "moons": lambda: moons(config.n or DEFAULT_POINTS, config.noise, rng),
        "gaussians": lambda: gaussians(config, rng),
        "cifar10": lambda: cifar10(config, "train", cache, on_read),
        "folder": lambda: images(config, on_read),
        "flowers": lambda: designs(config, rng),
        "fashion": lambda: fashion(config, "train", cache),
        "text": lambda: text(config, "train", cache, on_read),
    }
    return loaders[config.dataset]().subset(config.n, rng)


def count(config: DataConfig) -> int:
    """The number of real data that a study with these settings has; reads none of them, but for a text.

    Raises:
        ValueError: no folder of images, or none in it.
    """
    if config.n:
        return config.n
    if config.dataset in ("folder", "cifar10") and config.path:
        inside = Path(config.path) / "train" if config.dataset == "cifar10" else Path(config.path)
        return len(find(inside if inside.is_dir() else Path(config.path)))
    if config.dataset == "text":
        return len(text(config, "train"))
    return {"digits": 1_797, "cifar10": 50_000, "fashion": 60_000}.get(config.dataset, DEFAULT_POINTS)


def load_test(config: DataConfig, cache: Path | None = None) -> RealData | None:
    """The data held out from all training, if any: 10,000 images of CIFAR-10 and Fashion-MNIST, the end of a text.

    Errors as in `load`; a local copy of CIFAR-10 without a `test` folder has none.
    """
    if config.dataset == "fashion":
        return fashion(config, "test", cache)
    if config.dataset == "text":
        return text(config, "test", cache)
    if config.dataset != "cifar10" or (config.path and not (Path(config.path) / "test").is_dir()):
        return None
    return cifar10(config, "test", cache)


def sample_shape(config: DataConfig) -> tuple[int, ...]:
    """The shape of a sample as models see it; loads nothing.

    It is (d,) for points, (channels, height, width) for images, (length,) for texts.
    """
    shapes: dict[DatasetName, tuple[int, ...]] = {
        "digits": (1, 8, 8),
        "moons": (2,),
        "gaussians": (2,),
        "cifar10": (3, config.size, config.size),
        "folder": (3, config.size, config.size),
        "flowers": (dimension(config.family.factors),) if config.family else (),
        "fashion": (1, 28, 28),
        "text": (config.length,),
    }
    return shapes[config.dataset]


def digits() -> RealData:
    """scikit-learn's 1,797 handwritten digits, 8x8; its 17 grey levels are spread over 0..255."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    levels = np.round(np.asarray(pixels) * (255 / 16)).astype(np.uint8)
    return RealData("digits", levels.reshape(-1, 8, 8, 1), np.asarray(labels, dtype=np.int64), tuple("0123456789"))


def moons(n: int, noise: float, rng: np.random.Generator) -> RealData:
    """Two interleaving half circles of radius 1 in scikit-learn's coordinates; the paper's noise is 0.1."""
    upper = np.arange(n) < n // 2
    angle = rng.uniform(0, np.pi, n)
    arc = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    x = np.where(upper[:, None], arc, [1.0, 0.5] - arc) + noise * rng.standard_normal((n, 2))
    return RealData("moons", x.astype(np.float32), (~upper).astype(np.int64), ("upper moon", "lower moon"))


def gaussians(config: DataConfig, rng: np.random.Generator) -> RealData:
    """A mixture of equally likely Gaussians on a ring."""
    n = config.n or DEFAULT_POINTS
    labels = rng.integers(config.modes, size=n)
    x = ring(config)[labels] + config.std * rng.standard_normal((n, 2))
    return RealData("gaussians", x.astype(np.float32), labels, tuple(f"mode {i}" for i in range(config.modes)))


def designs(config: DataConfig, rng: np.random.Generator) -> RealData:
    """Points that stand for designs, flowers unless `config.designs` names others; labels are their kinds."""
    family = load_designs(config.designs)
    x = np.asarray(family.draw(config.n or DEFAULT_POINTS, rng), dtype=np.float32)
    return RealData("flowers", x, family.label(x), tuple(family.label_names))


def ring(config: DataConfig) -> np.ndarray:
    """(modes, 2) the centres of the Gaussians, counter-clockwise from (radius, 0)."""
    angle = 2 * np.pi * np.arange(config.modes) / config.modes
    return config.radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def nearest_mode(config: DataConfig, points: np.ndarray) -> np.ndarray:
    """(n,) int64: for each of (n, d) points the nearest moon or Gaussian by the noiseless shape, or kind of design.

    Raises:
        ValueError: the data set is one of images.
    """
    if config.dataset == "gaussians":
        distances = np.linalg.norm(points[:, None] - ring(config)[None], axis=2)
        return distances.argmin(axis=1)
    if config.dataset == "moons":
        upper = _distance_to_arc(points)
        lower = _distance_to_arc(np.array([1.0, 0.5]) - points)
        return (lower < upper).astype(np.int64)
    if config.family is not None:
        return config.family.label(points)
    raise ValueError(f"{config.dataset} has classes, not modes")


def _distance_to_arc(points: np.ndarray) -> np.ndarray:
    """(n,) distances from (n, 2) points to the upper half of the unit circle."""
    radius = np.linalg.norm(points, axis=1)
    right = np.array([1.0, 0.0])
    ends = np.minimum(np.linalg.norm(points - right, axis=1), np.linalg.norm(points + right, axis=1))
    return np.where(points[:, 1] >= 0, np.abs(radius - 1), ends)


def cifar10(
    config: DataConfig, part: Literal["train", "test"], cache: Path | None = None, on_read: OnRead | None = None
) -> RealData:
    """CIFAR-10's 50,000 training or 10,000 test images, of 32 x 32 pixels unless the settings scale them.

    Args:
        config: its `path` is a local copy as class folders (with or without `train` and `test` over them); empty:
            torchvision downloads it once and checks the MD5.
        part: which of them.
        cache: where the download goes; the user's cache folder by default.
        on_read: called with the numbers of images read so far and in all.

    Raises:
        ValueError: the local copy has no images.
        OSError: the download failed.
    """
    if config.path:
        inside = Path(config.path) / part
        return _pictures("cifar10", inside if inside.is_dir() else Path(config.path), config.size, on_read)
    from torchvision.datasets import CIFAR10

    downloaded = CIFAR10(str(cache or default_cache()), train=part == "train", download=True)
    pixels = downloaded.data
    if config.size != pixels.shape[1]:
        pixels = scale(pixels, config.size, on_read)
    return RealData("cifar10", pixels, np.asarray(downloaded.targets, dtype=np.int64), tuple(downloaded.classes))


def fashion(config: DataConfig, part: Literal["train", "test"], cache: Path | None = None) -> RealData:
    """Fashion-MNIST's 60,000 training or 10,000 test images: grey, 28 x 28 (Xiao et al. 2017).

    Args:
        config: its `path` is a folder with the idx files, gzipped or not, such as Debian's dataset-fashion-mnist has;
            empty: torchvision downloads them once and checks the MD5.
        part: which of them.
        cache: where the download goes; the user's cache folder by default.

    Raises:
        ValueError: the folder hasn't got the files, or they aren't idx files of such images.
        DownloadError: the download failed.
    """
    if not config.path:
        from torchvision.datasets import FashionMNIST

        try:
            downloaded = FashionMNIST(str(cache or default_cache()), train=part == "train", download=True)
        except (OSError, RuntimeError) as error:
            raise DownloadError(
                f"Fashion-MNIST couldn't be downloaded ({' '.join(str(error).split())}); try again, or set data.path "
                "to a folder with its four idx files, such as that of Debian's package dataset-fashion-mnist."
            ) from error
        pixels, labels = downloaded.data.numpy(), downloaded.targets.numpy()
    else:
        name = {"train": "train", "test": "t10k"}[part]
        folder = Path(config.path)
        pixels, labels = read_idx(folder, f"{name}-images-idx3-ubyte"), read_idx(folder, f"{name}-labels-idx1-ubyte")
        if pixels.shape != (len(labels), 28, 28) or (labels >= len(FASHION)).any():
            raise ValueError(f"The idx files in '{folder}' aren't Fashion-MNIST's images of 28 x 28 and their classes.")
    return RealData("fashion", pixels[..., None], labels.astype(np.int64), FASHION)


def text(
    config: DataConfig, part: Literal["train", "test"], cache: Path | None = None, on_read: OnRead | None = None
) -> RealData:
    """Windows of a text, one after the other, as tokens of its vocabulary; all of them are of one class.

    Args:
        config: its `path`, `length`, `tokenizer` and so on.
        part: the text to learn, or its end, which is held out.
        cache: where a download goes; the user's cache folder by default.
        on_read: called with the numbers of bytes downloaded so far and in all.

    Raises:
        ValueError: no such file, one that isn't UTF-8, or too short a text.
        DownloadError: it couldn't be downloaded, or isn't the file that it was.
    """
    corpus = load_corpus(config.path, config.characters, cache, on_read)
    vocabulary = vocabulary_of(corpus, config.tokenizer, config.vocabulary)
    tokens = {"train": vocabulary.encode(corpus.train), "test": vocabulary.encode(corpus.held_out)}
    held_out = len(tokens["test"])  # so that too short a text is refused before anything is trained
    if held_out < LEAST_TEXTS * config.length:
        least = held_out // LEAST_TEXTS
        advice = f"set data.length to {least:,} or less, or choose" if least > 1 else "choose"
        raise ValueError(
            f"{corpus.name} is too short for data.length = {config.length}: the end that is held out has {held_out:,} "
            f"tokens, and it must have {LEAST_TEXTS} texts; {advice} a longer text."
        )
    x = windows(tokens[part], config.length)
    return RealData("text", x, np.zeros(len(x), dtype=np.int64), ("text",), vocabulary)


def read_idx(folder: Path, name: str) -> np.ndarray:
    """Unsigned bytes of an idx file, or a gzipped one, of that name.

    Raises:
        ValueError: it isn't there, or isn't such a file.

    Source: the format of Yann LeCun's MNIST.
    """
    plain, zipped = folder / name, folder / f"{name}.gz"
    if not (plain.is_file() or zipped.is_file()):
        raise ValueError(f"There is no {name} or {name}.gz in '{folder}'; set data.path to the folder of idx files.")
    try:
        content = plain.read_bytes() if plain.is_file() else gzip.decompress(zipped.read_bytes())
        zeros, kind, axes = content[:2], content[2], content[3]
        shape = np.frombuffer(content, ">u4", axes, offset=4).astype(np.int64)
        if zeros != b"\0\0" or kind != 8:
            raise ValueError("its first bytes are others")
        return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape).copy()  # writable
    except (OSError, EOFError, IndexError, ValueError) as error:
        raise ValueError(f"{name} in {folder} isn't an idx file of bytes ({error}); restore it.") from error


def images(config: DataConfig, on_read: OnRead | None = None) -> RealData:
    """The images under `config.path`, cut to squares and scaled.

    Sub-folders are classes; where there are none, `config.clusters` clusters of look-alikes stand for classes.

    Raises:
        ValueError: no folder, no images in it, or one that doesn't decode.
    """
    if not config.path:
        raise ValueError("data.dataset 'folder' needs data.path, the folder of images.")
    real = _pictures("folder", Path(config.path), config.size, on_read)
    if len(real.label_names) > 1:
        return real
    labels = look_alikes(real.x, config.clusters)
    return replace(real, labels=labels, label_names=tuple(f"cluster {i + 1}" for i in range(labels.max() + 1)))


def _pictures(name: str, root: Path, size: int, on_read: OnRead | None) -> RealData:
    """The images under a folder and their classes, as a data set of this name."""
    class_of = find(root)
    classes, labels = np.unique(list(class_of.values()), return_inverse=True)
    return RealData(name, read(list(class_of), size, on_read), labels.astype(np.int64), tuple(classes.tolist()))


def find(root: Path) -> dict[Path, str]:
    """The images under a folder, in the order of their paths, with their classes: the names of its sub-folders.

    Images that lie in the folder itself are of class 'all'. Hidden files, and those that macOS adds to archives, are
    left out.

    Raises:
        ValueError: no folder, or no images in it.
    """
    if not root.is_dir():
        raise ValueError(f"There is no folder of images at '{root}'; set data.path to one.")
    parts_of = {file: file.relative_to(root).parts for file in root.rglob("*") if file.suffix.lower() in SUFFIXES}
    files = sorted(
        file
        for file, parts in parts_of.items()
        if not any(part.startswith(".") or part == "__MACOSX" for part in parts)
    )
    if not files:
        raise ValueError(f"There are no images under {root}; it needs files such as .png or .jpg.")
    return {file: parts_of[file][0] if len(parts_of[file]) > 1 else "all" for file in files}


def read(files: list[Path], size: int, on_read: OnRead | None = None) -> np.ndarray:
    """(n, size, size, 3) uint8, cut to squares from the centre and scaled.

    Raises:
        ValueError: a file can't be read as an image.
    """
    some = [file.stat().st_size for file in files[:CHUNK]]
    threads = os.cpu_count() or 1 if sum(some) > LARGE * len(some) else 1
    return _filled(len(files), size, lambda i: read_image(files[i], size), threads, on_read)


def scale(images: np.ndarray, size: int, on_read: OnRead | None = None) -> np.ndarray:
    """(n, size, size, 3) uint8 from (n, height, width, 3) uint8."""
    return _filled(len(images), size, lambda i: central_square(Image.fromarray(images[i]), size), 1, on_read)


def _filled(n: int, size: int, make: Callable[[int], np.ndarray], threads: int, on_read: OnRead | None) -> np.ndarray:
    """(n, size, size, 3) uint8, of which `make` gives each by its index; in several threads."""
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


def read_image(file: Path, size: int) -> np.ndarray:
    """(size, size, 3) uint8 of an image file, turned as its EXIF data say.

    Raises:
        ValueError: it can't be read as an image.
    """
    try:
        with Image.open(file) as image:
            return central_square(to_rgb(ImageOps.exif_transpose(image)), size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file} can't be read as an image ({error}); remove or replace it.") from error


def central_square(image: Image.Image, size: int) -> np.ndarray:
    """(size, size, channels) the square in the middle of an image, scaled."""
    return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS))


def to_rgb(image: Image.Image) -> Image.Image:
    """An image in red, green and blue of 8 bits; transparent places become white.

    Raises:
        ValueError: its grey levels have an unknown range.
    """
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError("its grey levels have 32 bits, of unknown range")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def look_alikes(x: np.ndarray, k: int) -> np.ndarray:
    """(n,) int64 clusters of images by k-means on small versions of them, the largest cluster first.

    An image and its mirror image count as alike: a classifier may be shown either. There are fewer than k clusters
    where images are few or the same. The same images always give the same clusters.

    Args:
        x: (n, height, width, channels) uint8, at least 8 x 8.
        k: the number of clusters.

    Source: k-means++, Arthur and Vassilvitskii 2007.
    """
    small = (_small(x) + _small(x[:, :, ::-1])).reshape(len(x), -1)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):  # images that are all the same
        warnings.simplefilter("ignore", UserWarning)  # clusters that get no image
        assigned = kmeans2(small, min(k, len(x)), iter=30, minit="++", rng=np.random.default_rng(0))[1]
    _, labels, counts = np.unique(assigned, return_inverse=True, return_counts=True)
    return np.argsort(np.argsort(-counts, kind="stable"))[labels].astype(np.int64)


def _small(x: np.ndarray) -> np.ndarray:
    """(n, 8, 8, channels) float32 sums over blocks of images."""
    rows, columns = (np.linspace(0, size, SIDE, endpoint=False).astype(int) for size in x.shape[1:3])
    return np.add.reduceat(np.add.reduceat(x, rows, axis=1, dtype=np.float32), columns, axis=2)


def has_density(config: DataConfig) -> bool:
    """True if the data are points drawn from a law with a density known in closed form."""
    return config.dataset == "gaussians" or (config.dataset == "moons" and config.noise >= LEAST_NOISE)


def log_density(config: DataConfig, points: np.ndarray) -> np.ndarray:
    """(n,) float64 log-density at (n, 2) points of the law that `data.datasets.load` draws them from.

    Raises:
        ValueError: the data have no known density.
    """
    if not has_density(config):
        raise ValueError(f"The density of {config.dataset} isn't known.")
    centres, std = _mixture(config)
    points = np.asarray(points, dtype=np.float64)
    constant = math.log(2 * math.pi * std**2 * len(centres))
    size, parts = max(1, POINTS_AT_ONCE // len(centres)), [np.empty(0)]
    for part in (points[start : start + size] for start in range(0, len(points), size)):
        # |x - c|^2 = |x|^2 - 2 xc + |c|^2, and |x|^2 is the same for all centres
        exponents = (part @ centres.T - (centres**2).sum(1) / 2) / std**2
        largest = exponents.max(1, keepdims=True)
        exponents -= largest
        np.exp(exponents, out=exponents)
        parts.append(np.log(exponents.sum(1)) + largest[:, 0] - (part**2).sum(1) / (2 * std**2))
    return np.concatenate(parts) - constant


def rectangle_masses(config: DataConfig, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(m,) the law's mass in rectangles.

    Args:
        config: the [data] table; of points.
        low: (m, 2) lower left corners; -inf for none.
        high: (m, 2) upper right ones.
    """
    centres, std = _mixture(config)
    scale = max(std, 1e-9)

    def within(axis: int, i: int) -> np.ndarray:
        edges = (np.array([low[i, axis], high[i, axis]])[:, None] - centres[:, axis]) / scale
        below, above = ndtr(edges)
        return above - below

    return np.array([(within(0, i) * within(1, i)).mean() for i in range(len(low))])


def _mixture(config: DataConfig) -> tuple[np.ndarray, float]:
    """(m, 2) equally likely centres of Gaussians, and their standard deviation."""
    if config.dataset == "gaussians":
        return ring(config), config.std
    n = max(FEWEST_ANGLES, math.ceil(ANGLES_BY_NOISE / max(config.noise, LEAST_NOISE)))
    angle = np.pi * (np.arange(n) + 0.5) / n
    arc = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.concatenate([arc, [1.0, 0.5] - arc]), config.noise
