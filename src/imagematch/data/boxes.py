"""Boxes: the part of an image that is used, and the digest of what is used."""

from __future__ import annotations

from imagematch.data.value_ranges import ValueRange, is_deep
from imagematch.errors import DataError
from imagematch.files import digest_bytes
from imagematch.sources import Box

Limits = tuple[int, int, int, int]
"""A box in whole pixels that lies inside its image."""


def box_size(box: Box) -> tuple[int, int]:
    """Width and height of a box that lies inside its image, pixels, as `decode` cuts it."""
    return round(box[2]) - round(box[0]), round(box[3]) - round(box[1])


def limits(box: Box | None, width: int, height: int) -> Limits:
    """A box rounded to whole pixels and limited to its image; all of it without a box.

    Raises:
        DataError: nothing of the box lies inside.
    """
    if box is None:
        return 0, 0, width, height
    left, top = max(0, round(box[0])), max(0, round(box[1]))
    right, bottom = min(width, round(box[2])), min(height, round(box[3]))
    if left >= right or top >= bottom:
        raise DataError(f"the box {', '.join(f'{v:g}' for v in box)} is outside the image of {width} x {height}")
    return left, top, right, bottom


def divided(box: Box, reduction: int) -> Box:
    """A box in a smaller image; never empty."""
    left, top, right, bottom = (value / reduction for value in box)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def pixels_digest(
    content: str, box: Box | None = None, angle: float = 0.0, value_range: ValueRange | None = None
) -> str:
    """Digest of the pixels that `decode` returns: the file's own digest, unless a box or a value range applies."""
    if box is not None:
        turned = f" turned {angle:g}" if angle else ""
        content = digest_bytes(f"{content} {tuple(map(float, box))}{turned}".encode())
    if value_range is not None:
        content = digest_bytes(f"{content} values {tuple(map(float, value_range))}".encode())
    return content


def decoded_digest(digest: str, mode: str, value_range: ValueRange | None) -> str:
    """A `pixels_digest` with the value range of its set, which only affects images of these deep Pillow modes."""
    return pixels_digest(digest, value_range=value_range if is_deep(mode) else None)


def check_digest(
    data: bytes, digest: str, box: Box | None = None, angle: float = 0.0, value_range: ValueRange | None = None
) -> None:
    """Raises DataError where a file's bytes are no longer those that were listed with this `pixels_digest`.

    A set's range counts for its deep images alone: the digest may be that without it.
    """
    found = pixels_digest(digest_bytes(data), box, angle)
    if digest not in (found, pixels_digest(found, value_range=value_range)):
        raise DataError("has changed since it was listed", do="run again")
