"""The real data sets: digits, two moons, a ring of Gaussians, CIFAR-10, a folder of images.

Points are float32, images uint8 with the channels last; the model package scales them. Labels are classes for images
and modes (which moon, which Gaussian) for points.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from data import folder
from data.config import DataConfig, DatasetName
from data.folder import OnRead

DEFAULT_POINTS = 5_000


@dataclass(frozen=True, slots=True)
class RealData:
    """A data set in memory.

    Attributes:
        x: (n, 2) float32 points, or (n, height, width, channels) uint8 images.
        labels: (n,) int64, indices into `label_names`.
    """

    name: str
    x: np.ndarray
    labels: np.ndarray
    label_names: tuple[str, ...]

    @property
    def is_images(self) -> bool:
        """Whether the data are images (else points)."""
        return self.x.ndim == 4

    def __len__(self) -> int:
        return len(self.x)

    def shares(self) -> np.ndarray:
        """(number of labels,) the share of each label among the data."""
        return np.bincount(self.labels, minlength=len(self.label_names)) / len(self)


def load(config: DataConfig, seed: int, cache: Path | None = None, on_read: OnRead | None = None) -> RealData:
    """The study's real data; random ones (points, a subset) are drawn from `seed`.

    Args:
        config: the [data] table.
        seed: the study's.
        cache: where a download goes; the user's cache folder by default.
        on_read: told how many images of how many are read.

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
    }
    return _first(loaders[config.dataset](), config.n, rng)


def load_test(config: DataConfig, cache: Path | None = None) -> RealData | None:
    """The images kept from all training, where the data set has such a part: CIFAR-10 has 10,000.

    Errors as in `load`; a local copy without a `test` folder has none.
    """
    if config.dataset != "cifar10" or (config.path and not (Path(config.path) / "test").is_dir()):
        return None
    return cifar10(config, "test", cache)


def sample_shape(config: DataConfig) -> tuple[int, ...]:
    """Of one datum as models see it: (2,) for points, (channels, height, width) for images; nothing is loaded."""
    shapes: dict[DatasetName, tuple[int, ...]] = {
        "digits": (1, 8, 8),
        "moons": (2,),
        "gaussians": (2,),
        "cifar10": (3, config.size, config.size),
        "folder": (3, config.size, config.size),
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


def ring(config: DataConfig) -> np.ndarray:
    """(modes, 2) the centres of the Gaussians, counter-clockwise from (radius, 0)."""
    angle = 2 * np.pi * np.arange(config.modes) / config.modes
    return config.radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def nearest_mode(config: DataConfig, points: np.ndarray) -> np.ndarray:
    """(n,) int64: for each of (n, 2) points the nearest moon or Gaussian, by distance to the noiseless shape.

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
    raise ValueError(f"{config.dataset} has classes, not modes")


def cifar10(
    config: DataConfig, part: Literal["train", "test"], cache: Path | None = None, on_read: OnRead | None = None
) -> RealData:
    """CIFAR-10's 50,000 training or 10,000 test images, of 32 x 32 pixels unless the settings scale them.

    Args:
        config: its `path` is a local copy as class folders (with or without `train` and `test` over them); empty:
            torchvision downloads it once and checks the MD5.
        part: which of them.
        cache: where the download goes; the user's cache folder by default.
        on_read: told how many images of how many are read.

    Raises:
        ValueError: the local copy has no images.
        OSError: the download failed.
    """
    if config.path:
        inside = Path(config.path) / part
        return _pictures("cifar10", inside if inside.is_dir() else Path(config.path), config.size, on_read)
    from torchvision.datasets import CIFAR10

    found = CIFAR10(str(cache or default_cache()), train=part == "train", download=True)
    pixels = found.data if config.size == found.data.shape[1] else folder.scale(found.data, config.size, on_read)
    return RealData("cifar10", pixels, np.asarray(found.targets, dtype=np.int64), tuple(found.classes))


def images(config: DataConfig, on_read: OnRead | None = None) -> RealData:
    """The images under `config.path`, cut to squares and scaled.

    Sub-folders are classes; where there are none, `config.clusters` clusters of look-alikes stand for classes.

    Raises:
        ValueError: no folder, no images in it, or one that doesn't decode.
    """
    if not config.path:
        raise ValueError("data.dataset 'folder' needs data.path, the folder of images.")
    found = _pictures("folder", Path(config.path), config.size, on_read)
    if len(found.label_names) > 1:
        return found
    from data.clusters import look_alikes

    labels = look_alikes(found.x, config.clusters)
    return replace(found, labels=labels, label_names=tuple(f"cluster {i + 1}" for i in range(labels.max() + 1)))


def _pictures(name: str, root: Path, size: int, on_read: OnRead | None) -> RealData:
    found = folder.find(root)
    classes, labels = np.unique(list(found.values()), return_inverse=True)
    return RealData(name, folder.read(list(found), size, on_read), labels.astype(np.int64), tuple(classes.tolist()))


def default_cache() -> Path:
    """Where downloads go unless a study says otherwise."""
    from platformdirs import user_cache_path

    return user_cache_path("curate", ensure_exists=True)


def _distance_to_arc(points: np.ndarray) -> np.ndarray:
    """From (n, 2) points to the upper half of the unit circle."""
    radius = np.linalg.norm(points, axis=1)
    right = np.array([1.0, 0.0])
    ends = np.minimum(np.linalg.norm(points - right, axis=1), np.linalg.norm(points + right, axis=1))
    return np.where(points[:, 1] >= 0, np.abs(radius - 1), ends)


def _first(real: RealData, n: int, rng: np.random.Generator) -> RealData:
    """A random subset of n (all when 0)."""
    if n == 0 or n == len(real):
        return real
    if n > len(real):
        raise ValueError(f"data.n asks for {n} of {real.name}, which has only {len(real)}")
    keep = np.sort(rng.choice(len(real), n, replace=False))
    return RealData(real.name, real.x[keep], real.labels[keep], real.label_names)
