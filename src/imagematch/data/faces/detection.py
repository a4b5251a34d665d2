"""Finds the largest face of an image, and how it leans, with OpenCV's cascades.

Source: P. Viola, M. Jones, Rapid object detection using a boosted cascade of simple features, CVPR 2001.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from imagematch.data.decoding import Thumbnail, thumbnail
from imagematch.errors import DataError

DETECTOR_VERSION = "1"
"""Changes whenever another face is found in some image: cached faces are keyed by it."""

_FACES = "haarcascade_frontalface_default.xml"
_EYES = "haarcascade_eye.xml"
SEARCHED_SIDE = 480
"""Pixels of the longer side of what is searched: coarse structure is enough, and time grows with the pixels."""
_SMALLEST_FACE = 0.1
"""Of the image's shorter side."""
_SMALLEST_WINDOW = 24
"""Pixels; the cascades know nothing smaller."""
_SCALE_STEP = 1.1
_NEIGHBOURS = 5
_UPPER_PART = 0.6
"""Of a face, where its eyes are looked for."""
_SMALLEST_EYE = 0.12
"""Of the face's side."""
_MOST_LEANING_DEGREES = 30.0
"""Eyes further out of line are not a pair: the cascade finds no face that leans so much."""

_INSTALL = "pip install 'imagematch[faces]'"

_own = threading.local()
"""A cascade must not be used by two threads at once: each has its own."""

_importing = threading.Lock()
"""OpenCV imports itself in two steps, and lacks its parts between them."""


class Face(NamedTuple):
    """A face in an image.

    Attributes:
        left: of its square, pixels of the upright image.
        top: likewise.
        width: likewise.
        height: likewise.
        angle: degrees that it leans clockwise, by its eyes; 0 where they were not looked for, or not both found.
    """

    left: float
    top: float
    width: float
    height: float
    angle: float = 0.0


def find_face(image: Any, *, eyes: bool = False) -> Face | None:
    """The largest face of an image.

    Args:
        image: in any form; see `imagematch.data.decode`.
        eyes: look for the eyes too.

    Returns:
        The face, in pixels of the full size; None where none is found.

    Raises:
        DataError: the image cannot be read, or OpenCV, or its cascades, are not there.
    """
    return face_in(thumbnail(image, SEARCHED_SIDE, value_range="own", max_pixels=None), eyes=eyes)


def face_in(seen: Thumbnail, *, eyes: bool) -> Face | None:
    """The same in a thumbnail of SEARCHED_SIDE."""
    searched = np.asarray(Image.fromarray(seen.pixels).convert("L"))
    if min(searched.shape) < _SMALLEST_WINDOW:
        return None
    smallest = max(_SMALLEST_WINDOW, round(_SMALLEST_FACE * min(searched.shape)))
    found = _cascade(_FACES).detectMultiScale(searched, _SCALE_STEP, _NEIGHBOURS, minSize=(smallest, smallest))
    if len(found) == 0:
        return None
    # The largest; of equally large ones the uppermost, whatever order they come in.
    x, y, w, h = max(found.tolist(), key=lambda box: (box[2] * box[3], -box[1], -box[0]))
    angle = _leaning(searched[y : y + h, x : x + w]) if eyes else 0.0
    across, down = seen.width / searched.shape[1], seen.height / searched.shape[0]
    return Face(round(x * across, 1), round(y * down, 1), round(w * across, 1), round(h * down, 1), angle)


def _leaning(face: np.ndarray) -> float:
    """Degrees that the line through the eyes goes down to the right; 0 where there is no pair of eyes."""
    side = face.shape[0]
    smallest = max(8, round(_SMALLEST_EYE * side))
    upper = np.ascontiguousarray(face[: round(_UPPER_PART * side)])
    if min(upper.shape) < smallest:
        return 0.0
    found = _cascade(_EYES).detectMultiScale(upper, _SCALE_STEP, _NEIGHBOURS, minSize=(smallest, smallest))
    eyes = sorted((x + w / 2, y + h / 2) for x, y, w, h in (box.tolist() for box in found))
    return _angle_of_pair(eyes, side)


def _angle_of_pair(eyes: Sequence[tuple[float, float]], side: float) -> float:
    """The angle of the most level pair that has one eye in each half of the face, a quarter of it apart or more."""
    angles = [
        math.degrees(math.atan2(right[1] - left[1], right[0] - left[0]))
        for left in eyes
        for right in eyes
        if left[0] < side / 2 < right[0] and right[0] - left[0] >= side / 4
    ]
    angle = min(angles, key=abs, default=0.0)
    return round(angle, 1) if abs(angle) <= _MOST_LEANING_DEGREES else 0.0


def opencv() -> Any:
    """OpenCV, imported. Raises DataError where it is not there, or has no cascades."""
    try:
        with _importing:
            import cv2
    except ImportError as error:
        raise DataError("face_crop: haar needs OpenCV", do=_INSTALL) from error
    if not hasattr(cv2, "CascadeClassifier"):  # OpenCV 5 has none
        raise DataError(f"OpenCV {cv2.__version__} has no cascades", do=_INSTALL)
    return cv2


def _cascade(name: str) -> Any:
    """This thread's cascade of that name."""
    cascades: dict[str, Any] = _own.__dict__.setdefault("cascades", {})
    if name not in cascades:
        cv2 = opencv()
        cascade = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / name))
        if cascade.empty():
            raise DataError(f"OpenCV's {name} is missing", do=_INSTALL)
        cascades[name] = cascade
    return cascades[name]
