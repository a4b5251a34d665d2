"""Boxes: the part of an image that is kept, and the digest of what is kept."""

from __future__ import annotations

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
        raise DataError(f"the box {', '.join(f'{v:g}' for v in box)} is outside the picture of {width} x {height}")
    return left, top, right, bottom


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
