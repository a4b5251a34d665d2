"""What decoding an image costs, known from its header: its memory, and how much smaller it may be decoded."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.fault.image_files import bmp, bmp_rle, encoded, plain, resized_jpeg

from imagematch.data import decode, decoding_limits
from imagematch.data.decoding_limits import MAX_MEMORY_BYTES, allowed_bytes, memory_bytes, reduction_for
from imagematch.data.image_headers import open_image
from imagematch.errors import DataError


def jpeg(width: int, height: int, mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height)).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kept", "asked", "reduction"),
    [
        ((4000, 3000), (224, 224), 4),
        ((4000, 3584), (224, 224), 8),
        ((896, 896), (224, 224), 2),
        ((895, 4000), (224, 224), 1),  # the shorter side decides
        ((500, 375), (224, 224), 1),
        ((300, 300), (300, 300), 1),
        ((100, 100), (100, 100), 1),
    ],
)
def test_twice_of_what_is_asked_for_is_left(kept: tuple[int, int], asked: tuple[int, int], reduction: int) -> None:
    data = jpeg(4000, 4000)
    assert reduction_for(open_image(data), data, kept, asked) == reduction


def test_a_smaller_margin_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    data = jpeg(2000, 2000)
    image = open_image(data)
    assert reduction_for(image, data, (2000, 2000), (800, 800)) == 1
    monkeypatch.setattr(decoding_limits, "MAX_MEMORY_BYTES", 5_000_000)
    assert reduction_for(image, data, (2000, 2000), (800, 800)) == 2
    assert reduction_for(image, data, (2000, 2000), (1500, 1500)) == 1  # less than what is asked for is never decoded


@pytest.mark.parametrize(
    ("mode", "options", "coefficients"),
    [
        ("RGB", {}, 0),
        ("RGB", {"progressive": True}, 3.0),  # 4:2:0: one and two quarters, two bytes each
        ("RGB", {"progressive": True, "subsampling": 0}, 6.0),
        ("L", {"progressive": True}, 2.0),
    ],
)
def test_what_a_progressive_jpeg_takes(mode: str, options: dict[str, Any], coefficients: float) -> None:
    data = jpeg(1600, 1600, mode, **options)
    image = open_image(data)
    pixels = 1 if mode == "L" else 4
    assert memory_bytes(image, data) == 1600 * (1600 * (pixels + coefficients) + 8)
    assert memory_bytes(image, data, 8) == 200 * (200 * pixels + 8) + 1600 * 1600 * coefficients


def test_a_baseline_jpeg_of_several_scans_is_held_too() -> None:
    data = jpeg(1600, 1600)
    scan = data.find(b"\xff\xda")
    apart = (
        data[: scan + 2] + b"\x00\x08\x01\x01\x00\x00\x3f\x00" + data[scan + 14 :]
    )  # its first scan is of one component
    assert memory_bytes(open_image(apart), apart, 8) == 200 * (200 * 4 + 8) + 1600 * 1600 * 3


def test_a_tiff_of_a_million_strips_is_refused_even_where_its_directory_is_cut_off() -> None:
    directory = struct.pack("<HHHII", 500, 273, 4, 1_000_000, 8) + bytes(7)  # says 500 entries, has one and a bit
    with pytest.raises(DataError, match="more than 100,000 strips"):
        open_image(b"II*\0" + struct.pack("<I", 8) + directory)


def test_a_progressive_photo_of_108_megapixels_fits_where_its_file_is_honest() -> None:
    data = resized_jpeg(jpeg(160, 160, progressive=True), 12_000, 9_000)
    image = open_image(data)
    needed = memory_bytes(image, data, 8)
    assert needed == 1125 * (1500 * 4 + 8) + 128 * (1500 * 1125 + 2 * 750 * 563)
    assert allowed_bytes(image, data) == MAX_MEMORY_BYTES < needed  # a file of a few kilobytes
    assert allowed_bytes(image, data + bytes(1_400_000)) > needed
    assert allowed_bytes(image, data + bytes(99_000_000)) == 700_000_000
    png = encoded(plain(), "PNG")
    assert allowed_bytes(open_image(png), png + bytes(99_000_000)) == MAX_MEMORY_BYTES


def test_a_large_progressive_photo_gives_the_pixels_of_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1600, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), "JPEG", progressive=True)
    before = decode(data, 75)
    monkeypatch.setattr(decoding_limits, "MAX_MEMORY_BYTES", 3_000_000)
    assert np.array_equal(decode(data, 75), before)
    monkeypatch.setattr(decoding_limits, "MAX_CAMERA_BYTES", 4_000_000)
    with pytest.raises(DataError, match="decoding it takes 6 MB, over the limit of 4 MB"):
        decode(data, 75)


def test_fifty_megapixels_in_colour_fit() -> None:
    data = jpeg(7070, 7070, quality=1)
    assert memory_bytes(open_image(data), data) == 7070 * (7070 * 4 + 8) <= MAX_MEMORY_BYTES


def test_what_is_damaged_is_not_opened() -> None:
    with pytest.raises(DataError, match="known format"):
        open_image(b"hello")
    with pytest.raises(DataError, match="is empty"):
        open_image(b"")


def test_sizes_that_make_no_sense_are_refused_in_one_line() -> None:
    """Found by fuzzing: a directory beyond any file, sampling factors of 0, a large run-length encoded BMP."""
    with pytest.raises(DataError, match="cannot be decoded"):
        decode(b"II+\0\x08\0\0\0" + b"\xff" * 8)
    jpeg_file = bytearray(jpeg(1600, 1600, progressive=True))
    frame = jpeg_file.find(b"\xff\xc2")
    for component in range(3):
        jpeg_file[frame + 11 + 3 * component] = 0
    with pytest.raises(DataError, match="cannot be decoded"):
        decode(bytes(jpeg_file))
    with pytest.raises(DataError, match="has 4 x 33554430 pixels: decoding it takes 403 MB"):  # most for its rows
        decode(bmp(4, 33_554_430)[:28] + struct.pack("<H", 8) + bmp(4, 2)[30:])
    large = bytearray(bmp_rle())
    large[18:26] = struct.pack("<ii", 8_000, 5_000)
    with pytest.raises(DataError, match="decoding it takes 801 MB"):
        decode(bytes(large))
