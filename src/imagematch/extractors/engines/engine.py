"""What every engine offers: images in, features out, in order; and the two that run no network of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from imagematch.extractors.feature_scaling import concatenate_features

ImageBatch = Sequence[np.ndarray] | np.ndarray


class Engine(ABC):
    """Runs one network. Not to be shared between threads.

    Attributes:
        name: `openvino`, `tensorflow` or `numpy`.
        precision: `float32`, `bfloat16` or `int8`, what the network computes in.
        feature_dim: length of the features.
        batch_size: how many images at once it likes best.
    """

    name: str
    precision: str
    feature_dim: int
    batch_size: int

    @abstractmethod
    def start(self, images: np.ndarray, out: np.ndarray, rows: np.ndarray | slice) -> None:
        """Begins a batch and returns, perhaps before it is done: `out[rows]` is filled when `finish` has returned.

        Args:
            images: (n, h, w, 3) uint8, n at most `batch_size`.
            out: (m, feature_dim) float32.
            rows: the n rows of `out` to fill.
        """

    @abstractmethod
    def finish(self) -> None:
        """Waits for all that was started."""

    def run(self, images: ImageBatch) -> np.ndarray:
        """The features of images of any sizes, in their order.

        Args:
            images: (n, h, w, 3) uint8, or n of (h, w, 3) uint8.

        Returns:
            (n, feature_dim) float32.

        Raises:
            ValueError: a image is not (h, w, 3) uint8.
        """
        out = np.empty((len(images), self.feature_dim), np.float32)
        try:
            for rows in self._groups(images):
                self.start(np.stack([images[row] for row in rows]), out, rows)
        finally:
            self.finish()
        return out

    def _groups(self, images: ImageBatch) -> list[np.ndarray]:
        """Rows in batches of images of one size."""
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for row, image in enumerate(images):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
                raise ValueError(f"an image must be (h, w, 3) uint8, not {image.shape} {image.dtype}")
            by_shape.setdefault(image.shape, []).append(row)
        size = self.batch_size
        return [
            np.array(rows[first : first + size]) for rows in by_shape.values() for first in range(0, len(rows), size)
        ]


class PixelEngine(Engine):
    """Flattened pixels in 0..1, computed by numpy alone."""

    name = "numpy"
    precision = "float32"
    batch_size = 64

    def __init__(self, image_size: int) -> None:
        self._image_size = image_size
        self.feature_dim = image_size * image_size * 3

    def start(self, images: np.ndarray, out: np.ndarray, rows: np.ndarray | slice) -> None:
        """Computes the batch at once."""
        enlarged = enlarge(images, self._image_size)
        out[rows] = enlarged.reshape(len(images), -1) * np.float32(1 / 255)

    def finish(self) -> None:
        """Nothing to wait for: batches were computed in `start`."""


def enlarge(images: np.ndarray, image_size: int) -> np.ndarray:
    """Bilinear resizing with half-pixel centres and no antialiasing, as `keras.layers.Resizing` does it.

    Args:
        images: (n, h, w, 3) of any type.
        image_size: side of the result in pixels.

    Returns:
        (n, image_size, image_size, 3) float32.
    """
    left, right, across = _neighbours(images.shape[2], image_size)
    upper, lower, down = _neighbours(images.shape[1], image_size)
    x = images.astype(np.float32)
    if x.shape[2] != image_size:
        x = x[:, :, left] + (x[:, :, right] - x[:, :, left]) * across[:, None]
    if x.shape[1] != image_size:
        x = x[:, upper] + (x[:, lower] - x[:, upper]) * down[:, None, None]
    return x


def _neighbours(size: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `target` pixels: its two neighbours among `size`, and the weight of the second."""
    centre = ((np.arange(target, dtype=np.float32) + np.float32(0.5)) * np.float32(size / target)) - np.float32(0.5)
    first = np.floor(centre)
    weight = (centre - first).astype(np.float32)
    return (
        np.clip(first, 0, size - 1).astype(np.int64),
        np.clip(first + 1, 0, size - 1).astype(np.int64),
        weight,
    )


class ConcatenatedEngine(Engine):
    """Passes every batch to each member's engine, and concatenates their features when all are complete.

    Args:
        engines: one a member, in the order of their features.
        name: of the engine that runs them.
        precision: what they compute in.
    """

    def __init__(self, engines: Sequence[Engine], name: str, precision: str) -> None:
        self.name = name
        self.precision = precision
        self.feature_dim = sum(engine.feature_dim for engine in engines)
        self.batch_size = min(engine.batch_size for engine in engines)
        self._engines = engines
        ends = np.cumsum([engine.feature_dim for engine in engines])
        self._columns = [slice(end - engine.feature_dim, end) for end, engine in zip(ends, engines, strict=True)]
        self._started: list[tuple[np.ndarray, np.ndarray | slice]] = []

    def start(self, images: np.ndarray, out: np.ndarray, rows: np.ndarray | slice) -> None:
        """See Engine."""
        for engine, columns in zip(self._engines, self._columns, strict=True):
            engine.start(images, out[:, columns], rows)
        self._started.append((out, rows))

    def finish(self) -> None:
        """Waits for all engines, then scales what they gave."""
        started, self._started = self._started, []
        for engine in self._engines:
            engine.finish()
        for out, rows in started:
            out[rows] = concatenate_features([out[rows, columns] for columns in self._columns])
