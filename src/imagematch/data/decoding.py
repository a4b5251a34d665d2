"""The decoder: image files and arrays -> canonical pixels. Training, evaluation and matching all use this one."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import ExifTags, Image

from imagematch.data.boxes import divided, limits
from imagematch.data.decoding_limits import (
    MAX_PIXELS,
    REDUCTIONS,
    allowed_bytes,
    check_memory,
    check_pixels,
    is_jpeg,
    memory_bytes,
    reduction_for,
)
from imagematch.data.image_headers import has_deep_colour, has_more_frames, open_image
from imagematch.data.pixels import Size, Upright, extremes, image_of, shrunk, turned, upright_size
from imagematch.data.value_ranges import ValueRange, is_deep
from imagematch.errors import DataError
from imagematch.framing import SQUASHED, Framing
from imagematch.image_files import file_content, short_of_memory
from imagematch.sources import Box

DECODER_VERSION = "2"
"""Changes whenever the pixels given for some file change: cached features are keyed by it."""

_LARGE_BYTES = 64_000_000
_large_turn = threading.Lock()
"""Images that take more than that are decoded one at a time, however many threads there are."""
_PHOTOMETRIC = 262
_WHITE_IS_ZERO = 0
_BROKEN = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, EOFError),
    *(RuntimeError, struct.error, zlib.error, Image.DecompressionBombError),
)
"""What Pillow and its plug-ins raise of damaged files, found by trying many."""


class Thumbnail(NamedTuple):
    """An image, small.

    Attributes:
        pixels: (height, width, 3) uint8.
        width: in full size (of the box, where there is one), pixels.
        height: likewise.
    """

    pixels: np.ndarray
    width: int
    height: int


class ImageFacts(NamedTuple):
    """What is learned by decoding an image file.

    Attributes:
        width, height: of the upright image (of the box, where there is one), pixels.
        mode: Pillow's, as "RGB", "L", "I;16", "F"; "RGB;16" of colours of 16 bits.
        low, high: the extreme values of deep grey, the highest of deep colour; else 0 and 255.
        more_frames: it has more pages (TIFF) or frames (an animation) than the first, which alone is used.
    """

    width: int
    height: int
    mode: str
    low: float
    high: float
    more_frames: bool = False


@dataclass(frozen=True)
class _Request:
    """The part and size a caller wants of an image, in coordinates that hold at full and at reduced size.

    Attributes:
        size_for: gives the wanted size, in width and height, for those of the part that is used; never larger.
        box: the part of the image, in pixels of the full size; None for all.
        angle: degrees that the box leans clockwise.
        value_range: what deep grey is scaled by; "own": by the image's own values.
        max_pixels: larger images are refused.
        framing: what becomes of the part.
    """

    size_for: Callable[[int, int], Size]
    box: Box | None
    angle: float
    value_range: ValueRange | Literal["own"] | None
    max_pixels: int | None
    framing: Framing = SQUASHED

    def part(self, full: Size) -> Size:
        """Width and height of what is used of an upright image of this size; a leaning box may stick out.

        Raises:
            DataError: nothing of the box lies inside.
        """
        left, top, right, bottom = self.box if self.box and self.angle else limits(self.box, *full)
        return self.framing.part(max(1, round(right - left)), max(1, round(bottom - top)))

    def of(self, image: Image.Image, orientation: int, full: Size, reduction: int = 1) -> Thumbnail:
        """The pixels of a loaded image that was decoded `reduction` times smaller than `full`, its upright size."""
        chosen = self.value_range
        if chosen == "own":
            low, high = extremes(image)
            chosen = low, max(high, low + 1e-9)
        upright = Upright(image, orientation, chosen, _is_inverted(image))
        part = self.part(full)
        size, box = self.size_for(*part), self.box
        if box is not None and self.angle:
            upright, box = Upright(turned(upright, divided(box, reduction), self.angle)), None
        elif box is not None:
            box = divided(limits(box, *full), reduction)
        inside = self.framing.limits(*limits(box, *upright.size))
        size = min(size[0], inside[2] - inside[0]), min(size[1], inside[3] - inside[1])
        return Thumbnail(self.framing.finished(shrunk(upright, inside, size, self.framing.interpolation)), *part)


def decode(
    image: Any,
    max_size: int | None = None,
    *,
    box: Box | None = None,
    angle: float = 0.0,
    value_range: ValueRange | None = None,
    max_pixels: int | None = MAX_PIXELS,
    framing: Framing = SQUASHED,
) -> np.ndarray:
    """Canonical pixels of one image in whatever form a caller has it.

    The image is turned upright (EXIF), cut to `box`, made RGB (transparency over white, deep greys scaled, first frame
    of an animation), and each side longer than `max_size` is shrunk to it on its own, with Pillow's antialiased
    bilinear filter, unless `framing` says otherwise. Nothing is enlarged. A JPEG of which less than half the size is
    wanted is decoded at a half, quarter or eighth of its size, at no less than twice what is wanted.

    Args:
        image: a path, a file's bytes, a file open for reading bytes, a PIL image, or an array or tensor with values 0
            to 255 (rounded): (h, w) or (h, w, 1) grey, (h, w, 3) RGB, (h, w, 4) RGB with alpha. PIL images and arrays
            are shrunk from their own pixels, which differ from those that a large JPEG file gives.
        max_size: the longest side given back, in pixels; None leaves the size.
        box: the part of the image to use.
        angle: degrees that the box leans clockwise in the image, about its own centre; what is given stands upright.
        value_range: what grey of more than 8 bits, signed or floating, is scaled by; None takes 0 to 65,535.
        max_pixels: larger images are refused; None where that was looked at before.
        framing: what is made of images that are not square.

    Returns:
        (height, width, 3) uint8, both sides at most `max_size`.

    Raises:
        DataError: not an image in a format that is read, empty, truncated, damaged, too large, or decoding it takes too
            much memory; or an array of another shape or other values. Names the file.
        NotReadableHereError: there is no memory left, or the format's library is not installed.
    """

    size_for = partial(framing.size, max_size=max_size)
    return _decode(image, _Request(size_for, box, angle, value_range, max_pixels, framing)).pixels


def thumbnail(
    image: Any,
    side: int,
    *,
    box: Box | None = None,
    angle: float = 0.0,
    value_range: ValueRange | Literal["own"] | None = None,
    max_pixels: int | None = MAX_PIXELS,
) -> Thumbnail:
    """An image shrunk in proportion until its longer side is at most `side`, and its full size.

    Arguments and errors are those of `decode`; with the range "own" an image is scaled by its own values.
    """

    def size_for(width: int, height: int) -> Size:
        share = min(1.0, side / max(width, height))
        return max(1, round(width * share)), max(1, round(height * share))

    return _decode(image, _Request(size_for, box, angle, value_range, max_pixels))


def inspect(data: bytes, box: Box | None = None, max_pixels: int | None = MAX_PIXELS) -> ImageFacts:
    """Decodes an image file to learn that it can be. A JPEG is read to its end, at an eighth of its size.

    Raises:
        DataError: as `decode`.
    """
    with _one_line(""):
        image = open_image(data, max_pixels)
        deep_colour, more_frames = has_deep_colour(image), has_more_frames(image)
        orientation, size = _orientation(image), image.size
        reduction = REDUCTIONS[0] if is_jpeg(image) else 1
        with _decoded(image, data, reduction):
            if not is_jpeg(image):  # Pillow knows some only now, and has turned TIFFs itself
                orientation, size = _orientation(image), image.size
            left, top, right, bottom = limits(box, *upright_size(size, orientation))
            facts = ImageFacts(right - left, bottom - top, image.mode, *extremes(image), more_frames)
        if not deep_colour:
            return facts
        colours = image.getextrema()[: len(image.mode.rstrip("A"))]
        return facts._replace(mode=f"{image.mode};16", high=257.0 * float(np.max(colours)))


def thread_count() -> int:
    """How many threads of this process can work at a time.

    One for each processor that this process may run on; a container or `taskset` may allow fewer than there are.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _decode(image: Any, request: _Request) -> Thumbnail:
    with _one_line(str(image) if isinstance(image, str | Path) else ""):
        content = file_content(image)
        if content is not None:
            return _decode_file(content, request)
        loaded, orientation = _in_memory(image, request.max_pixels)
        return request.of(loaded, orientation, upright_size(loaded.size, orientation))


def _decode_file(data: bytes, request: _Request) -> Thumbnail:
    image = open_image(data, request.max_pixels)
    if not is_jpeg(image):
        with _decoded(image, data, 1):
            orientation = _orientation(image)
            return request.of(image, orientation, upright_size(image.size, orientation))
    orientation = _orientation(image)
    size = upright_size(image.size, orientation)
    part = request.part(size)
    reduction = reduction_for(image, data, part, request.size_for(*part))
    with _decoded(image, data, reduction):
        return request.of(image, orientation, size, reduction)


@contextmanager
def _decoded(image: Image.Image, data: bytes, reduction: int) -> Iterator[None]:
    """The image decoded `reduction` times smaller; large images are decoded one at a time."""
    needed = memory_bytes(image, data, reduction)
    check_memory(*image.size, needed, allowed_bytes(image, data))
    if reduction > 1:
        image.draft(None, (max(1, image.width // reduction), max(1, image.height // reduction)))
    with _large_turn if needed > _LARGE_BYTES else nullcontext():
        if needed > _LARGE_BYTES:
            np.empty(needed, np.uint8)  # libjpeg and others call an image damaged where there is no memory
        image.load()
        yield


def _in_memory(image: Any, max_pixels: int | None) -> tuple[Image.Image, int]:
    """A PIL image or an array as a loaded image, and its orientation."""
    if isinstance(image, Image.Image):
        check_pixels(*image.size, max_pixels)
        image.load()
        return image, _orientation(image)
    plain = image.numpy() if not isinstance(image, np.ndarray) and hasattr(image, "numpy") else image
    array = None if isinstance(plain, list | tuple) else np.asarray(plain)
    if array is None or array.ndim == 0:
        raise DataError(f"{type(image).__name__} is not an image", do="give a path, an array or a PIL image")
    return image_of(array), 1


def _orientation(image: Image.Image) -> int:
    """As EXIF has it, 1 to 8."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (*_BROKEN, UserWarning):  # unreadable EXIF data: the pixels are as they are
        return 1
    return orientation if orientation in range(1, 9) else 1


def _is_inverted(image: Image.Image) -> bool:
    """Whether larger values are darker (TIFF's WhiteIsZero) and Pillow has not turned them over."""
    return is_deep(image.mode) and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO


@contextmanager
def _one_line(where: str) -> Iterator[None]:
    """Turns whatever Pillow raises into a DataError of one line that names the image."""
    try:
        yield
    except DataError as error:
        raise type(error)(error.what, where=error.where or where, do=error.do) from error.__cause__
    except MemoryError as error:
        raise short_of_memory(where) from error
    except _BROKEN as error:
        text = str(error).strip() or type(error).__name__
        raise DataError(f"cannot be decoded: {text}", where=where) from error
