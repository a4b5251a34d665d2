"""How all of an image, or its middle, becomes the square that a network sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

CROPS = ("squash", "center", "pad")
INTERPOLATIONS = ("bilinear", "bicubic")


@dataclass(frozen=True)
class Framing:
    """What a network's images are: squashed, cut or padded to a square, and what they are shrunk with.

    Attributes:
        crop: squash: all of the image, each side on its own; center: a square in the middle; pad: all of the image in
            proportion, black beside it.
        crop_share: side of that middle square, of the shorter side, over 0 to 1; only of `center`.
        interpolation: Pillow's antialiased filter. Enlarging is the network's, and always bilinear.
    """

    crop: Literal["squash", "center", "pad"] = "squash"
    crop_share: float = 1.0
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"

    def part(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of what is used of an image of this size, pixels."""
        if self.crop != "center":
            return width, height
        side = max(1, round(self.crop_share * min(width, height)))
        return side, side

    def limits(self, left: int, top: int, right: int, bottom: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of what is used between these, pixels."""
        width, height = self.part(right - left, bottom - top)
        left, top = left + (right - left - width) // 2, top + (bottom - top - height) // 2
        return left, top, left + width, top + height

    def size(self, width: int, height: int, max_size: int | None) -> tuple[int, int]:
        """Width and height that a part of this size is shrunk to; never larger."""
        if max_size is None:
            return width, height
        if self.crop == "pad":
            share = min(1.0, max_size / max(width, height))
            return max(1, round(width * share)), max(1, round(height * share))
        return min(width, max_size), min(height, max_size)

    def finished(self, pixels: np.ndarray) -> np.ndarray:
        """The shrunk image (h, w, 3) uint8; with `pad` as a square, the image in its middle."""
        height, width = pixels.shape[:2]
        if self.crop != "pad" or height == width:
            return pixels
        import numpy as np  # the configuration, which is read without it, names the crops

        side = max(height, width)
        square = np.zeros((side, side, 3), np.uint8)
        top, left = (side - height) // 2, (side - width) // 2
        square[top : top + height, left : left + width] = pixels
        return square

    @classmethod
    def of(cls, settings: Any) -> Framing:
        """That of a mapping which may hold more."""
        return cls(**{name: settings[name] for name in cls.__dataclass_fields__ if name in settings})


SQUASHED = Framing()
