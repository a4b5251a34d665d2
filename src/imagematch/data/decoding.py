"""The decoder: image files and arrays -> canonical pixels. Training, evaluation and matching all use this one."""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image

from imagematch.data.boxes import cut_digest as cut_digest
from imagematch.data.boxes import limits
from imagematch.data.cutting import Cut
from imagematch.data.image_formats import (
    REDUCTIONS,
    check_memory,
    check_pixels,
    is_jpeg,
    memory_bytes,
    open_image,
    reduction_for,
)
from imagematch.data.pixels import Size, Upright, check_values, extremes, image_of, upright_size
from imagematch.errors import DataError
from imagematch.sources import Box, read_bytes, short_of_memory

DECODER_VERSION = "2"
"""Changes whenever the pixels given for some file change: kept features are keyed by it."""

_LARGE_BYTES = 64_000_000
_large_turn = threading.Lock()
"""Images that take more than that are decoded one at a time, however many threads there are."""
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, struct.error, zlib.error)


class Overview(NamedTuple):
    """An image, small.

    Attributes:
        pixels: (height, width, 3) uint8.
        width: in full size (of the box, where there is one), pixels.
        height: likewise.
    """

    pixels: np.ndarray
    width: int
    height: int


class ValueRange(NamedTuple):
    """The values that an image file has before they are made 8-bit.

    Attributes:
        mode: Pillow's, as "RGB", "L", "I;16", "F".
        low: the lowest value; that of the type where it is 8-bit.
        high: the highest, likewise.
    """

    mode: str
    low: float
    high: float


def decode(
    source: Path | str | bytes, max_size: int | None = None, *, box: Box | None = None, angle: float = 0.0
) -> np.ndarray:
    """Decodes one image to canonical pixels.

    The image is turned upright (EXIF), cut to `box`, made RGB (transparency over white, 16-bit greys scaled, first
    frame of an animation), and each side longer than `max_size` is shrunk to it on its own, with Pillow's antialiased
    bilinear filter. Nothing is ever enlarged. A JPEG of which less than half the size is asked for is decoded at a
    half, quarter or eighth of its size, of what is kept at least twice what is asked for.

    Args:
        source: a file, or the bytes of one.
        max_size: the longest side given back, in pixels; None keeps the size.
        box: the part of the image to keep.
        angle: degrees that the box leans clockwise in the image, about its own centre; what it keeps stands upright.

    Returns:
        (height, width, 3) uint8, both sides at most `max_size`.

    Raises:
        DataError: not an image in a known format, empty, truncated, damaged, over MAX_PIXELS, or decoding it takes more
            than MAX_MEMORY_BYTES; names the file.
    """
    return to_picture(source, max_size, box=box, angle=angle)


def to_picture(image: Any, max_size: int | None = None, *, box: Box | None = None, angle: float = 0.0) -> np.ndarray:
    """Canonical pixels of one image in whatever form a caller has it.

    Args:
        image: a path, a file's bytes, a PIL image, or an array or tensor with values 0 to 255 (uint8, or another type:
            rounded): (h, w) is grey, (h, w, 1) grey, (h, w, 3) RGB, (h, w, 4) RGB with alpha. PIL images and arrays
            are shrunk from the pixels they have: of a large JPEG, other pixels than its file gives.
        max_size: as in `decode`.
        box: likewise.
        angle: likewise.

    Returns:
        (height, width, 3) uint8, both sides at most `max_size`.

    Raises:
        DataError: the file cannot be decoded, or the array has another shape or other values.
    """

    def size_for(width: int, height: int) -> Size:
        return (width, height) if max_size is None else (min(width, max_size), min(height, max_size))

    return _cut(image, Cut(size_for, box, angle)).pixels


def overview(image: Any, side: int, *, box: Box | None = None, angle: float = 0.0) -> Overview:
    """An image shrunk in proportion until its longer side is at most `side`, and its full size.

    Args:
        image: in any form; see `to_picture`.
        side: pixels.
        box: as in `decode`.
        angle: likewise.

    Raises:
        DataError: as `to_picture`.
    """

    def size_for(width: int, height: int) -> Size:
        share = min(1.0, side / max(width, height))
        return max(1, round(width * share)), max(1, round(height * share))

    return _cut(image, Cut(size_for, box, angle))


def inspect(data: bytes, box: Box | None = None) -> tuple[int, int, str]:
    """Decodes an image file to learn that it can be: (width, height, Pillow's mode).

    Width and height are those of the upright image, cut to `box`. A JPEG is read to its end, at an eighth of its size.

    Raises:
        DataError: as `decode`.
    """
    with _one_line(""):
        image = open_image(data)
        orientation, size = _orientation(image), image.size
        reduction = REDUCTIONS[0] if is_jpeg(image) else 1
        with _decoded(image, data, reduction):
            if not is_jpeg(image):  # Pillow knows some only now, and has turned TIFFs itself
                orientation, size = _orientation(image), image.size
            check_values(image)
            left, top, right, bottom = limits(box, *upright_size(size, orientation))
            return right - left, bottom - top, image.mode


def value_range(data: bytes) -> ValueRange:
    """The range of an image file's values: of 8-bit ones by its header, of others by decoding it.

    Raises:
        DataError: as `decode`.
    """
    with _one_line(""):
        image = open_image(data)
        if image.mode == "1":
            return ValueRange(image.mode, 0, 1)
        if image.mode != "F" and not image.mode.startswith("I"):
            return ValueRange(image.mode, 0, 255)
        with _decoded(image, data, 1):
            return ValueRange(image.mode, *extremes(image))


def _cut(image: Any, cut: Cut) -> Overview:
    """What is kept of an image in any form, and the size that it has in full."""
    named = isinstance(image, str | Path)
    with _one_line(str(image) if named else ""):
        if named or isinstance(image, bytes):
            return _cut_file(read_bytes(Path(image)) if named else image, cut)
        whole = _in_memory(image)
        return Overview(cut.of(whole, whole.size), *cut.kept(whole.size))


def _cut_file(data: bytes, cut: Cut) -> Overview:
    image = open_image(data)
    if not is_jpeg(image):
        with _decoded(image, data, 1):
            whole = Upright(image, _orientation(image))
            return Overview(cut.of(whole, whole.size), *cut.kept(whole.size))
    orientation = _orientation(image)
    size = upright_size(image.size, orientation)
    kept = cut.kept(size)
    reduction = reduction_for(image, data, kept, cut.size_for(*kept))
    with _decoded(image, data, reduction):
        return Overview(cut.of(Upright(image, orientation), size, reduction), *kept)


@contextmanager
def _decoded(image: Image.Image, data: bytes, reduction: int) -> Iterator[None]:
    """The image decoded `reduction` times smaller, a large one when it is its turn."""
    needed = memory_bytes(image, data, reduction)
    check_memory(*image.size, needed)
    if reduction > 1:
        image.draft(None, (max(1, image.width // reduction), max(1, image.height // reduction)))
    with _large_turn if needed > _LARGE_BYTES else nullcontext():
        image.load()
        yield


def _in_memory(image: Any) -> Upright:
    """A PIL image or an array as it stands upright."""
    if isinstance(image, Image.Image):
        check_pixels(*image.size)
        image.load()
        return Upright(image, _orientation(image))
    plain = image.numpy() if not isinstance(image, np.ndarray) and hasattr(image, "numpy") else image
    array = None if isinstance(plain, list | tuple) else np.asarray(plain)
    if array is None or array.ndim == 0:
        raise DataError(f"{type(image).__name__} is no image", do="give a path, an array or a PIL image")
    return Upright(image_of(array))


def _orientation(image: Image.Image) -> int:
    """As EXIF has it, 1 to 8."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (*_BROKEN, UserWarning):  # unreadable EXIF data: the pixels are as they are
        return 1
    return orientation if orientation in range(1, 9) else 1


@contextmanager
def _one_line(where: str) -> Iterator[None]:
    """Whatever Pillow raises of an image as a DataError that names it."""
    try:
        yield
    except DataError as error:
        raise type(error)(error.what, where=error.where or where, do=error.do) from error.__cause__
    except MemoryError as error:
        raise short_of_memory(where) from error
    except (*_BROKEN, Image.DecompressionBombError) as error:
        text = str(error).strip() or type(error).__name__
        raise DataError(f"cannot be decoded: {text}", where=where) from error
