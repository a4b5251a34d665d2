"""Images in reports: a split as reports need it, data URIs for HTML, one sprite for the projector."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from imagematch.reporting.html import render

_PIXELATED_BELOW = 48
_PNG_UP_TO_PIXELS = 64 * 64
_MAX_SPRITE_SIDE = 8192
"""The largest texture of browsers and the projector."""


@dataclass(frozen=True, eq=False)
class SplitView:
    """A split, as plots and reports need it.

    Attributes:
        embeddings: (n, dim) float32, L2-normalised.
        labels: (n,) int, index into `class_names`.
        class_names: every class's name; may hold any characters.
        paths: (n,) str, the images' ids; may hold any characters.
        image: row -> (h, w, 3) uint8, small enough to be shown.
        label_names: every class's label in the data set, where `class_names` are titles for people.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    class_names: Sequence[str]
    paths: Sequence[str] | np.ndarray
    image: Callable[[int], np.ndarray]
    label_names: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def class_name(self, row: int) -> str:
        """Name of the class of image `row`."""
        return str(self.class_names[int(self.labels[row])])

    def label_name(self, label: int) -> str:
        """A label as the data set has it."""
        return str((self.label_names or self.class_names)[label])

    def path(self, row: int) -> str:
        """Id of image `row`."""
        return str(self.paths[row])


def sampled_rows(count: int, at_most: int, seed: int = 0) -> np.ndarray:
    """At most `at_most` of `count` rows, drawn evenly, sorted; the same for the same seed."""
    if count <= at_most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, at_most, replace=False))


def image_uri(pixels: np.ndarray) -> str:
    """An image, (h, w, 3) uint8, as a data URI: PNG where it is small, else JPEG."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels, dtype=np.uint8))
    kind = "png" if image.width * image.height <= _PNG_UP_TO_PIXELS else "jpeg"
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"optimize": True} if kind == "png" else {"quality": 85}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def is_pixelated(pixels: np.ndarray) -> bool:
    """Whether an image is so small that it is shown with its pixels as squares."""
    return max(pixels.shape[:2]) < _PIXELATED_BELOW


def images_html(images: Sequence[np.ndarray], captions: Sequence[str]) -> Markup:
    """Images side by side with a caption under each, in HTML without any script; the captions are escaped."""
    shown = [
        {"uri": image_uri(image), "pixelated": is_pixelated(image), "caption": caption}
        for image, caption in zip(images, captions, strict=True)
    ]
    return render("images.html.j2", images=shown)


def sprite_side(count: int, wanted: int = 64) -> int:
    """Side of one image in a sprite of `count`, pixels: `wanted`, less where the sprite would get too large.

    Raises:
        ValueError: so many that not even one pixel each fits.
    """
    columns = math.ceil(math.sqrt(count))
    if columns > _MAX_SPRITE_SIDE:
        raise ValueError(f"{count:,} images do not fit on one sprite")
    return min(wanted, _MAX_SPRITE_SIDE // max(columns, 1))


def make_sprite(count: int, image: Callable[[int], np.ndarray], side: int) -> np.ndarray:
    """All images in a square grid, row by row: (k side, k side, 3) uint8, k = ceil(sqrt(count)); the rest white."""
    from PIL import Image

    columns = max(1, math.ceil(math.sqrt(count)))
    sprite = np.full((columns * side, columns * side, 3), 255, dtype=np.uint8)
    for row in range(count):
        full = Image.fromarray(np.ascontiguousarray(image(row), dtype=np.uint8))
        top, left = (row // columns) * side, (row % columns) * side
        sprite[top : top + side, left : left + side] = np.asarray(full.resize((side, side)))
    return sprite
