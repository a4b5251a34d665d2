"""digits: 1,797 handwritten digits of 8 x 8 pixels, part of scikit-learn. No file, no download.

Source: UCI ML hand-written digits (test part), E. Alpaydin and C. Kaynak, 1998.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from imagematch.data.sources.listing import Entry, Listing
from imagematch.errors import DataError


class DigitsSource:
    """The embedded digits; grey values 0 to 16 are scaled to 0 to 255."""

    root: Path | None = None

    def listing(self) -> Listing:
        """See Source."""
        _, labels = _digits()
        return Listing(tuple(Entry(f"digits/{row:04d}", str(label)) for row, label in enumerate(labels)))

    def read(self, file: str) -> bytes:
        """See Source; the bytes are those of a PGM file."""
        images, _ = _digits()
        number = file.removeprefix("digits/")
        if not number.isdecimal() or int(number) >= len(images):
            raise DataError("is not one of the embedded digits", where=file)
        return b"P5 8 8 255\n" + images[int(number)].tobytes()


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return np.rint(images * (255 / 16)).astype(np.uint8), labels.astype(np.int32)
