"""The decoder: image files and arrays -> canonical pixels. Training, evaluation and matching all use this one."""

from __future__ import annotations

import io
import math
import stat
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import (
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from imagematch.errors import DataError
from imagematch.files import digest_bytes, os_reason

try:
    from PIL import AvifImagePlugin
except ImportError:  # pragma: no cover - a Pillow built without AVIF
    AvifImagePlugin = None  # type: ignore[assignment]

DECODER_VERSION = "1"
"""Changes whenever the pixels given for some file change: kept features are keyed by it."""

MAX_PIXELS = 100_000_000
"""Larger images are refused: a file of a few kilobytes can claim gigabytes of pixels."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the upright picture; right and bottom are just outside."""

# damage in metadata that Pillow steps over says nothing about the pixels
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, struct.error, zlib.error)
_READABLE = "JPEG, PNG, GIF, BMP, WebP, TIFF, PPM, PGM" + (", AVIF" if AvifImagePlugin else "")


def decode(
    source: Path | str | bytes, max_size: int | None = None, *, box: Box | None = None, angle: float = 0.0
) -> np.ndarray:
    """Decodes one image to canonical pixels.

    The picture is turned upright (EXIF), cut to `box`, made RGB (transparency over white, 16-bit greys scaled,
    first frame of an animation), and each side longer than `max_size` is shrunk to it on its own, with Pillow's
    antialiased bilinear filter. Nothing is ever enlarged.

    Args:
        source: a file, or the bytes of one.
        max_size: the longest side given back, in pixels; None keeps the size.
        box: the part of the picture to keep.
        angle: degrees that the box leans clockwise in the picture, about its own centre; what it keeps stands upright.

    Returns:
        (height, width, 3) uint8, both sides at most `max_size`.

    Raises:
        DataError: not an image in a known format, empty, truncated, damaged or over MAX_PIXELS; names the file.
    """
    where = "" if isinstance(source, bytes) else str(source)
    data = source if isinstance(source, bytes) else read_bytes(Path(source))
    try:
        return _pixels(_load(data), max_size, box, angle)
    except DataError as error:
        raise DataError(error.what, where=where, do=error.do) from error.__cause__


def inspect(data: bytes, box: Box | None = None) -> tuple[int, int, str]:
    """Decodes an image fully, as `decode` would, to learn that it can be: (width, height, Pillow's mode).

    Width and height are those of the upright picture, cut to `box`.

    Raises:
        DataError: as `decode`.
    """
    image = _load(data)
    width, height = _cut(image, box).size
    _plain(image)
    return width, height, image.mode


def to_picture(image: Any, max_size: int | None = None, *, box: Box | None = None, angle: float = 0.0) -> np.ndarray:
    """Canonical pixels of one image in whatever form a caller has it.

    Args:
        image: a path, a PIL image, or an array or tensor with values 0 to 255 (uint8, or another type: rounded):
            (h, w) is grey, (h, w, 1) grey, (h, w, 3) RGB, (h, w, 4) RGB with alpha.
        max_size: as in `decode`.
        box: likewise.
        angle: likewise.

    Returns:
        (height, width, 3) uint8, both sides at most `max_size`.

    Raises:
        DataError: the file cannot be decoded, or the array has another shape or other values.
    """
    if isinstance(image, str | bytes | Path):
        return decode(image, max_size, box=box, angle=angle)
    if isinstance(image, Image.Image):
        _check_size(image)
        try:
            image.load()
        except _BROKEN as error:
            raise DataError(_reason(error)) from error
        return _pixels(_upright(image), max_size, box, angle)
    plain = image.numpy() if not isinstance(image, np.ndarray) and hasattr(image, "numpy") else image
    array = None if isinstance(plain, list | tuple) else np.asarray(plain)
    if array is None or array.ndim == 0:
        raise DataError(f"{type(image).__name__} is no image", do="give a path, an array or a PIL image")
    return _pixels(Image.fromarray(_checked_array(array)), max_size, box, angle)


def read_bytes(path: Path) -> bytes:
    """The content of a file. Raises DataError naming it where it cannot be read."""
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a pipe would be waited for
            raise DataError("is not a file", where=str(path))
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {os_reason(error)}", where=str(path)) from error
    except ValueError as error:  # a null character in the path
        raise DataError("is not a path", where=repr(str(path))) from error


def _load(data: bytes) -> Image.Image:
    """The upright picture, every pixel decoded."""
    if not data:
        raise DataError("the file is empty")
    opener = _opener(data)
    if opener is None:
        raise DataError("is not an image in a known format", do=f"readable are {_READABLE}")
    try:
        image = opener(io.BytesIO(data))
        _check_size(image)
        image.load()
    except (*_BROKEN, Image.DecompressionBombError, MemoryError) as error:
        raise DataError(_reason(error)) from error
    return _upright(image)


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


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(f"has {width} x {height} pixels, over the limit of {MAX_PIXELS:,}")
    if width * height == 0:
        raise DataError("has no pixels")


def _upright(image: Image.Image) -> Image.Image:
    try:
        method = _TRANSPOSE.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (*_BROKEN, UserWarning):  # unreadable EXIF data: the pixels are as they are
        method = None
    return image if method is None else image.transpose(method)


def _cut(image: Image.Image, box: Box | None) -> Image.Image:
    if box is None:
        return image
    width, height = image.size
    left, top = max(0, round(box[0])), max(0, round(box[1]))
    right, bottom = min(width, round(box[2])), min(height, round(box[3]))
    if left >= right or top >= bottom:
        raise DataError(f"the box {', '.join(f'{v:g}' for v in box)} is outside the picture of {width} x {height}")
    return image.crop((left, top, right, bottom))


def _plain(image: Image.Image) -> Image.Image:
    """The picture as RGB or 8-bit grey (L), without transparency."""
    if image.mode in ("RGB", "L") and "transparency" not in image.info:
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if image.mode in ("F", "LAB"):
        raise DataError(f"pixels of Pillow's mode {image.mode} have no fixed range", do="convert it to 8-bit RGB")
    if image.has_transparency_data:
        with_alpha = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, with_alpha).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise DataError("grey values are beyond 16 bits", do="convert it to 8-bit grey")
    return Image.fromarray(((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))


def box_size(box: Box) -> tuple[int, int]:
    """Width and height of a box that lies inside its picture, pixels, as `decode` cuts it."""
    return round(box[2]) - round(box[0]), round(box[3]) - round(box[1])


def cut_digest(content: str, box: Box | None, angle: float = 0.0) -> str:
    """The digest of what `decode` gives of a file: that of its content, unless only a part of it is kept."""
    if box is None:
        return content
    turned = f" turned {angle:g}" if angle else ""
    return digest_bytes(f"{content} {tuple(map(float, box))}{turned}".encode())


def check_digest(data: bytes, digest: str, box: Box | None = None, angle: float = 0.0) -> None:
    """Raises DataError where a file's bytes are no longer those that were listed with this `cut_digest`."""
    if cut_digest(digest_bytes(data), box, angle) != digest:
        raise DataError("has changed since it was listed", do="run again")


def _leaning(image: Image.Image, box: Box, angle: float) -> Image.Image:
    """What a box that leans by `angle` keeps; black where it is outside the picture."""
    width, height = max(1, round(box[2] - box[0])), max(1, round(box[3] - box[1]))
    centre_x, centre_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    # Output pixel (x, y) is taken from (a x + b y + c, d x + e y + f) of the picture.
    c = centre_x - cos * width / 2 + sin * height / 2
    f = centre_y - sin * width / 2 - cos * height / 2
    return image.transform(
        (width, height), Image.Transform.AFFINE, (cos, -sin, c, sin, cos, f), Image.Resampling.BICUBIC
    )


def _pixels(image: Image.Image, max_size: int | None, box: Box | None, angle: float) -> np.ndarray:
    plain = _plain(image)
    plain = _leaning(plain, box, angle) if box is not None and angle else _cut(plain, box)
    if max_size is not None:
        size = min(plain.width, max_size), min(plain.height, max_size)
        if size != plain.size:
            plain = plain.resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(plain)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


def _checked_array(array: np.ndarray) -> np.ndarray:
    shape = array.shape
    if array.ndim == 3 and shape[2] == 1:
        array = array[:, :, 0]
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and shape[2] in (3, 4))):
        raise DataError(f"an image of shape {shape}", do="give (h, w), (h, w, 1), (h, w, 3) or (h, w, 4)")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype.kind not in "iuf":
        raise DataError(f"an image of type {array.dtype}", do="give numbers 0 to 255")
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= 255):
        raise DataError(f"an image with values {low:g} to {high:g}", do="give values 0 to 255")
    if array.dtype.kind == "f" and high <= 1 and np.any(array != np.rint(array)):
        raise DataError("an image with values 0 to 1", do="multiply it by 255: values go from 0 to 255")
    return np.ascontiguousarray(np.rint(array).astype(np.uint8))


def _reason(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return f"cannot be decoded: {text}"
