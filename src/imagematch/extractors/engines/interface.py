"""What every engine offers: pictures in, features out, in order, whatever their sizes and number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

Pictures = Sequence[np.ndarray] | np.ndarray


class Engine(ABC):
    """Runs one network. Not to be shared between threads.

    Attributes:
        name: `openvino`, `tensorflow` or `numpy`.
        precision: `float32` or `bfloat16`, what the network computes in.
        feature_dim: length of the features.
        batch_size: how many pictures at once it likes best.
    """

    name: str
    precision: str
    feature_dim: int
    batch_size: int

    @abstractmethod
    def start(self, pictures: np.ndarray, out: np.ndarray, rows: np.ndarray | slice) -> None:
        """Begins a batch and returns, perhaps before it is done: `out[rows]` is filled when `finish` has returned.

        Args:
            pictures: (n, h, w, 3) uint8, n at most `batch_size`.
            out: (m, feature_dim) float32.
            rows: the n rows of `out` to fill.
        """

    @abstractmethod
    def finish(self) -> None:
        """Waits for all that was started."""

    def run(self, pictures: Pictures) -> np.ndarray:
        """The features of pictures of any sizes, in their order.

        Args:
            pictures: (n, h, w, 3) uint8, or n of (h, w, 3) uint8.

        Returns:
            (n, feature_dim) float32.

        Raises:
            ValueError: a picture is not (h, w, 3) uint8.
        """
        out = np.empty((len(pictures), self.feature_dim), np.float32)
        try:
            for rows in self._groups(pictures):
                self.start(np.stack([pictures[row] for row in rows]), out, rows)
        finally:
            self.finish()
        return out

    def _groups(self, pictures: Pictures) -> list[np.ndarray]:
        """Rows in batches of pictures of one size."""
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for row, picture in enumerate(pictures):
            if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
                raise ValueError(f"a picture must be (h, w, 3) uint8, not {picture.shape} {picture.dtype}")
            by_shape.setdefault(picture.shape, []).append(row)
        size = self.batch_size
        return [
            np.array(rows[first : first + size]) for rows in by_shape.values() for first in range(0, len(rows), size)
        ]
