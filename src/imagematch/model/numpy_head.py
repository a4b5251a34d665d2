"""The head in numpy, a few matrix products, and the mean over mirror images: matching needs no TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NORM_EPSILON = 1e-3
"""Added to the variance by the batch norm of every FF block."""
_LENGTH_EPSILON = 1e-12
_BATCH = 4096


@dataclass(frozen=True, eq=False)
class NumpyHead:
    """Features -> embeddings.

    Attributes:
        kernels: (input, output) float32 of each layer, batch norms and whitening folded in; the last is the projection.
        biases: (output,) float32 of each layer.
    """

    kernels: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]

    @property
    def feature_dim(self) -> int:
        """Length of the features it takes."""
        return int(self.kernels[0].shape[0])

    @property
    def dim(self) -> int:
        """Length of its embeddings."""
        return int(self.kernels[-1].shape[1])

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(n, feature_dim) of any float type -> (n, dim) float32, L2-normalised."""
        found = np.empty((len(features), self.dim), np.float32)
        for start in range(0, len(features), _BATCH):
            found[start : start + _BATCH] = self._block(np.asarray(features[start : start + _BATCH], np.float32))
        return found

    def _block(self, x: np.ndarray) -> np.ndarray:
        for kernel, bias in zip(self.kernels[:-1], self.biases[:-1], strict=True):
            x = np.maximum(x @ kernel + bias, np.float32(0))
        x = x @ self.kernels[-1] + self.biases[-1]
        lengths = np.linalg.norm(x, axis=1, keepdims=True)
        return x / np.maximum(lengths, np.float32(_LENGTH_EPSILON))


def flip_average(embeddings: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """The mean direction of two embeddings of each image.

    Args:
        embeddings: (n, dim) float32, L2-normalised, of the images as they are.
        mirrored: (n, dim) float32, L2-normalised, of their mirror images.

    Returns:
        (n, dim) float32, L2-normalised; zeros where the two are opposite.
    """
    total = embeddings + mirrored
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), np.float32(_LENGTH_EPSILON))
