"""Images as callers have them, one or many, and their pixels block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from imagematch.errors import DataError

_BLOCK = 256
_FEW = 2


def is_many(images: Any) -> bool:
    """Whether these are many images (a list, a tuple, a 4-D array, a 1-D array of paths), and not one."""
    if isinstance(images, (str, bytes, Path)):
        return False
    return isinstance(images, (list, tuple)) or getattr(images, "ndim", 0) in (1, 4)


def as_list(images: Any) -> Sequence[Any]:
    """One image or many as a list."""
    if not is_many(images):
        return [images]
    if hasattr(images, "numpy"):
        images = images.numpy()
    return images if isinstance(images, (list, tuple)) else list(images)


def picture_blocks(
    images: Sequence[Any], decode: Callable[[Any], np.ndarray]
) -> Iterator[tuple[int, list[np.ndarray | DataError]]]:
    """Yields the place of a block's first image, and each image's pixels or why there are none, named.

    Threads share the work, since Pillow lets go of the interpreter's lock; a pair is read before a thread has started.
    """

    def read(row: int) -> np.ndarray | DataError:
        try:
            return decode(images[row])
        except DataError as error:
            where = error.where or (f"image {row + 1} of {len(images)}" if len(images) > 1 else "")
            return DataError(error.what, where=where, do=error.do)

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(images), _BLOCK):
            rows = range(start, min(start + _BLOCK, len(images)))
            yield start, list(map(read, rows) if len(images) <= _FEW else pool.map(read, rows))
