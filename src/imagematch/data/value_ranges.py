"""Ranges of values: grey of more than 8 bits, signed or floating, scaled to 0 to 255 by one rule for a whole set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image

from imagematch.errors import DataError

ValueRange = tuple[float, float]
"""The values that become 0 and 255; what lies outside is clipped."""

_FULL = 65_535
_DARK = 0x4000
"""Colours of 16 bits that stay below are of a camera with fewer bits, and show next to nothing in the upper 8."""
_MIN_BITS = 8
_PLAIN_SPREAD = 4.0
"""Grey values of 0 to 255: a thumbnail with a smaller standard deviation shows next to nothing."""
_MIN_SHARE = 0.25
"""Of a number of bits: values that use less of it lie elsewhere, as with an offset."""


def is_deep(mode: str) -> bool:
    """Whether an image in this mode of Pillow's has grey values of more than 8 bits, signed or floating ones."""
    return mode == "F" or mode.startswith("I")


def is_deep_colour(mode: str) -> bool:
    """Whether an image, as ImageFacts has its mode, has colours of more than 8 bits."""
    return mode.endswith(";16") and not is_deep(mode)


def set_range(
    setting: Literal["auto", "full"] | ValueRange, modes: Sequence[str], lows: Sequence[float], highs: Sequence[float]
) -> ValueRange | None:
    """The one range that all deep images of a set are scaled by.

    With "auto", of whole numbers from 0 to 65,535 the range is that of the least number of bits that holds them all (8
    or more): 0 to 4,095 of a 12-bit camera. Where they fill less than a quarter of it (as with an offset), where some
    are negative or larger, or where they are floating, it is from the lowest to the highest value; of floating ones
    between 0 and 1 these two.

    Args:
        setting: "auto", "full", or the range itself.
        modes: Pillow's mode of each image.
        lows: the lowest value of each.
        highs: the highest of each.

    Returns:
        The range; None for 0 to 65,535, which needs no rule, and where no image is deep.
    """
    deep = [row for row, mode in enumerate(modes) if is_deep(mode)]
    if setting == "full" or not deep:
        return None
    if setting != "auto":
        return setting
    low, high = min(lows[row] for row in deep), max(highs[row] for row in deep)
    if all(modes[row] != "F" for row in deep) and low >= 0 and high <= _FULL:
        top = 2.0 ** max(_MIN_BITS, math.ceil(math.log2(high + 1))) - 1
        if low == high or high - low >= _MIN_SHARE * top:
            return None if top == _FULL else (0.0, top)
    elif low >= 0 and high <= 1:
        return 0.0, 1.0
    return (low, high) if low < high else (low, low + 1)


def describe_range(chosen: ValueRange | None, modes: Sequence[str], highs: Sequence[float]) -> str:
    """How the deep images of a set are scaled, in a sentence; "" where there are none, or nothing is to be noticed."""
    colour = [highs[row] for row, mode in enumerate(modes) if is_deep_colour(mode)]
    deep = [row for row, mode in enumerate(modes) if is_deep(mode)]
    said = [_deep_colour(colour)] if colour else []
    if deep and chosen is not None:
        said.append(_deep_grey(chosen, len(deep), max(highs[row] for row in deep)))
    return "; ".join(said)


def _deep_colour(highs: Sequence[float]) -> str:
    what = f"{len(highs):,} images have colours of 16 bits, of which the upper 8 are used"
    top = max(highs)
    return what if top >= _DARK else f"{what}: dark, as their values end near {top:,g}; convert them to 8 bits"


def _deep_grey(chosen: ValueRange, images: int, top: float) -> str:
    return (
        f"{images:,} images have grey values up to {top:,g}: "
        f"{chosen[0]:,g} to {chosen[1]:,g} becomes black to white in all of them (value_range)"
    )


def scaled(image: Image.Image, chosen: ValueRange | None) -> Image.Image:
    """A deep image as 8-bit grey (L), each pixel by itself.

    Raises:
        DataError: without a range, its values are not whole numbers from 0 to 65,535.
    """
    values = np.asarray(image)
    if chosen is not None:
        low, high = chosen
        grey = np.clip((values.astype(np.float64) - low) * (255 / (high - low)), 0, 255)
        return Image.fromarray(np.rint(grey).astype(np.uint8))
    if image.mode == "F" or values.min() < 0 or values.max() > _FULL:
        raise DataError(
            f"has grey values from {values.min():g} to {values.max():g}, which have no fixed range",
            do="set value_range to auto or [low, high], or convert it to 8 bits",
        )
    return Image.fromarray(((values.astype(np.uint32) * 255 + 32767) // _FULL).astype(np.uint8))


def check_finite(values: np.ndarray) -> None:
    """Raises DataError where some of a deep image's values are no numbers."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError("has values that are not numbers (NaN or infinite)", do="fill them in, or convert it to 8 bits")


def nearly_plain(thumbnails: np.ndarray) -> np.ndarray:
    """Which images show next to nothing: grey thumbnails (n, h, w) uint8 -> (n,) bool."""
    return np.asarray(thumbnails.reshape(len(thumbnails), -1).astype(np.float32).std(axis=1) < _PLAIN_SPREAD)
