"""Five-point alignment: the square of an image that a face network expects to see."""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence

import numpy as np

from imagematch.data.faces.detector import Point
from imagematch.sources import Box

_SIDE = 112
_TEMPLATE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
"""Where eyes, nose and corners of the mouth are in an aligned face of 112 x 112 pixels, the first pixel's centre at 0.

Source: Deng et al., ArcFace, CVPR 2019; its published code (InsightFace).
"""
_LEAST_ANGLE = 0.001
"""Degrees. A box that leans may stick out of its image, and is black there; one that does not is cut short."""


def aligned_square(points: Sequence[Point], margin: float = 0.0) -> tuple[Box, float]:
    """The square that becomes the aligned face, and the degrees that it leans clockwise.

    Turning, scaling and moving, without shearing, bring the points as near to those of the template as they can come
    in the sense of least squares, measured in the template.

    Args:
        points: eyes, nose, corners of the mouth, each from left to right, in pixels of the image.
        margin: added on each side, as a share of the square's side.
    """
    found = np.array([complex(x, y) for x, y in points])
    wanted = np.array([complex(x + 0.5, y + 0.5) for x, y in _TEMPLATE])
    around, centre = found - found.mean(), wanted.mean()
    turn = np.vdot(around, wanted - centre) / max(np.vdot(around, around).real, 1e-9)  # template = turn * image
    turn = turn if abs(turn) > 1e-6 else 1e-6
    middle = complex(found.mean()) + (complex(_SIDE / 2, _SIDE / 2) - centre) / turn
    half = _SIDE / abs(turn) * (0.5 + margin)
    angle = -math.degrees(cmath.phase(turn))
    angle = angle if abs(angle) >= _LEAST_ANGLE else _LEAST_ANGLE
    left, top, right, bottom = middle.real - half, middle.imag - half, middle.real + half, middle.imag + half
    return (round(left, 2), round(top, 2), round(right, 2), round(bottom, 2)), round(angle, 3)
