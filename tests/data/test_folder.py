"""A folder of images: its classes, its squares, files of every kind, and those that can't be read."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data import datasets
from data.config import DataConfig
from data.datasets import look_alikes


def pictures(path: Path, size: int = 8, clusters: int = 8) -> datasets.RealData:
    return datasets.load(DataConfig(dataset="folder", path=str(path), size=size, clusters=clusters), seed=0)


def save(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (20, 10), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).convert(mode).save(path)


def test_a_folder_of_folders_has_classes_and_squares(tmp_path: Path):
    save(tmp_path / "b" / "1.png", (0, 255, 0))
    save(tmp_path / "a" / "deep" / "2.JPG", (255, 0, 0), size=(9, 40))
    save(tmp_path / "a" / "3.png", (255, 255, 255), mode="L")
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    found = datasets.load(DataConfig(dataset="folder", path=str(tmp_path), size=8), seed=0)
    assert found.x.shape == (3, 8, 8, 3) and found.label_names == ("a", "b")
    assert found.labels.tolist() == [0, 0, 1]  # by path: a/3.png, a/deep/2.JPG, b/1.png
    assert (found.x[0] == 255).all()
    assert np.abs(found.x[1].astype(int) - [254, 0, 0]).max() <= 2  # a JPEG
    assert (found.x[2] == [0, 255, 0]).all()


@pytest.mark.parametrize("inside", ["", "only"])
def test_without_classes_look_alikes_stand_for_them(tmp_path: Path, inside: str):
    for i in range(9):
        save(tmp_path / inside / f"{i}.png", (20 * (i % 3 // 2) + i, 200 * (i % 3 > 0), 250 * (i % 3 > 1)))
    found = pictures(tmp_path, clusters=3)
    again = pictures(tmp_path, clusters=3)
    assert found.label_names == ("cluster 1", "cluster 2", "cluster 3")
    assert len({tuple(found.labels[i::3]) for i in range(3)}) == 3
    assert all(len(set(found.labels[i::3])) == 1 for i in range(3))
    assert (found.labels == again.labels).all()


def test_an_image_and_its_mirror_image_look_alike():
    x = np.random.default_rng(0).integers(0, 256, (50, 20, 20, 3), dtype=np.uint8)
    labels = look_alikes(np.concatenate([x, x[:, :, ::-1]]), 4)
    assert (labels[:50] == labels[50:]).all()
    assert (np.diff(np.bincount(labels)) <= 0).all()  # the largest first


@pytest.mark.parametrize("n", [1, 3])
def test_images_that_are_all_the_same_are_one_cluster(n: int):
    assert look_alikes(np.full((n, 8, 8, 3), 7, np.uint8), 8).tolist() == [0] * n


def test_the_middle_of_an_image_is_kept(tmp_path: Path):
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert (pictures(tmp_path).x == 255).all()


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n and then nothing"])
def test_an_image_that_does_not_decode_is_named(tmp_path: Path, content: bytes):
    save(tmp_path / "good.png", (1, 2, 3))
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.png can't be read as an image"):
        datasets.load(DataConfig(dataset="folder", path=str(tmp_path)), seed=0)


@pytest.mark.parametrize("path", ["nowhere", "empty"])
def test_a_folder_that_is_missing_or_empty_is_refused(tmp_path: Path, path: str):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"There (is no folder|are no images)"):
        pictures(tmp_path / path)


def test_a_folder_that_is_not_named_is_not_the_one_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save(tmp_path / "1.png", (1, 2, 3))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"data\.path"):
        datasets.load(DataConfig(dataset="folder"), seed=0)


def colour(path: Path) -> list[int]:
    """Of the first pixel of the only image in the file's folder."""
    return pictures(path.parent).x[0, 0, 0].tolist()


def test_a_photograph_stands_as_its_camera_was_held(tmp_path: Path):
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :4] = 255  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    Image.fromarray(pixels).save(tmp_path / "1.png", exif=exif)
    assert (pictures(tmp_path).x[0, :4] == 255).all() and (pictures(tmp_path).x[0, 4:] == 0).all()


def test_grey_of_16_bits_keeps_its_levels(tmp_path: Path):
    Image.fromarray(np.full((8, 8), 0x8000, np.uint16)).save(tmp_path / "1.png")
    assert colour(tmp_path / "1.png") == [0x80] * 3


def test_grey_of_32_bits_is_refused(tmp_path: Path):
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(tmp_path / "1.tif")
    with pytest.raises(ValueError, match=r"1\.tif can't be read as an image .*32 bits"):
        pictures(tmp_path)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_places_are_white(tmp_path: Path, mode: str):
    black = Image.new("RGBA", (8, 8), (0, 0, 0, 0)).convert(mode)
    black.save(tmp_path / "1.png", **({"transparency": black.getpixel((0, 0))} if mode == "P" else {}))
    assert colour(tmp_path / "1.png") == [255] * 3


def test_what_is_hidden_or_left_by_macos_is_no_image(tmp_path: Path):
    for name in "ab":
        save(tmp_path / name / "1.png", (1, 2, 3))
    for name in ("a/._1.png", "__MACOSX/a/1.png", ".thumbnails/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"no image")
    assert pictures(tmp_path).label_names == ("a", "b") and len(pictures(tmp_path)) == 2


def test_a_folder_inside_a_hidden_one_is_read(tmp_path: Path):
    save(tmp_path / ".cache" / "images" / "1.png", (1, 2, 3))
    assert len(pictures(tmp_path / ".cache" / "images")) == 1


def test_an_image_too_large_to_be_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save(tmp_path / "1.png", (1, 2, 3), size=(30, 30))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"1\.png can't be read as an image .*exceeds limit"):
        pictures(tmp_path)


def test_a_png_that_breaks_off_into_nonsense_is_named(tmp_path: Path):
    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)

    header = (8).to_bytes(4) * 2 + bytes([8, 2, 0, 0, 0])
    pixels = zlib.compress(bytes(8 * 25))
    parts = chunk(b"IHDR", header), chunk(b"IDAT", pixels[:4]), b"\0\0\0\1\1\2\3\4rest"
    (tmp_path / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    with pytest.raises(ValueError, match=r"1\.png can't be read as an image"):
        pictures(tmp_path)


@pytest.mark.parametrize("large", [0, 1 << 40])  # bytes from which files are read side by side
def test_it_tells_how_many_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: int):
    monkeypatch.setattr(datasets, "LARGE", large)
    monkeypatch.setattr(datasets, "CHUNK", 4)
    for i in range(10):
        save(tmp_path / f"{i}.png", (i, 0, 0))
    told = []
    found = datasets.load(
        DataConfig(dataset="folder", path=str(tmp_path)), seed=0, on_read=lambda done, total: told.append((done, total))
    )
    assert told == [(4, 10), (8, 10), (10, 10)]
    assert found.x[:, 0, 0, 0].tolist() == list(range(10))
