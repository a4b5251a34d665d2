"""Finds the largest face of an image, and how it leans, with OpenCV's cascades.

Source: P. Viola, M. Jones, Rapid object detection using a boosted cascade of simple features, CVPR 2001.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imagematch.data.decoding import Thumbnail
from imagematch.data.faces.detector import INSTALL_FACES, SMALLEST_FACE, Face, FaceDetector, in_full_size, largest
from imagematch.errors import DataError

_FACES = "haarcascade_frontalface_default.xml"
_EYES = "haarcascade_eye.xml"
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

_own = threading.local()
"""A cascade must not be used by two threads at once: each has its own."""

_importing = threading.Lock()
"""OpenCV imports itself in two steps, and lacks its parts between them."""


_threads = threading.Lock()


@dataclass(frozen=True)
class Haar(FaceDetector):
    """OpenCV's cascades.

    Attributes:
        eyes: look for the eyes too.
    """

    eyes: bool = False
    name = "haar"
    version = "1"

    def find(self, seen: Thumbnail) -> Face | None:
        """See FaceDetector."""
        searched = np.asarray(Image.fromarray(seen.pixels).convert("L"))
        if min(searched.shape) < _SMALLEST_WINDOW:
            return None
        smallest = max(_SMALLEST_WINDOW, round(SMALLEST_FACE * min(searched.shape)))
        found = _cascade(_FACES).detectMultiScale(searched, _SCALE_STEP, _NEIGHBOURS, minSize=(smallest, smallest))
        if len(found) == 0:
            return None
        x, y, w, h = found.tolist()[largest(found.tolist())]
        return in_full_size(seen, (x, y, w, h), angle=_leaning(searched[y : y + h, x : x + w]) if self.eyes else 0.0)

    @contextmanager
    def shared(self) -> Iterator[None]:
        """See FaceDetector: OpenCV starts no threads of its own while the caller's share the work."""
        cv2 = opencv()
        with _threads:
            before = cv2.getNumThreads()
            cv2.setNumThreads(1)
            try:
                yield
            finally:
                cv2.setNumThreads(before)


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


def opencv(needs: str = "CascadeClassifier", by: str = "haar") -> Any:
    """OpenCV, imported. Raises DataError where it is not there, or lacks what a detector needs of it."""
    try:
        with _importing:
            import cv2
    except ImportError as error:
        raise DataError(f"face_crop: {by} needs OpenCV", do=INSTALL_FACES) from error
    if not hasattr(cv2, needs):  # OpenCV 5 has no cascades, 4.5.3 and older no FaceDetectorYN
        raise DataError(f"OpenCV {cv2.__version__} has no {needs}", do=INSTALL_FACES)
    return cv2


def _cascade(name: str) -> Any:
    """This thread's cascade of that name."""
    cascades: dict[str, Any] = _own.__dict__.setdefault("cascades", {})
    if name not in cascades:
        cv2 = opencv()
        cascade = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / name))
        if cascade.empty():
            raise DataError(f"OpenCV's {name} is missing", do=INSTALL_FACES)
        cascades[name] = cascade
    return cascades[name]
