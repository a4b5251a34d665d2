"""The mean of an image's embedding and its mirror image's, which `test_time_flip` asks for. Needs no Keras."""

from __future__ import annotations

import numpy as np

_LENGTH_EPSILON = 1e-12


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
