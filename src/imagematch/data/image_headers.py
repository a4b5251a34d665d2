"""Headers of image files: opened by their content, and refused there where an image is too large to be decoded."""

from __future__ import annotations

import ctypes
import io
import struct
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import PIL
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from imagematch.data.decoding_limits import GIF_COPIES, MAX_PIXELS, WEBP_COPIES, check_memory, check_pixels
from imagematch.errors import DataError
from imagematch.image_files import READ_FORMATS, NotReadableHereError, format_of

_OPENERS: dict[str, Callable[[io.BytesIO], Image.Image]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}
"""Going by the content, not through Image.open, keeps to the formats that are read."""
_PNG_PIXELS = {0: 1, 2: 4, 3: 1, 4: 4, 6: 4}
"""Bytes of a pixel in memory by a PNG's colour type."""
_MAX_TAG_VALUES = 100_000
"""Of a TIFF, as one for each strip: Pillow makes objects of 250 bytes of each, and takes its time."""
_BITS = 258
_TIFF_TAGS = range(254, 533)
"""Those that say how the pixels lie in the file."""
_TIFF_BYTES = (1, 2, 6, 7)
"""Types of tags that stay bytes."""

# damage in metadata that Pillow steps over says nothing about the pixels
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def open_image(data: bytes, max_pixels: int | None = MAX_PIXELS) -> Image.Image:
    """Reads the header of an image file: nothing is decoded, and nothing of the image's size allocated.

    Args:
        data: the file.
        max_pixels: larger images are refused; None refuses none for their size alone.

    Raises:
        DataError: empty, not in a format that is read, without pixels, or too large.
        NotReadableHereError: the library that reads the format is not installed.
        Exception: whatever Pillow raises where the header is damaged.
    """
    opener = _opener(data)
    declared = _declared(data)
    if declared is not None:  # Pillow allocates the canvas of these when it opens them
        width, height, pixel_bytes = declared
        check_pixels(width, height, max_pixels)
        check_memory(width, height, width * height * pixel_bytes)
    if opener is TiffImagePlugin.TiffImageFile:
        _silence_libtiff()
    if opener is TiffImagePlugin.TiffImageFile and _longest_tag(data) > _MAX_TAG_VALUES:
        raise DataError(f"is a TIFF of more than {_MAX_TAG_VALUES:,} strips or tiles", do="save it again")
    image = opener(io.BytesIO(data))
    check_pixels(*image.size, max_pixels)
    return image


def has_deep_colour(image: Image.Image) -> bool:
    """Whether an image that is not loaded yet has colours of 16 bits, of which Pillow keeps the upper 8."""
    if image.mode not in ("RGB", "RGBA", "LA"):
        return False
    if image.format == "TIFF":
        return max(getattr(image, "tag_v2", {}).get(_BITS, (8,))) == 16
    return any("16" in str(tile[3]) or "65535" in str(tile[3]) for tile in getattr(image, "tile", ()))


def has_more_frames(image: Image.Image) -> bool:
    """Whether an image that is not loaded yet has more pages or frames than the first."""
    try:
        return bool(getattr(image, "is_animated", False))
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, struct.error):  # the second one is damaged
        return True


@cache
def _silence_libtiff() -> None:
    """libtiff writes each fault to the standard error output itself. We say once what is wrong."""
    folder = Path(PIL.__file__).parent
    for path in [*folder.parent.glob("pillow.libs/libtiff*"), *folder.glob(".dylibs/libtiff*")]:
        library = ctypes.CDLL(str(path))  # the one that Pillow has loaded
        library.TIFFSetErrorHandler(None)
        library.TIFFSetWarningHandler(None)


def _opener(data: bytes) -> Callable[[io.BytesIO], Image.Image]:
    if not data:
        raise DataError("the file is empty")
    found = format_of(data)
    if found in _OPENERS:
        return _OPENERS[found]
    if found == "HEIF":
        opener = _heif()
        if opener is None:
            raise NotReadableHereError("is a HEIF photo: pip install 'imagematch[heif]' (pillow-heif) to read it")
        return opener
    what = f"is {found}, which is not read" if found else "is not an image in a known format"
    raise DataError(what, do=f"readable are {', '.join(READ_FORMATS)}")


def _heif() -> Callable[[io.BytesIO], Image.Image] | None:
    """What opens HEIF photos; None without pillow-heif."""
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        return None
    opener: Any = HeifImageFile
    return opener


def _declared(data: bytes) -> tuple[int, int, int] | None:
    """Width, height and bytes of a pixel as a GIF, PNG or WebP declares them; None of others, or where it does not."""
    if data[:4] == b"GIF8" and len(data) >= 10:
        return *struct.unpack_from("<HH", data, 6), GIF_COPIES
    if data[:4] == b"\x89PNG" and len(data) >= 26 and data[12:16] == b"IHDR":
        width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
        return width, height, 2 if (bits, colour) == (16, 0) else _PNG_PIXELS.get(colour, 4)
    if data[:4] == b"RIFF" and len(data) >= 30:
        canvas = _webp_canvas(data)
        return None if canvas is None else (*canvas, 4 * WEBP_COPIES)
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
    """The largest value count that any tag in a TIFF's first directory declares; 0 where it cannot be read."""
    order = "<" if data[:2] == b"II" else ">"
    big = b"+" in data[2:4]
    try:
        (start,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, 8 if big else 4)
        (count,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, start)
        start += 8 if big else 2
        entry = struct.Struct(f"{order}{'HHQQ' if big else 'HHII'}")
        count = min(count, 65_535, max(0, len(data) - start) // entry.size)
        entries = (entry.unpack_from(data, start + entry.size * row) for row in range(count))
        return max((n for tag, kind, n, _ in entries if tag in _TIFF_TAGS and kind not in _TIFF_BYTES), default=0)
    except (struct.error, OverflowError):  # cut off, or its place is beyond any file
        return 0
