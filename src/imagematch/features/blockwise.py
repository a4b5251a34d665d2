"""Functions of features, computed a block of rows at a time: features may exceed memory. Needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from imagematch.features.arrays import FeatureArray

_BLOCK_BYTES = 64 << 20
_BLOCK_ROWS = 2048


def row_blocks(array: FeatureArray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of features, in order, at most 2,048 rows and 64 MiB at a time.

    Args:
        array: (n, feature_dim); may be mapped from disk.
        rows: (m,) row numbers, in any order.

    Yields:
        (block, feature_dim) in the array's own type.
    """
    block = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // (array.shape[1] * array.dtype.itemsize)))
    for start in range(0, len(rows), block):
        yield array[rows[start : start + block]]


def map_blocks(function: Callable[[Any], Any], blocks: Iterable[Any], count: int) -> np.ndarray:
    """Applies `function` to each block and writes the results below each other into one array.

    Args:
        function: (block, ...) -> (block, ...), a row for each row.
        blocks: with `count` rows in all.
        count: at least 1.

    Returns:
        (count, ...) float32.

    Raises:
        ValueError: there are more or fewer rows than `count`, or none.
    """
    results: np.ndarray | None = None
    done = 0
    for block in blocks:
        part = np.asarray(function(block), dtype=np.float32)
        if results is None:
            results = np.empty((count, *part.shape[1:]), np.float32)
        results[done : done + len(part)] = part
        done += len(part)
    if results is None or done != count:
        raise ValueError(f"{done} rows instead of {count}")
    return results


def map_features(
    function: Callable[..., np.ndarray], arrays: Sequence[FeatureArray], rows: np.ndarray | None = None
) -> np.ndarray:
    """Applies a function, such as a head, to rows of features.

    Args:
        function: blocks (block, feature_dim), one for each array -> (block, dim), a row for each row.
        arrays: (n, feature_dim) each, row i of all of them for the same image: its views.
        rows: (m,) row numbers, at least one; None for all in order.

    Returns:
        (m, dim) float32.

    Raises:
        ValueError: there are no rows.
    """
    rows = np.arange(len(arrays[0])) if rows is None else rows
    blocks = zip(*(row_blocks(array, rows) for array in arrays), strict=True)
    return map_blocks(lambda block: function(*block), blocks, len(rows))


def normalize_rows(vectors: np.ndarray) -> np.ndarray:
    """Divides every row by its Euclidean length.

    Args:
        vectors: (n, dim) of any float type.

    Returns:
        (n, dim) float32, L2-normalised; rows of zeros all become the same unit vector.
    """
    rows = np.array(vectors, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1)
    rows[lengths == 0, 0] = 1.0
    return rows / np.where(lengths > 0, lengths, 1.0)[:, None]


def normalized_features(features: FeatureArray, rows: np.ndarray | None = None) -> np.ndarray:
    """Rows of features, L2-normalised: what an extractor gives without a head.

    Args:
        features: (n, feature_dim); may be mapped from disk.
        rows: (m,) row numbers, at least one; None for all in order.

    Returns:
        (m, feature_dim) float32.
    """
    return map_features(normalize_rows, [features], rows)
