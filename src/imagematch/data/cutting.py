"""What is kept of an image, and at which size: the same cut of a full-size image and of one decoded at reduced size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from imagematch.data.boxes import limits
from imagematch.data.pixels import Size, Upright, shrunk, turned
from imagematch.sources import Box


@dataclass(frozen=True)
class Cut:
    """What a caller asks for.

    Attributes:
        size_for: gives the size asked for, in width and height, for those of what is kept; never larger.
        box: the part of the image to keep, in pixels of the full size; None keeps all.
        angle: degrees that the box leans clockwise.
    """

    size_for: Callable[[int, int], Size]
    box: Box | None = None
    angle: float = 0.0

    def kept(self, full: Size) -> Size:
        """Width and height of what is kept of an upright image of this size; a leaning box may stick out.

        Raises:
            DataError: nothing of the box lies inside.
        """
        if self.box is not None and self.angle:
            return max(1, round(self.box[2] - self.box[0])), max(1, round(self.box[3] - self.box[1]))
        left, top, right, bottom = limits(self.box, *full)
        return right - left, bottom - top

    def of(self, image: Upright, full: Size, reduction: int = 1) -> np.ndarray:
        """The pixels.

        Args:
            image: decoded `reduction` times smaller than `full`.
            full: the size that the box is in.
            reduction: 1 for an image in full size.

        Returns:
            (height, width, 3) uint8.

        Raises:
            DataError: nothing of the box lies inside, or its values have no fixed range.
        """
        size, box = self.size_for(*self.kept(full)), self.box
        if box is not None and self.angle:
            image, box = Upright(turned(image, _scaled(box, reduction), self.angle)), None
        elif box is not None:
            box = _scaled(limits(box, *full), reduction)
        part = limits(box, *image.size)
        return shrunk(image, part, (min(size[0], part[2] - part[0]), min(size[1], part[3] - part[1])))


def _scaled(box: Box, reduction: int) -> Box:
    """A box in a smaller image; never empty."""
    left, top, right, bottom = (value / reduction for value in box)
    return left, top, max(right, left + 1), max(bottom, top + 1)
