"""PNGs named by their content, and contact sheets."""

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from data.images import contact_sheet, damaged, decode_png, encode_png, text_sheet

pictures = st.tuples(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3])).flatmap(
    lambda shape: arrays(np.uint8, shape)
)


@given(pictures)
def test_pixels_survive_and_the_name_is_the_hash_of_the_bytes(pixels: np.ndarray):
    sha256, png = encode_png(pixels)
    np.testing.assert_array_equal(decode_png(png), pixels)
    assert sha256 == hashlib.sha256(png).hexdigest()


@given(pictures)
def test_a_png_holds_pixels_and_nothing_else(pixels: np.ndarray):
    _, png = encode_png(pixels)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    kinds, at = [], 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kinds.append(png[at + 4 : at + 8])
        at += 12 + length
    assert kinds[0] == b"IHDR" and kinds[-1] == b"IEND"
    assert set(kinds[1:-1]) == {b"IDAT"}
    assert at == len(png)


@given(pictures)
def test_the_same_pixels_give_the_same_bytes(pixels: np.ndarray):
    flipped_twice = pixels[::-1][::-1]
    assert encode_png(pixels) == encode_png(flipped_twice.copy())


@given(pictures, st.data())
def test_one_other_pixel_gives_another_name(pixels: np.ndarray, data: st.DataObject):
    place = tuple(data.draw(st.integers(0, size - 1)) for size in pixels.shape)
    other = pixels.copy()
    other[place] ^= 1
    assert encode_png(other)[0] != encode_png(pixels)[0]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_holds_pixels_and_nothing_about_its_making(channels: int):
    _, png = encode_png(np.zeros((5, 4, channels), np.uint8))
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    kinds, at = [], 8
    while at < len(png):
        kinds.append(png[at + 4 : at + 8])
        at += 12 + int.from_bytes(png[at : at + 4], "big")
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4, 1)), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((2, 4, 4, 1), np.uint8)],
    ids=["floats", "no channels", "four channels", "a batch"],
)
def test_anything_but_grey_or_rgb_bytes_is_refused(pixels: np.ndarray):
    with pytest.raises(ValueError, match="uint8"):
        encode_png(pixels)


def test_damage_is_found_by_name():
    good, bad = encode_png(np.zeros((2, 2, 1), np.uint8)), encode_png(np.ones((2, 2, 1), np.uint8))
    assert damaged([good, (bad[0], bad[1][:-1] + b"\0")]) == [bad[0]]


@pytest.mark.parametrize(("n", "columns"), [(1, 1), (3, 3), (5, 3), (7, 2)])
def test_a_contact_sheet_puts_each_image_in_its_place(n: int, columns: int):
    images = np.arange(1, n + 1, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 6, 3), np.uint8)
    sheet = contact_sheet(images, columns, gap=2, background=200)
    rows = -(-n // columns)
    assert sheet.shape == (rows * 6 - 2, columns * 8 - 2, 3)
    seen = np.zeros(sheet.shape[:2], bool)
    for i, image in enumerate(images):
        place = np.s_[i // columns * 6 : i // columns * 6 + 4, i % columns * 8 : i % columns * 8 + 6]
        np.testing.assert_array_equal(sheet[place], image)
        seen[place] = True
    assert (sheet[~seen] == 200).all()


def test_a_sheet_of_texts_has_a_frame_for_each_and_no_more_than_a_few_lines_of_any():
    short, long = text_sheet(["a", "b"]), text_sheet(["a", "b" * 60, "\n" * 4_000])
    assert short.dtype == np.uint8 and short.shape[1:] == long.shape[1:] and short.shape[2] == 3
    assert 0 < long.shape[0] - short.shape[0] < 400
    assert not np.array_equal(text_sheet(["a"]), text_sheet(["b"]))
