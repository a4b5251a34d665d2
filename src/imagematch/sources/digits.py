"""digits: 1,797 handwritten digits of 8 x 8 pixels, part of scikit-learn. No file, no download.

Source: UCI ML hand-written digits (test part), E. Alpaydin and C. Kaynak, 1998.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from imagematch.errors import DataError
from imagematch.sources.listing import ImageRow, Listing, Source, SourceOptions, register_source

if TYPE_CHECKING:
    import numpy as np


@register_source(
    "digits",
    "1,797 handwritten digits of 8 x 8 px, part of scikit-learn: no file, no download",
    not_fetched="digits is part of scikit-learn: there is nothing to fetch",
)
class DigitsSource(Source):
    """The embedded digits; grey values 0 to 16 are scaled to 0 to 255."""

    def __init__(self, _root: Path | None, options: SourceOptions = SourceOptions()) -> None:  # noqa: B008 - frozen
        self.root = None
        self.options = options

    def listing(self) -> Listing:
        """See Source."""
        _, labels = _digits()
        return Listing(tuple(ImageRow(f"digits/{row:04d}", str(label)) for row, label in enumerate(labels)))

    def read(self, file: str) -> bytes:
        """See Source; the bytes are those of a PGM file."""
        images, _ = _digits()
        number = file.removeprefix("digits/")
        if not number.isdecimal() or int(number) >= len(images):
            raise DataError("is not one of the embedded digits", where=file)
        return b"P5 8 8 255\n" + images[int(number)].tobytes()


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    import numpy as np
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return np.rint(images * (255 / 16)).astype(np.uint8), labels.astype(np.int32)
