"""What every face detector has in common: it finds the largest face of a small image, in pixels of the full size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from imagematch.data.decoding import Thumbnail, thumbnail

SEARCHED_SIDE = 480
"""Pixels of the longer side of what is searched: coarse structure is enough, and time grows with the pixels."""
SMALLEST_FACE = 0.1
"""Of the image's shorter side."""
INSTALL_FACES = "pip install 'imagematch[faces]'"

Point = tuple[float, float]


class Face(NamedTuple):
    """A face in an image.

    Attributes:
        left: of its box, pixels of the upright image.
        top: likewise.
        width: likewise.
        height: likewise.
        angle: degrees that it leans clockwise, by its eyes; 0 where they were not looked for, or not both found.
        points: the eyes, the nose and the corners of the mouth, each pair from left to right as it is seen, in pixels
            of the upright image; empty where the detector finds none.
    """

    left: float
    top: float
    width: float
    height: float
    angle: float = 0.0
    points: tuple[Point, ...] = ()


class FaceDetector(ABC):
    """Finds the largest face of an image. Threads may share one.

    Attributes:
        name: as `face_crop` has it.
        version: changes whenever another face is found in some image: cached faces are keyed by it.
    """

    name: str
    version: str

    @abstractmethod
    def find(self, seen: Thumbnail) -> Face | None:
        """The largest face of an image of at most SEARCHED_SIDE, in pixels of its full size; None where there is none.

        Raises:
            DataError: the detector is not installed.
        """

    def shared(self) -> AbstractContextManager[None]:
        """Entered while threads of the caller share the work."""
        return nullcontext()


def seen_by_detectors(image: Any, **how: Any) -> Thumbnail:
    """An image in any form as detectors see it; `how` is as in `imagematch.data.decode`, but for the value range."""
    return thumbnail(image, SEARCHED_SIDE, **(how | {"value_range": "own"}))


def largest(boxes: Sequence[Sequence[float]]) -> int:
    """Which of some boxes (left, top, width, height), at least one, is the largest, of equal ones the uppermost."""
    return max(range(len(boxes)), key=lambda row: (boxes[row][2] * boxes[row][3], -boxes[row][1], -boxes[row][0]))


def in_full_size(
    seen: Thumbnail, box: Sequence[float], points: Sequence[Sequence[float]] = (), angle: float = 0
) -> Face:
    """The face at a box (left, top, width, height) of what was seen, in pixels of the image."""
    across, down = seen.width / seen.pixels.shape[1], seen.height / seen.pixels.shape[0]
    left, top, width, height = (round(float(v) * scale, 1) for v, scale in zip(box, (across, down) * 2, strict=True))
    return Face(
        left,
        top,
        width,
        height,
        angle,
        tuple((round(float(x) * across, 2), round(float(y) * down, 2)) for x, y in points),
    )
