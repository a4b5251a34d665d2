"""Pictures inside files: as data URIs for HTML, as one sprite for the projector."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence

import numpy as np

from imagematch.reporting.escaping import markup

_SMALL_SIDE = 48
_PNG_UP_TO_PIXELS = 64 * 64
_MAX_SPRITE_SIDE = 8192
"""What browsers and the projector take as one texture."""


def picture_uri(picture: np.ndarray) -> str:
    """A (h, w, 3) uint8 picture as a data URI: PNG where it is small, else JPEG."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(picture, dtype=np.uint8))
    kind = "png" if image.width * image.height <= _PNG_UP_TO_PIXELS else "jpeg"
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"optimize": True} if kind == "png" else {"quality": 85}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def shown_whole(picture: np.ndarray) -> str:
    """CSS that shows a picture whole in a box of any size, the pixels of a small one as squares."""
    manner = "pixelated" if max(picture.shape[:2]) < _SMALL_SIDE else "auto"
    return f"object-fit:contain;image-rendering:{manner};background:rgba(128,128,128,.15)"


def sprite_side(count: int, wanted: int = 64) -> int:
    """Side of one picture in a sprite of `count`, pixels: `wanted`, less where the sprite would get too large.

    Raises:
        ValueError: so many that not even one pixel each fits.
    """
    columns = math.ceil(math.sqrt(count))
    if columns > _MAX_SPRITE_SIDE:
        raise ValueError(f"{count:,} pictures do not fit on one sprite")
    return min(wanted, _MAX_SPRITE_SIDE // max(columns, 1))


def make_sprite(count: int, picture: Callable[[int], np.ndarray], side: int) -> np.ndarray:
    """All pictures in a square grid, row by row: (k side, k side, 3) uint8, k = ceil(sqrt(count)); the rest white."""
    from PIL import Image

    columns = max(1, math.ceil(math.sqrt(count)))
    sprite = np.full((columns * side, columns * side, 3), 255, dtype=np.uint8)
    for row in range(count):
        image = Image.fromarray(np.ascontiguousarray(picture(row), dtype=np.uint8))
        top, left = (row // columns) * side, (row % columns) * side
        sprite[top : top + side, left : left + side] = np.asarray(image.resize((side, side)))
    return sprite


def pictures_html(pictures: Sequence[np.ndarray], captions: Sequence[str]) -> str:
    """Pictures side by side with a caption under each, in HTML without any script; the captions are escaped."""
    boxes = "".join(
        f'<figure style="margin:0"><img src="{picture_uri(picture)}" alt="{markup(caption)}" '
        f'style="width:128px;height:128px;{shown_whole(picture)}">'
        f'<figcaption style="text-align:center">{markup(caption)}</figcaption></figure>'
        for picture, caption in zip(pictures, captions, strict=True)
    )
    return f'<div style="display:flex;gap:16px">{boxes}</div>'
