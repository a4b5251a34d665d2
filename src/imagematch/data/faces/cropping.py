"""Crops images to their faces: to which box, and what is given of an image in which no face was found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.data.decoding import decode
from imagematch.data.faces.alignment import aligned_square
from imagematch.data.faces.detector import Face, FaceDetector, seen_by_detectors
from imagematch.data.faces.haar import Haar
from imagematch.data.faces.mtcnn import Mtcnn
from imagematch.data.faces.yunet import YuNet, remember_yunet
from imagematch.errors import DataError
from imagematch.framing import SQUASHED, Framing
from imagematch.image_files import read_bytes
from imagematch.sources import Box

if TYPE_CHECKING:
    from imagematch.config import TrainSettings


@dataclass(frozen=True)
class FaceCropper:
    """How images are cropped to faces: the same way for training and for the images a matcher is asked about.

    Attributes:
        margin: added on each side, as a share of the face's own side.
        align: bring the face's five points to where face networks expect them, or, where the detector finds none, turn
            it until its eyes are level.
        missing: of an image without a face "whole" gives all of it, "skip" leaves it out of a data set, and "error"
            stops.
        detector: "haar", "mtcnn" or "yunet".
        network: digest of YuNet's file, see `remember_yunet`; None for the others.
    """

    margin: float
    align: bool
    missing: str
    detector: str = "haar"
    network: str | None = None

    @classmethod
    def of(cls, settings: TrainSettings) -> FaceCropper | None:
        """What the settings ask for; None where images are not cropped to faces."""
        if settings.face_crop == "none":
            return None
        detector, _, path = settings.face_crop.partition(":")
        network = remember_yunet(Path(path).expanduser()) if detector == "yunet" else None
        return cls(settings.face_margin, settings.face_align, settings.face_missing, detector, network)

    def opened(self) -> FaceDetector:
        """What finds the faces."""
        if self.detector == "yunet":
            return YuNet(self.network or "")
        return Mtcnn() if self.detector == "mtcnn" else Haar(eyes=self.align)

    def find(self, image: Any, **how: Any) -> Face | None:
        """The largest face of an image in any form, in pixels of its full size; None where there is none.

        Raises:
            DataError: the image cannot be read, or the detector is not installed.
        """
        return self.opened().find(seen_by_detectors(image, **how))

    def region(self, face: Face, width: int, height: int) -> tuple[Box, float]:
        """What is used of an image: a square in whole pixels, and the degrees that it leans clockwise.

        A square that would stick out is moved inside; the image limits it where it is larger than that. One that is
        aligned by five points stays where it is.

        Args:
            face: of the image.
            width: of the upright image, pixels.
            height: likewise.
        """
        if self.align and face.points:
            return aligned_square(face.points, self.margin)
        side = max(1, round(max(face.width, face.height) * (1 + 2 * self.margin)))
        left, right = _inside(face.left + face.width / 2, side, width)
        top, bottom = _inside(face.top + face.height / 2, side, height)
        return (left, top, right, bottom), face.angle if self.align else 0.0

    def decode(self, image: Any, max_size: int | None = None, framing: Framing = SQUASHED, **how: Any) -> np.ndarray:
        """The canonical pixels of the face in an image of any form.

        Args:
            image: see `imagematch.data.decode`.
            max_size: likewise.
            framing: likewise.
            how: `value_range` and `max_pixels`, likewise.

        Returns:
            (height, width, 3) uint8, both sides at most `max_size`; the whole image where there is no face and
            `missing` is "whole".

        Raises:
            DataError: the image cannot be read, or has no face and `missing` is not "whole".
        """
        if not isinstance(image, str | Path):
            return self._face_of(image, max_size, framing, how)
        data = read_bytes(Path(image))  # once: what the face was found in is cropped to it
        try:
            return self._face_of(data, max_size, framing, how)
        except DataError as error:
            raise type(error)(error.what, where=str(image), do=error.do) from error

    def _face_of(self, image: Any, max_size: int | None, framing: Framing, how: dict[str, Any]) -> np.ndarray:
        seen = seen_by_detectors(image, **how)
        face = self.opened().find(seen)
        if face is not None:
            box, angle = self.region(face, seen.width, seen.height)
            return decode(image, max_size, box=box, angle=angle, framing=framing, **how)
        if self.missing != "whole":
            raise DataError("no face found in it", do="use an image that shows a face")
        return decode(image, max_size, framing=framing, **how)


def _inside(centre: float, side: int, length: int) -> tuple[float, float]:
    """Where a side about `centre` begins and ends, moved inside 0 to `length`."""
    side = min(side, length)
    start = min(max(round(centre - side / 2), 0), length - side)
    return float(start), float(start + side)
