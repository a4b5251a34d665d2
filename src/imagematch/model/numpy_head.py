"""The head in numpy, a few matrix products, and the mean over mirror images: matching needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
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
        return _in_blocks(self._block, features, self.dim)

    def _block(self, x: np.ndarray) -> np.ndarray:
        for kernel, bias in zip(self.kernels[:-1], self.biases[:-1], strict=True):
            x = np.maximum(x @ kernel + bias, np.float32(0))
        return _unit(x @ self.kernels[-1] + self.biases[-1])


@dataclass(frozen=True, eq=False)
class JoinedNumpyHead:
    """Features -> embeddings of several heads and of half-whitened features, side by side.

    Attributes:
        heads: each takes the features as they are.
        projection: takes L2-normalised features; None where only heads are joined.
        shares: (heads and projection,) float32, what the embedding of each is multiplied by.
        reduction: (joined length, dim) float32, applied to all of them; None where they stay as they are.
    """

    heads: tuple[NumpyHead, ...]
    projection: NumpyHead | None
    shares: np.ndarray
    reduction: np.ndarray | None = None

    @property
    def _branches(self) -> tuple[NumpyHead, ...]:
        return self.heads if self.projection is None else (*self.heads, self.projection)

    @property
    def feature_dim(self) -> int:
        """Length of the features it takes."""
        return self._branches[0].feature_dim

    @property
    def dim(self) -> int:
        """Length of its embeddings."""
        joined = sum(branch.dim for branch in self._branches)
        return joined if self.reduction is None else int(self.reduction.shape[1])

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(n, feature_dim) of any float type -> (n, dim) float32, L2-normalised."""
        return _in_blocks(self._block, features, self.dim)

    def _block(self, x: np.ndarray) -> np.ndarray:
        parts = [head(x) for head in self.heads]
        if self.projection is not None:
            parts.append(self.projection(_unit(x)))
        joined = np.concatenate([share * part for share, part in zip(self.shares, parts, strict=True)], axis=1)
        return _unit(joined if self.reduction is None else joined @ self.reduction)


def _unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(lengths, np.float32(_LENGTH_EPSILON))


def flip_average(embeddings: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """The mean direction of two embeddings of each image.

    Args:
        embeddings: (n, dim) float32, L2-normalised, of the images as they are.
        mirrored: (n, dim) float32, L2-normalised, of their mirror images.

    Returns:
        (n, dim) float32, L2-normalised; zeros where the two are opposite.
    """
    return _unit(embeddings + mirrored)


def _in_blocks(function: Callable[[np.ndarray], np.ndarray], features: np.ndarray, dim: int) -> np.ndarray:
    """The results (n, dim) of a function of float32 rows, a block of rows at a time."""
    found = np.empty((len(features), dim), np.float32)
    for start in range(0, len(features), _BATCH):
        found[start : start + _BATCH] = function(np.asarray(features[start : start + _BATCH], np.float32))
    return found
