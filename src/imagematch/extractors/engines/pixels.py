"""The numpy engine: the picture itself, enlarged as the networks' first layer does it."""

from __future__ import annotations

import numpy as np

from imagematch.extractors.engines.interface import Engine


class PixelEngine(Engine):
    """Flattened pixels in 0..1, computed by numpy alone."""

    name = "numpy"
    precision = "float32"
    batch_size = 64

    def __init__(self, image_size: int) -> None:
        self._image_size = image_size
        self.feature_dim = image_size * image_size * 3

    def start(self, pictures: np.ndarray, out: np.ndarray, rows: np.ndarray | slice) -> None:
        """Computes the batch at once."""
        enlarged = enlarge(pictures, self._image_size)
        out[rows] = enlarged.reshape(len(pictures), -1) * np.float32(1 / 255)

    def finish(self) -> None:
        """Nothing is left to wait for."""


def enlarge(pictures: np.ndarray, image_size: int) -> np.ndarray:
    """Bilinear resizing with half-pixel centres and no antialiasing, as `keras.layers.Resizing` does it.

    Args:
        pictures: (n, h, w, 3) of any type.
        image_size: side of the result in pixels.

    Returns:
        (n, image_size, image_size, 3) float32.
    """
    left, right, across = _neighbours(pictures.shape[2], image_size)
    upper, lower, down = _neighbours(pictures.shape[1], image_size)
    x = pictures.astype(np.float32)
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
