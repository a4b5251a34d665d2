"""Embeddings sorted by class, and the cosine distances of all pairs block by block, never N x N at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imagematch.errors import DataError

PAIRS_PER_BLOCK = 5_000**2
"""Pairs in one block, 95 MiB of float32: all of 5,000 images, whose product with themselves takes half the time."""

COINCIDENT = 2.0**-20
"""Smaller cosine distances count as 0, since float32 cosines cannot resolve them (Euclidean distance 0.0014)."""

_NORM_TOLERANCE = 1e-3
_NORM_EXACT = 1e-5


@dataclass(frozen=True, eq=False)
class ClassOrder:
    """Embeddings sorted by class: the genuine pairs of a row are one contiguous slice.

    Attributes:
        rows: (n, d) float32, on the unit sphere, sorted by class (stable).
        order: (n,) int64; `rows[i]` was row `order[i]` of the input.
        starts: (classes + 1,) int64; class c is `rows[starts[c]:starts[c + 1]]`.
        names: (classes,) the distinct labels, sorted.
    """

    rows: np.ndarray
    order: np.ndarray
    starts: np.ndarray
    names: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """(classes,) int64: images of each class."""
        return np.diff(self.starts)

    @property
    def classes_of_rows(self) -> np.ndarray:
        """(n,) int64: the class of each row of `rows`."""
        return np.repeat(np.arange(len(self.names)), self.sizes)

    @property
    def genuine_pairs(self) -> int:
        """Pairs i < j of the same class."""
        return int((self.sizes * (self.sizes - 1) // 2).sum())

    @property
    def impostor_pairs(self) -> int:
        """Pairs i < j of different classes."""
        n = len(self.rows)
        return n * (n - 1) // 2 - self.genuine_pairs


@dataclass(frozen=True, eq=False)
class DistanceBlock:
    """The cosine distances of rows first:stop to all rows from `column` on.

    Attributes:
        first, stop: the rows of the block.
        column: the row that the first column belongs to.
        cosine_distances: (stop - first, n - column) float32, 1 - cosine, in 0..2.
    """

    first: int
    stop: int
    column: int
    cosine_distances: np.ndarray


@dataclass(frozen=True)
class ClassSegment:
    """The part of a block's rows that belongs to one class.

    Attributes:
        class_index: the class.
        first, stop: rows of the class that lie in the block.
        start, end: all rows of the class.
    """

    class_index: int
    first: int
    stop: int
    start: int
    end: int


def checked_embeddings(embeddings: np.ndarray) -> np.ndarray:
    """Returns embeddings as (n, d) float32 on the unit sphere.

    Norms within 0.001 of 1 are accepted. They are corrected where one is off by more than 0.00001.

    Raises:
        ValueError: `embeddings` is not two-dimensional.
        DataError: a value is NaN or infinite, or a row is not L2-normalised.
    """
    rows = np.ascontiguousarray(embeddings, dtype=np.float32)
    if rows.ndim != 2:
        raise ValueError(f"embeddings must be (n, d), not {rows.shape}")
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float32))
    broken = np.flatnonzero(~np.isfinite(norms))
    if len(broken):
        raise DataError(
            f"{len(broken)} of {len(rows)} embeddings are not finite (the first is row {broken[0]})",
            do="the model diverged or its input is broken: train again with a lower learning rate",
        )
    deviation = np.abs(norms - 1)
    worst = int(deviation.argmax()) if len(rows) else 0
    if len(rows) and deviation[worst] > _NORM_TOLERANCE:
        raise DataError(
            f"embeddings are not L2-normalised (row {worst} has norm {norms[worst]:.4g})",
            do="divide each row by its norm first",
        )
    if len(rows) and deviation[worst] > _NORM_EXACT:
        rows = rows / norms[:, None]
    return rows


def in_class_order(embeddings: np.ndarray, labels: np.ndarray) -> ClassOrder:
    """Checks embeddings (n, d) and labels (n,), of any sortable type, and sorts both by class.

    Raises:
        ValueError: the shapes do not fit.
        DataError: as `checked_embeddings`.
    """
    rows = checked_embeddings(embeddings)
    labels = np.asarray(labels)
    if labels.shape != (len(rows),):
        raise ValueError(f"labels must be ({len(rows)},) for embeddings {rows.shape}, not {labels.shape}")
    names, classes = np.unique(labels, return_inverse=True)
    order = np.argsort(classes, kind="stable")
    starts = np.searchsorted(classes[order], np.arange(len(names) + 1))
    return ClassOrder(rows[order], order, starts.astype(np.int64), names)


def to_cosine_distances(cosines: np.ndarray) -> np.ndarray:
    """Turns cosines into cosine distances, max(0, 1 - cosine), in place.

    Every result is a multiple of 2^-24: float32 subtraction from 1 is fixed-point arithmetic.
    """
    np.subtract(np.float32(1), cosines, out=cosines)
    return np.maximum(cosines, np.float32(0), out=cosines)


def to_euclidean(cosine_distances: np.ndarray) -> np.ndarray:
    """Turns cosine distances into Euclidean distances on the unit sphere, sqrt(2 (1 - cosine)), in place."""
    cosine_distances[cosine_distances < COINCIDENT] = 0
    np.multiply(cosine_distances, np.float32(2), out=cosine_distances)
    return np.sqrt(cosine_distances, out=cosine_distances)


def cosine_limit(threshold: float) -> np.float32:
    """The smallest float32 cosine distance that does not match at a Euclidean threshold.

    `to_euclidean(d) < threshold` holds for exactly those d that are smaller.
    """
    low, high = 0, int(np.float32(np.inf).view(np.int32))  # the bits of non-negative float32 sort as their values do
    while low < high:
        middle = (low + high) // 2
        if to_euclidean(np.array([middle], dtype=np.int32).view(np.float32))[0] < np.float32(threshold):
            low = middle + 1
        else:
            high = middle
    return np.int32(low).view(np.float32)


def cosine_distance_blocks(rows: np.ndarray, *, upper_triangle: bool) -> Iterator[DistanceBlock]:
    """Yields the cosine distances of all rows to all rows, or to themselves and later rows for the upper triangle.

    A block's memory is reused by the next block, and may be overwritten.
    """
    n = len(rows)
    if n == 0:
        return
    blocks = -(-n * n // PAIRS_PER_BLOCK)
    bounds = np.linspace(0, n, min(blocks, n) + 1).astype(np.int64)
    memory = np.empty(int(np.diff(bounds).max()) * n, dtype=np.float32)
    for first, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        column = first if upper_triangle else 0
        shape = (stop - first, n - column)
        out = memory[: shape[0] * shape[1]].reshape(shape)
        np.matmul(rows[first:stop], rows[column:].T, out=out)
        yield DistanceBlock(first, stop, column, to_cosine_distances(out))


def class_segments(order: ClassOrder, first: int, stop: int) -> Iterator[ClassSegment]:
    """Splits rows first:stop by class, in order."""
    start_class = int(np.searchsorted(order.starts, first, side="right")) - 1
    starts = order.starts
    for c in range(start_class, len(order.names)):
        start, end = int(starts[c]), int(starts[c + 1])
        if start >= stop:
            return
        yield ClassSegment(c, max(start, first), min(end, stop), start, end)


def genuine_values(block: DistanceBlock, part: ClassSegment) -> np.ndarray:
    """The cosine distances of the pairs i < j within a class, i in the segment's rows: (pairs,)."""
    rows = slice(part.first - block.first, part.stop - block.first)
    square = block.cosine_distances[rows, part.first - block.column : part.end - block.column]
    return square[np.triu(np.ones(square.shape, dtype=bool), 1)]


def impostor_values(block: DistanceBlock, part: ClassSegment) -> np.ndarray:
    """The cosine distances of the segment's rows to all rows of later classes: (rows, columns), a view."""
    rows = slice(part.first - block.first, part.stop - block.first)
    return block.cosine_distances[rows, part.end - block.column :]
