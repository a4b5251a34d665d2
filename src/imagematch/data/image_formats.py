"""Image files by their content: which format it is, how large the image, and what memory decoding it takes."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable
from typing import Any

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from imagematch.errors import DataError

try:
    from PIL import AvifImagePlugin
except ImportError:  # pragma: no cover - a Pillow built without AVIF
    AvifImagePlugin = None  # type: ignore[assignment]

MAX_PIXELS = 500_000_000
"""Larger images are refused in every format: decoding takes time, whatever the memory."""

MAX_MEMORY_BYTES = 200_000_000
"""What decoding one image may take; a file of a few kilobytes can claim gigabytes.

That is 50 megapixels in colour, 200 in 8-bit grey. JPEGs are decoded at reduced size, and hardly take any.
"""

# damage in metadata that Pillow steps over says nothing about the pixels
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

_READABLE = "JPEG, PNG, GIF, BMP, WebP, TIFF, PPM, PGM" + (", AVIF" if AvifImagePlugin else "")
_SMALL_PIXELS = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
"""Bytes of a pixel in memory by Pillow's mode; all others take 4."""
_COPIES = {"WEBP": 4, "AVIF": 3, "GIF": 2}
"""How often these decoders hold the image (measured, rounded); the others hold it once."""
_PYTHON_DECODERS = {"bmp_rle": 3, "ppm_plain": 3}
_PNG_PIXELS = {0: 1, 2: 4, 3: 1, 4: 4, 6: 4}
"""Bytes of a pixel in memory by a PNG's colour type."""
REDUCTIONS = (8, 4, 2)
"""What libjpeg can divide both sides by while it decodes."""
_MARGIN = 2
"""A JPEG is decoded at no less than so many times the size asked for, so that shrinking it loses nothing by it."""
_MAX_TAG_VALUES = 100_000
"""Of a TIFF, as one for each strip: Pillow makes objects of 250 bytes of each, and takes its time."""
_TIFF_TAGS = range(254, 533)
"""Those that say how the pixels lie in the file."""
_TIFF_BYTES = (1, 2, 6, 7)
"""Types of tags that stay bytes."""
_MEGAPIXEL = 1_000_000
_MAX_SCANS = 200
"""Of a JPEG; a progressive one has about 10, and each takes as long as the image is large."""


def open_image(data: bytes) -> Image.Image:
    """Reads the header of an image file: nothing is decoded, and nothing of the image's size allocated.

    Raises:
        DataError: empty, not in a known format, without pixels, or over MAX_PIXELS.
        Exception: whatever Pillow raises where the header is damaged.
    """
    if not data:
        raise DataError("the file is empty")
    opener = _opener(data)
    if opener is None:
        raise DataError("is not an image in a known format", do=f"readable are {_READABLE}")
    declared = _declared(data)
    if declared is not None:  # Pillow allocates the canvas of these when it opens them
        width, height, pixel_bytes = declared
        check_pixels(width, height)
        check_memory(width, height, width * height * pixel_bytes)
    if opener is TiffImagePlugin.TiffImageFile and _longest_tag(data) > _MAX_TAG_VALUES:
        raise DataError(f"is a TIFF of more than {_MAX_TAG_VALUES:,} strips or tiles", do="save it again")
    image = opener(io.BytesIO(data))
    check_pixels(*image.size)
    return image


def check_pixels(width: int, height: int) -> None:
    """Raises DataError where there are no pixels, or more than MAX_PIXELS."""
    if width * height > MAX_PIXELS:
        raise DataError(f"has {width} x {height} pixels, over the limit of {MAX_PIXELS:,}", do="save it smaller")
    if width * height <= 0:
        raise DataError("has no pixels")


def check_memory(width: int, height: int, needed: int) -> None:
    """Raises DataError where decoding an image takes more bytes than MAX_MEMORY_BYTES."""
    if needed > MAX_MEMORY_BYTES:
        raise DataError(
            f"has {width} x {height} pixels: decoding it takes {needed / 1e6:,.0f} MB, "
            f"over the limit of {MAX_MEMORY_BYTES / 1e6:,.0f} MB",
            do="save it smaller, or as a baseline JPEG",
        )


def memory_bytes(image: Image.Image, data: bytes, reduction: int = 1) -> int:
    """What decoding an opened image takes, bytes, at a size that is `reduction` times smaller on each side.

    Raises:
        DataError: a JPEG with more scans than an honest one has.
    """
    pixels = -(-image.width // reduction) * -(-image.height // reduction)
    needed = pixels * _SMALL_PIXELS.get(image.mode, 4)
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


def reduction_for(image: Image.Image, data: bytes, kept: tuple[int, int], asked: tuple[int, int]) -> int:
    """What both sides of a JPEG are divided by while it is decoded: the most that leaves twice what is asked for.

    More, with a smaller margin, where decoding it would take too much memory otherwise.

    Args:
        image: the opened JPEG.
        data: its file.
        kept: width and height of the part that is kept, pixels of the full size.
        asked: width and height that it is to be shrunk to.

    Returns:
        1, 2, 4 or 8.
    """

    def leaves(reduction: int, margin: int) -> bool:
        return all(have >= reduction * margin * want for have, want in zip(kept, asked, strict=True))

    reduction = next((by for by in REDUCTIONS if leaves(by, _MARGIN)), 1)
    while memory_bytes(image, data, reduction) > MAX_MEMORY_BYTES and reduction < 8 and leaves(2 * reduction, 1):
        reduction *= 2
    return reduction


def _opener(data: bytes) -> Callable[[io.BytesIO], Image.Image] | None:
    """Pillow's reader for this content. Going by the content, not through Image.open, keeps to the formats allowed."""
    if data[:3] == b"\xff\xd8\xff":
        return JpegImagePlugin.JpegImageFile
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return PngImagePlugin.PngImageFile
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return GifImagePlugin.GifImageFile
    if data[:2] == b"BM":
        return BmpImagePlugin.BmpImageFile
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return TiffImagePlugin.TiffImageFile
    if data[:1] == b"P" and data[1:2] in b"123456":
        return PpmImagePlugin.PpmImageFile
    if AvifImagePlugin and data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis", b"mif1", b"msf1"):
        return AvifImagePlugin.AvifImageFile
    return None


def _declared(data: bytes) -> tuple[int, int, int] | None:
    """Width, height and bytes of a pixel as a GIF, PNG or WebP declares them; None of others, or where it does not."""
    if data[:4] == b"GIF8" and len(data) >= 10:
        return *struct.unpack_from("<HH", data, 6), _COPIES["GIF"]
    if data[:4] == b"\x89PNG" and len(data) >= 26 and data[12:16] == b"IHDR":
        width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
        return width, height, 2 if (bits, colour) == (16, 0) else _PNG_PIXELS.get(colour, 4)
    if data[:4] == b"RIFF" and len(data) >= 30:
        canvas = _webp_canvas(data)
        return None if canvas is None else (*canvas, 4 * _COPIES["WEBP"])
    return None


def _webp_canvas(data: bytes) -> tuple[int, int] | None:
    """Source: RFC 9649, sections 2.5 to 2.7."""
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return None


def _longest_tag(data: bytes) -> int:
    """The most values that a tag has in a TIFF's first directory, as it says; 0 where there is none to be read."""
    order = "<" if data[:2] == b"II" else ">"
    big = b"+" in data[2:4]
    try:
        (start,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, 8 if big else 4)
        (count,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, start)
        start += 8 if big else 2
        entry = struct.Struct(f"{order}{'HHQQ' if big else 'HHII'}")
        count = min(count, 65_535, max(0, len(data) - start) // entry.size)
        entries = (entry.unpack_from(data, start + entry.size * place) for place in range(count))
        return max((n for tag, kind, n, _ in entries if tag in _TIFF_TAGS and kind not in _TIFF_BYTES), default=0)
    except struct.error:  # cut off
        return 0


def _coefficient_bytes(image: Any, data: bytes) -> int:
    """What libjpeg holds of a JPEG whose scans each have a part of every pixel, at whatever size it is decoded."""
    if not ("progressive" in image.info or _components_of_first_scan(data) < len(image.layer)):
        return 0
    if data.count(b"\xff\xda") > _MAX_SCANS:
        raise DataError(f"is a JPEG of more than {_MAX_SCANS} scans", do="save it again")
    most_across, most_down = (max(layer[place] for layer in image.layer) for place in (1, 2))
    return sum(
        128 * -(-image.width * across // (8 * most_across)) * -(-image.height * down // (8 * most_down))
        for _, across, down, _ in image.layer
    )


def _components_of_first_scan(data: bytes) -> int:
    """Of a JPEG, as its first start-of-scan segment has it; 0 where there is none."""
    place = 2
    while place + 5 <= len(data) and data[place] == 0xFF:
        if data[place + 1] == 0xFF:  # fill
            place += 1
        elif data[place + 1] == 0xDA:
            return data[place + 4]
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return 0
