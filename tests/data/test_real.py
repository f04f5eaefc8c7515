"""The real data sets: shapes, levels, modes, folders, CIFAR-10 from a folder and from a server."""

import gzip
import hashlib
import io
import pickle
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data import datasets
from data.config import DataConfig
from data.downloads import DownloadError

SHARED_CIFAR10 = Path(__file__).parents[3] / "shared" / "data" / "cifar10-jpeg.tar.gz"


def test_digits_are_all_1797_with_17_levels_over_the_whole_range():
    real = datasets.load(DataConfig(dataset="digits"), seed=0)
    assert real.x.shape == (1797, 8, 8, 1) and real.x.dtype == np.uint8 and real.is_images
    np.testing.assert_array_equal(np.unique(real.x), np.round(np.arange(17) * 255 / 16))
    assert real.label_names == tuple("0123456789")
    assert real.shares().sum() == pytest.approx(1) and real.shares().min() > 0.09


@pytest.mark.parametrize("dataset", ["digits", "moons", "gaussians"])
def test_the_same_seed_gives_the_same_data_and_another_one_others(dataset):
    config = DataConfig(dataset=dataset, n=100)
    first, again, other = (datasets.load(config, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.x, again.x)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert len(first) == 100 and not np.array_equal(first.x, other.x)


def test_a_subset_has_no_datum_twice_and_more_than_there_are_is_refused():
    subset = datasets.load(DataConfig(dataset="digits", n=1700), seed=0).x.reshape(1700, -1)
    assert len(np.unique(subset, axis=0)) == len(np.unique(datasets.digits().x.reshape(1797, -1), axis=0)) - 97
    with pytest.raises(ValueError, match=r"1,798 of digits, which has only 1,797: set it to 0 for all"):
        datasets.load(DataConfig(dataset="digits", n=1798), seed=0)


def test_points_are_5000_unless_asked_otherwise():
    assert datasets.load(DataConfig(dataset="moons"), 0).x.shape == (5000, 2)
    assert datasets.load(DataConfig(dataset="gaussians"), 0).x.shape == (5000, 2)


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.1])
def test_moons_lie_on_their_arcs_up_to_the_noise(noise: float):
    n = 20_000
    real = datasets.load(DataConfig(dataset="moons", n=n, noise=noise), seed=1)
    arcs = np.where(real.labels[:, None] == 0, real.x, [1.0, 0.5] - real.x)
    assert real.labels.mean() == pytest.approx(0.5)
    radii = np.linalg.norm(arcs, axis=1)
    inner = arcs[:, 1] > 3 * noise  # away from the ends, where the distance to the arc is |radius - 1|
    assert radii[inner].std() == pytest.approx(noise, rel=0.1, abs=1e-6)
    assert np.abs(radii[inner] - 1).max() <= 6 * noise + 1e-6
    if noise == 0:
        assert arcs[:, 1].min() >= -1e-6


def test_gaussians_have_their_centres_and_spread():
    config = DataConfig(dataset="gaussians", n=40_000, modes=5, radius=3.0, std=0.2)
    real = datasets.load(config, seed=2)
    centres = datasets.ring(config)
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 3.0)
    np.testing.assert_allclose(centres[0], [3.0, 0.0])
    assert centres[1, 1] > 0  # counter-clockwise
    for mode in range(5):
        members = real.x[real.labels == mode]
        assert len(members) == pytest.approx(8_000, rel=0.05)
        np.testing.assert_allclose(members.mean(0), centres[mode], atol=5 * 0.2 / np.sqrt(len(members)))
        np.testing.assert_allclose(members.std(0), 0.2, rtol=0.05)


@pytest.mark.parametrize(
    "config",
    [DataConfig(dataset="moons", n=2_000, noise=0), DataConfig(dataset="gaussians", n=2_000, std=1e-6, modes=7)],
    ids=["moons", "gaussians"],
)
def test_the_nearest_mode_of_a_noiseless_point_is_its_own(config: DataConfig):
    real = datasets.load(config, seed=3)
    np.testing.assert_array_equal(datasets.nearest_mode(config, real.x), real.labels)


@pytest.mark.parametrize(
    ("point", "mode"), [([0, 2], 0), ([1, -2], 1), ([-1, -1], 0), ([2, 1.5], 1), ([0, 0.6], 1), ([1, -0.1], 0)]
)
def test_the_nearest_moon_of_points_off_the_arcs(point: list[float], mode: int):
    assert datasets.nearest_mode(DataConfig(dataset="moons"), np.array([point], float)).tolist() == [mode]


def test_images_have_no_modes():
    with pytest.raises(ValueError, match="classes"):
        datasets.nearest_mode(DataConfig(dataset="digits"), np.zeros((1, 2)))


def test_cifar10_from_class_folders_of_jpegs(tmp_path: Path):
    if not SHARED_CIFAR10.is_file():
        pytest.skip(f"no {SHARED_CIFAR10}")
    wanted, names = 5, set()
    with tarfile.open(SHARED_CIFAR10) as archive:
        for member in archive:
            parts = Path(member.name).parts
            if member.isfile() and parts[0] == "train" and int(Path(member.name).stem) < wanted:
                names.add(parts[1])
                archive.extract(member, tmp_path, filter="data")
            if len(names) == 10 and len(list(tmp_path.glob("train/*/*.jpg"))) == 10 * wanted:
                break
    real = datasets.load(DataConfig(dataset="cifar10", path=str(tmp_path)), seed=0)
    assert real.x.shape == (10 * wanted, 32, 32, 3) and real.name == "cifar10"
    assert real.label_names == tuple(sorted(names)) and real.label_names[0] == "airplane"
    np.testing.assert_array_equal(np.bincount(real.labels), [wanted] * 10)
    first = np.asarray(Image.open(tmp_path / "train" / "airplane" / "0000.jpg").convert("RGB"))
    np.testing.assert_array_equal(real.x[0], first)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An HTTP server of a folder: its address and the folder."""
    served = tmp_path / "served"
    served.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}", served
        http.shutdown()


def fake_cifar10(path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> np.ndarray:
    """A tiny archive in CIFAR-10's format, whose MD5 torchvision is made to expect; gives its pixels."""
    from torchvision.datasets import CIFAR10

    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    batch = pickle.dumps({"data": pixels.reshape(4, -1), "labels": [0, 9, 3, 0]})
    meta = pickle.dumps({"label_names": [f"class {i}" for i in range(10)]})
    with tarfile.open(path, "w:gz") as archive:
        for name, content in (("data_batch_1", batch), ("batches.meta", meta)):
            member = tarfile.TarInfo(f"{CIFAR10.base_folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(CIFAR10, "url", f"{url}/{path.name}")
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", hashlib.md5(batch).hexdigest()]])
    monkeypatch.setattr(CIFAR10, "test_list", [])
    monkeypatch.setattr(
        CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": hashlib.md5(meta).hexdigest()}
    )
    return pixels.transpose(0, 2, 3, 1)


def test_cifar10_is_downloaded_once(server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    url, served = server
    archive = served / "cifar-10-python.tar.gz"
    pixels = fake_cifar10(archive, monkeypatch, url)
    real = datasets.load(DataConfig(dataset="cifar10"), seed=0, cache=tmp_path / "cache")
    np.testing.assert_array_equal(real.x, pixels)
    assert real.labels.tolist() == [0, 9, 3, 0] and real.label_names[9] == "class 9"
    archive.unlink()
    np.testing.assert_array_equal(datasets.load(DataConfig(dataset="cifar10"), 0, tmp_path / "cache").x, pixels)


@pytest.mark.parametrize("damage", ["other bytes", "missing"])
def test_a_download_that_is_not_what_it_should_be_fails(
    server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
):
    url, served = server
    archive = served / "cifar-10-python.tar.gz"
    fake_cifar10(archive, monkeypatch, url)
    archive.unlink()
    if damage == "other bytes":
        archive.write_bytes(b"something else")
    with pytest.raises((OSError, RuntimeError)):
        datasets.load(DataConfig(dataset="cifar10"), seed=0, cache=tmp_path / "cache")


def idx(values: np.ndarray) -> bytes:
    shape = np.array(values.shape, dtype=">u4").tobytes()
    return bytes([0, 0, 8, values.ndim]) + shape + values.astype(np.uint8).tobytes()


def test_fashion_mnist_is_read_from_idx_files_gzipped_or_not(tmp_path: Path):
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(256, size=(30, 28, 28)), rng.integers(10, size=30)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pixels)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    for kind, values in (("images-idx3", pixels[:7]), ("labels-idx1", labels[:7])):
        (tmp_path / f"t10k-{kind}-ubyte.gz").write_bytes(gzip.compress(idx(values)))
    config = DataConfig(dataset="fashion", path=str(tmp_path))
    real, held_out = datasets.load(config, 0), datasets.load_test(config)
    assert (real.x[..., 0] == pixels).all() and (real.labels == labels).all() and real.label_names[9] == "ankle boot"
    assert datasets.sample_shape(config) == (1, 28, 28) and held_out is not None and len(held_out) == 7
    assert len(datasets.load(DataConfig(dataset="fashion", path=str(tmp_path), n=12), 0)) == 12

    broken = {
        "no train-images": None,
        "isn't an idx file": idx(pixels)[:-9],
        "isn't an idx file of bytes": b"\x1f\x8b",
        "aren't Fashion-MNIST's": idx(pixels[:, :8, :8]),
    }
    for message, content in broken.items():
        (tmp_path / "train-images-idx3-ubyte.gz").unlink(missing_ok=True)
        if content is not None:
            (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
        with pytest.raises(ValueError, match=message):
            datasets.load(config, 0)


def test_fashion_mnist_is_downloaded_once_and_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch):
    from torchvision.datasets import FashionMNIST

    rng, folder = np.random.default_rng(0), tmp_path / "server"
    folder.mkdir()
    for part, n in (("train", 12), ("t10k", 5)):
        for kind, values in (("images-idx3", rng.integers(256, size=(n, 28, 28))), ("labels-idx1", np.arange(n) % 10)):
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(idx(values)))
    sums = [(file.name, hashlib.md5(file.read_bytes()).hexdigest()) for file in sorted(folder.iterdir())]
    monkeypatch.setattr(FashionMNIST, "resources", sums)
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(FashionMNIST, "mirrors", [f"http://127.0.0.1:{http.server_port}/"])
        config = DataConfig(dataset="fashion")
        assert len(datasets.load(config, 0, cache=tmp_path / "cache")) == 12
        http.shutdown()
    held_out = datasets.load_test(config, cache=tmp_path / "cache")  # the server is gone
    assert held_out is not None and len(held_out) == 5
    with pytest.raises(DownloadError, match=r"set data\.path to a folder with its four idx files"):
        datasets.load(config, 0, cache=tmp_path / "other")
