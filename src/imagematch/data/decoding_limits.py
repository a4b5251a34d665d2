"""What decoding may cost: pixels, memory, and how much smaller a JPEG is decoded so that it costs less."""

from __future__ import annotations

from typing import Any

from PIL import Image, JpegImagePlugin, TiffImagePlugin

from imagematch.errors import DataError
from imagematch.image_files import NotReadableHereError

MAX_MEGAPIXELS = 500
MAX_PIXELS = MAX_MEGAPIXELS * 1_000_000
"""Larger images are refused in every format unless `max_megapixels` says otherwise: decoding takes time."""

MAX_MEMORY_BYTES = 200_000_000
"""What decoding one image may take; a file of a few kilobytes can claim gigabytes.

That is 50 megapixels in colour, 200 in 8-bit grey. Baseline JPEGs are decoded at reduced size, and hardly take any.
"""

MAX_CAMERA_BYTES = 700_000_000
"""The same for a progressive JPEG and for HEIF and AVIF, which cannot be decoded a part at a time, where the file has a
byte for every 256: an honest photo of 108 megapixels has, and what claims to be one does not. One at a time."""
_CAMERA_SHARE = 256

WEBP_COPIES, GIF_COPIES = 4, 3
_COPIES = {"WEBP": WEBP_COPIES, "AVIF": 3, "HEIF": 3, "GIF": GIF_COPIES}
"""How often these decoders hold the image (measured, rounded); the others hold it once."""
_PYTHON_DECODERS = {"bmp_rle": 20, "ppm_plain": 3}
"""The same of decoders in Python; a short run-length encoded BMP can claim any size, and each pixel takes its time."""
_SMALL_PIXELS = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
"""Bytes of a pixel in memory by Pillow's mode; all others take 4."""
_ROW_BYTES = 8
"""Of Pillow's table of rows."""
_MEGAPIXEL = 1_000_000
_MAX_SCANS = 200
"""Of a JPEG; a progressive one has about 10, and each takes as long as the image is large."""
REDUCTIONS = (8, 4, 2)
"""What libjpeg can divide both sides by while it decodes."""
_MARGIN = 2
"""A JPEG is decoded at no less than so many times the size asked for, so that shrinking it loses nothing by it."""


def check_pixels(width: int, height: int, max_pixels: int | None = MAX_PIXELS) -> None:
    """Raises DataError where there are no pixels, and NotReadableHereError where there are more than `max_pixels`."""
    if max_pixels is not None and width * height > max_pixels:
        raise NotReadableHereError(
            f"has {width} x {height} pixels, over the limit of {max_pixels:,}",
            do="save it smaller, or set max_megapixels",
        )
    if width * height <= 0:
        raise DataError("has no pixels")


def check_memory(width: int, height: int, needed: int, allowed: int = MAX_MEMORY_BYTES) -> None:
    """Raises DataError where decoding an image takes more bytes than are allowed."""
    if needed > allowed:
        raise DataError(
            f"has {width} x {height} pixels: decoding it takes {needed / 1e6:,.0f} MB, "
            f"over the limit of {allowed / 1e6:,.0f} MB",
            do="save it smaller, or as a baseline JPEG",
        )


def allowed_bytes(image: Image.Image, data: bytes) -> int:
    """The memory that decoding an opened image may take."""
    if image.format not in ("JPEG", "HEIF", "AVIF"):
        return MAX_MEMORY_BYTES
    return max(MAX_MEMORY_BYTES, min(MAX_CAMERA_BYTES, _CAMERA_SHARE * len(data)))


def memory_bytes(image: Image.Image, data: bytes, reduction: int = 1) -> int:
    """What decoding an opened image takes, bytes, at a size that is `reduction` times smaller on each side.

    Raises:
        DataError: a JPEG with more scans than an honest one has.
    """
    width, height = -(-image.width // reduction), -(-image.height // reduction)
    needed = height * (width * _SMALL_PIXELS.get(image.mode, 4) + _ROW_BYTES)
    if image.width * image.height <= _MEGAPIXEL and not isinstance(image, TiffImagePlugin.TiffImageFile):
        return needed  # a few copies of it do not matter
    if is_jpeg(image):
        return needed + _coefficient_bytes(image, data)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = image.tag_v2
        tile = int(tags.get(TiffImagePlugin.TILEWIDTH, 0)) * int(tags.get(TiffImagePlugin.TILELENGTH, 0)) * 4
        turned = 0x0112 in tags  # Pillow turns these itself, into a copy
        return needed * (2 if turned else 1) + tile
    tiles = getattr(image, "tile", ())
    decoder = tiles[0][0] if tiles else ""
    return needed * max(_COPIES.get(image.format or "", 1), _PYTHON_DECODERS.get(decoder, 1))


def is_jpeg(image: Image.Image) -> bool:
    """Whether an opened image can be decoded at reduced size."""
    return isinstance(image, JpegImagePlugin.JpegImageFile)


def reduction_for(image: Image.Image, data: bytes, size: tuple[int, int], wanted: tuple[int, int]) -> int:
    """What both sides of a JPEG are divided by while it is decoded: the most that leaves twice what is wanted.

    More, with a smaller margin, where decoding it would take too much memory otherwise.

    Args:
        image: the opened JPEG.
        data: its file.
        size: width and height of the part that is used, pixels of the full size.
        wanted: width and height that it is to be shrunk to.

    Returns:
        1, 2, 4 or 8.
    """

    def leaves(reduction: int, margin: int) -> bool:
        return all(have >= reduction * margin * want for have, want in zip(size, wanted, strict=True))

    reduction = next((by for by in REDUCTIONS if leaves(by, _MARGIN)), 1)
    while memory_bytes(image, data, reduction) > MAX_MEMORY_BYTES and reduction < 8 and leaves(2 * reduction, 1):
        reduction *= 2
    return reduction


def _coefficient_bytes(image: Any, data: bytes) -> int:
    """What libjpeg holds of a JPEG whose scans each have a part of every pixel, at whatever size it is decoded."""
    if not ("progressive" in image.info or _components_of_first_scan(data) < len(image.layer)):
        return 0
    if data.count(b"\xff\xda") > _MAX_SCANS:
        raise DataError(f"is a JPEG of more than {_MAX_SCANS} scans", do="save it again")
    most_across, most_down = (max(layer[column] for layer in image.layer) for column in (1, 2))
    return sum(
        128 * -(-image.width * across // (8 * most_across)) * -(-image.height * down // (8 * most_down))
        for _, across, down, _ in image.layer
    )


def _components_of_first_scan(data: bytes) -> int:
    """Of a JPEG, as its first start-of-scan segment has it; 0 where there is none."""
    at = 2
    while at + 5 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xFF:  # fill
            at += 1
        elif data[at + 1] == 0xDA:
            return data[at + 4]
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 0
