"""Crops images to their faces: to which box, and what is given of an image in which no face was found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.data.decoding import decode, thumbnail
from imagematch.data.faces.detection import SEARCHED_SIDE, Face, face_in
from imagematch.errors import DataError
from imagematch.image_files import read_bytes
from imagematch.sources import Box

if TYPE_CHECKING:
    from imagematch.config import TrainSettings


@dataclass(frozen=True)
class FaceCropper:
    """How images are cropped to faces: the same way for training and for the images a matcher is asked about.

    Attributes:
        margin: added on each side, as a share of the face's own side.
        align: turn the face until its eyes are level.
        missing: of an image without a face "whole" gives all of it, "skip" leaves it out of a data set, and "error"
            stops.
    """

    margin: float
    align: bool
    missing: str

    @classmethod
    def of(cls, settings: TrainSettings) -> FaceCropper | None:
        """What the settings ask for; None where images are not cropped to faces."""
        if settings.face_crop == "none":
            return None
        return cls(settings.face_margin, settings.face_align, settings.face_missing)

    def region(self, face: Face, width: int, height: int) -> tuple[Box, float]:
        """What is used of an image: a square in whole pixels, and the degrees that it leans clockwise.

        A square that would stick out is moved inside; the image limits it where it is larger than that.

        Args:
            face: of the image.
            width: of the upright image, pixels.
            height: likewise.
        """
        side = max(1, round(max(face.width, face.height) * (1 + 2 * self.margin)))
        left, right = _inside(face.left + face.width / 2, side, width)
        top, bottom = _inside(face.top + face.height / 2, side, height)
        return (left, top, right, bottom), face.angle if self.align else 0.0

    def decode(self, image: Any, max_size: int | None = None, **how: Any) -> np.ndarray:
        """The canonical pixels of the face in an image of any form.

        Args:
            image: see `imagematch.data.decode`.
            max_size: likewise.
            how: `value_range` and `max_pixels`, likewise.

        Returns:
            (height, width, 3) uint8, both sides at most `max_size`; the whole image where there is no face and
            `missing` is "whole".

        Raises:
            DataError: the image cannot be read, or has no face and `missing` is not "whole".
        """
        if not isinstance(image, str | Path):
            return self._face_of(image, max_size, how)
        data = read_bytes(Path(image))  # once: what the face was found in is cropped to it
        try:
            return self._face_of(data, max_size, how)
        except DataError as error:
            raise type(error)(error.what, where=str(image), do=error.do) from error

    def _face_of(self, image: Any, max_size: int | None, how: dict[str, Any]) -> np.ndarray:
        seen = thumbnail(image, SEARCHED_SIDE, **(how | {"value_range": "own"}))
        face = face_in(seen, eyes=self.align)
        if face is not None:
            box, angle = self.region(face, seen.width, seen.height)
            return decode(image, max_size, box=box, angle=angle, **how)
        if self.missing != "whole":
            raise DataError("no face found in it", do="use an image that shows a face")
        return decode(image, max_size, **how)


def _inside(centre: float, side: int, length: int) -> tuple[float, float]:
    """Where a side about `centre` begins and ends, moved inside 0 to `length`."""
    side = min(side, length)
    start = min(max(round(centre - side / 2), 0), length - side)
    return float(start), float(start + side)
