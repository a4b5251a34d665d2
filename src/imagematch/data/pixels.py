"""Canonical pixels of a decoded image, made band by band: upright, cut, RGB, shrunk; never a second full-size copy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from imagematch.data.boxes import Limits
from imagematch.data.value_ranges import ValueRange, check_finite, is_deep, scaled
from imagematch.errors import DataError
from imagematch.sources import Box

Size = tuple[int, int]
"""Width and height, pixels."""

_BAND_PIXELS = 1 << 18
_STRIPE_PIXELS = 4_000_000
"""Of rows that are shrunk in width, and not yet in height."""
_MAX_TURNED_PIXELS = 40_000_000
"""Of a leaning box, which is made in one piece."""

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_Flip = Image.Transpose
_TRANSPOSE = {
    2: _Flip.FLIP_LEFT_RIGHT,
    3: _Flip.ROTATE_180,
    4: _Flip.FLIP_TOP_BOTTOM,
    5: _Flip.TRANSPOSE,
    6: _Flip.ROTATE_270,
    7: _Flip.TRANSVERSE,
    8: _Flip.ROTATE_90,
}
"""EXIF orientation -> what turns the stored pixels upright."""


@dataclass(frozen=True)
class Upright:
    """A decoded image as it stands upright; its pixels stay as they are stored until a region is asked for.

    Attributes:
        image: as it is stored, loaded.
        orientation: as EXIF has it, 1 to 8.
        value_range: what deep grey is scaled by; None for 0 to 65,535.
        inverted: its deep grey values are darker where they are larger; other modes Pillow has turned over already.
    """

    image: Image.Image
    orientation: int = 1
    value_range: ValueRange | None = None
    inverted: bool = False

    @property
    def size(self) -> Size:
        """Width and height of the upright image, pixels."""
        return upright_size(self.image.size, self.orientation)

    def region(self, left: int, top: int, right: int, bottom: int) -> Image.Image:
        """A part of the upright image as RGB or 8-bit grey (L), without transparency.

        Raises:
            DataError: its values have no fixed range, or are not numbers.
        """
        stored = _stored((left, top, right, bottom), self.image.size, self.orientation)
        part = self.image if stored == (0, 0, *self.image.size) else self.image.crop(stored)
        method = _TRANSPOSE.get(self.orientation)
        part = part if method is None else part.transpose(method)
        if not is_deep(part.mode):
            return _plain(part)
        check_finite(np.asarray(part))
        grey = scaled(part, self.value_range)
        return ImageOps.invert(grey) if self.inverted else grey


def upright_size(size: Size, orientation: int) -> Size:
    """Width and height once an image of this stored size is turned upright."""
    return size[::-1] if orientation >= 5 else size


def shrunk(
    image: Upright, limits: Limits, size: Size, interpolation: Literal["bilinear", "bicubic"] = "bilinear"
) -> np.ndarray:
    """A part of an image at a smaller size, or its own, with one of Pillow's antialiased filters.

    Args:
        image: the image.
        limits: the part.
        size: width and height asked for, at most those of the part.
        interpolation: the filter.

    Returns:
        (height, width, 3) uint8.
    """
    left, top, right, bottom = limits
    width, height = size
    filtered = partial(_resized, method=_FILTERS[interpolation])
    # Along the rows first, then along the columns: so rows can be shrunk a band at a time. In one call Pillow chooses
    # the order, and another one for other sizes and versions.
    bands = list(_bands(limits))
    if len(bands) == 1:
        return _rgb(filtered(filtered(image.region(*limits), width, bottom - top), width, height))
    pixels = np.empty((height, width, 3), np.uint8)
    if height == bottom - top:
        for first, last in bands:
            band = filtered(image.region(left, first, right, last), width, last - first)
            pixels[first - top : last - top] = _rgb(band)
        return pixels
    step = max(1, _STRIPE_PIXELS // (bottom - top))
    for column in range(0, width, step):  # one stripe, but of images of very many rows
        columns = slice(column, min(column + step, width))
        rows = np.empty(0, np.uint8)
        for first, last in bands:
            part = np.asarray(filtered(image.region(left, first, right, last), width, last - first))[:, columns]
            if first == top:  # grey has no third axis
                rows = np.empty((bottom - top, *part.shape[1:]), np.uint8)
            rows[first - top : last - top] = part
        pixels[:, columns] = _rgb(filtered(Image.fromarray(rows), columns.stop - column, height))
    return pixels


def turned(image: Upright, box: Box, angle: float) -> Image.Image:
    """The content of a box rotated clockwise by `angle` degrees about its centre; black outside of the image.

    Raises:
        DataError: the box is larger than any image.
    """
    width, height = max(1, round(box[2] - box[0])), max(1, round(box[3] - box[1]))
    if width * height > _MAX_TURNED_PIXELS:
        raise DataError(f"the box {', '.join(f'{v:g}' for v in box)} has over {_MAX_TURNED_PIXELS:,} pixels")
    centre_x, centre_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    # Output pixel (x, y) is taken from (a x + b y + c, d x + e y + f) of the image.
    c = centre_x - cos * width / 2 + sin * height / 2
    f = centre_y - sin * width / 2 - cos * height / 2
    xs = [c, c + cos * width, c - sin * height, c + cos * width - sin * height]
    ys = [f, f + sin * width, f + cos * height, f + sin * width + cos * height]
    margin = 3  # what the bicubic filter sees beyond a pixel
    left, top = max(0, math.floor(min(xs)) - margin), max(0, math.floor(min(ys)) - margin)
    right = min(image.size[0], math.ceil(max(xs)) + margin)
    bottom = min(image.size[1], math.ceil(max(ys)) + margin)
    if left >= right or top >= bottom:
        return Image.new("RGB", (width, height))
    around = image.region(left, top, right, bottom)
    numbers = (cos, -sin, c - left, sin, cos, f - top)
    return around.transform((width, height), Image.Transform.AFFINE, numbers, Image.Resampling.BICUBIC)


def image_of(array: np.ndarray) -> Image.Image:
    """An array as an image.

    Args:
        array: values 0 to 255 of any type of numbers: (h, w) and (h, w, 1) grey, (h, w, 3) RGB, (h, w, 4) with alpha.

    Raises:
        DataError: it has another shape or other values.
    """
    shape = array.shape
    if array.ndim == 3 and shape[2] == 1:
        array = array[:, :, 0]
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and shape[2] in (3, 4))):
        raise DataError(f"an image of shape {shape}", do="give (h, w), (h, w, 1), (h, w, 3) or (h, w, 4)")
    if array.dtype == np.uint8:
        return Image.fromarray(np.ascontiguousarray(array))
    if array.dtype.kind not in "iuf":
        raise DataError(f"an image of type {array.dtype}", do="give numbers 0 to 255")
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= 255):
        raise DataError(f"an image with values {low:g} to {high:g}", do="give values 0 to 255")
    if array.dtype.kind == "f" and high <= 1 and np.any(array != np.rint(array)):
        raise DataError("an image with values 0 to 1", do="multiply it by 255: values go from 0 to 255")
    return Image.fromarray(np.rint(array).astype(np.uint8))


def extremes(image: Image.Image) -> tuple[float, float]:
    """The lowest and the highest value of a loaded image; 0 and 255 of one that is not deep.

    Raises:
        DataError: some are no numbers, or the image is in a mode that has no RGB.
    """
    if not is_deep(image.mode):
        _plain(image.crop((0, 0, 1, 1)))
        return 0, 255
    low, high = math.inf, -math.inf
    for first, last in _bands((0, 0, *image.size)):
        values = np.asarray(image.crop((0, first, image.width, last)))
        check_finite(values)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    return low, high


def _stored(upright: Limits, size: Size, orientation: int) -> Limits:
    """Where a region of the upright image lies in the stored one, whose width and height are `size`."""
    left, top, right, bottom = upright
    if orientation >= 5:  # rows are columns
        left, top, right, bottom = top, left, bottom, right
    if orientation in (2, 3, 7, 8):
        left, right = size[0] - right, size[0] - left
    if orientation in (3, 4, 6, 7):
        top, bottom = size[1] - bottom, size[1] - top
    return left, top, right, bottom


def _bands(limits: Limits) -> Iterator[tuple[int, int]]:
    """First row and row after the last of bands of about a megapixel."""
    left, top, right, bottom = limits
    rows = max(1, _BAND_PIXELS // (right - left))
    for first in range(top, bottom, rows):
        yield first, min(first + rows, bottom)


def _resized(image: Image.Image, width: int, height: int, *, method: Image.Resampling) -> Image.Image:
    return image if image.size == (width, height) else image.resize((width, height), method)


def _rgb(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


def _plain(image: Image.Image) -> Image.Image:
    """The image as RGB or 8-bit grey (L), without transparency. Each pixel by itself, so bands can be made."""
    if image.mode in ("RGB", "L") and "transparency" not in image.info:
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode == "LAB":
        raise DataError("has colours in CIELAB, which are not read", do="convert it to 8-bit RGB")
    if image.has_transparency_data:
        with_alpha = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, with_alpha).convert("RGB")
    return image.convert("RGB")
