"""Features of several networks put side by side, each network's scaled to the same length."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

SMALLEST = 1e-30
"""In place of a length of zero. Networks with random weights give features of 1e-16 and less."""


def concatenate_features(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenates networks' features as `Concatenation.build` does it.

    Args:
        parts: (..., feature_dim) of any float type, one of each network.

    Returns:
        (..., sum of feature_dim) float32.
    """
    dims = [part.shape[-1] for part in parts]
    length = part_length(sum(dims), len(parts))
    joined = np.empty((*parts[0].shape[:-1], sum(dims)), np.float32)
    start, smallest = 0, np.float32(SMALLEST)
    for part, dim in zip(parts, dims, strict=True):
        here = joined[..., start : start + dim]
        here[...] = part
        here /= np.maximum(np.abs(here).max(axis=-1, keepdims=True), smallest)  # no square is too small for float32
        lengths = np.sqrt(np.einsum("...i,...i->...", here, here))[..., None]
        here *= np.float32(length) / np.maximum(lengths, smallest)
        start += dim
    return joined


def part_length(feature_dim: int, parts: int) -> float:
    """The length of each network's features that makes the mean square of all `feature_dim` components 1."""
    return math.sqrt(feature_dim / parts)
