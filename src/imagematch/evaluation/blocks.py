"""Checked embeddings in class order, and their half squared distances block by block, never N x N at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imagematch.errors import DataError

BLOCK_ELEMENTS = 1 << 24
"""Values in one block: 64 MiB of float32."""

COINCIDENT = 2.0**-20
"""Half squared distances below this are taken as 0: float32 cosines do not tell them apart (distance 0.0014)."""

_NORM_TOLERANCE = 1e-3
_NORM_EXACT = 1e-5


@dataclass(frozen=True, eq=False)
class ClassOrder:
    """Embeddings sorted by class, so that the genuine pairs of a row are one contiguous slice.

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
class Block:
    """Half squared distances, 1 - cosine in 0..2, of rows first:stop to all rows from `column` on."""

    first: int
    stop: int
    column: int
    half_squares: np.ndarray


@dataclass(frozen=True)
class Segment:
    """The rows first:stop of a block that belong to the class that lies in rows start:end."""

    class_index: int
    first: int
    stop: int
    start: int
    end: int


def unit_rows(embeddings: np.ndarray) -> np.ndarray:
    """Returns the embeddings as (n, d) float32 on the unit sphere.

    Norms within 0.001 of 1 are accepted and, where they are off by more than 0.00001, corrected.

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
    """Checks embeddings (n, d) and labels (n,), any sortable kind, and sorts both by class.

    Raises:
        ValueError: the shapes do not fit.
        DataError: as `unit_rows`.
    """
    rows = unit_rows(embeddings)
    labels = np.asarray(labels)
    if labels.shape != (len(rows),):
        raise ValueError(f"labels must be ({len(rows)},) for embeddings {rows.shape}, not {labels.shape}")
    names, classes = np.unique(labels, return_inverse=True)
    order = np.argsort(classes, kind="stable")
    starts = np.searchsorted(classes[order], np.arange(len(names) + 1))
    return ClassOrder(rows[order], order, starts.astype(np.int64), names)


def to_half_squares(cosines: np.ndarray) -> np.ndarray:
    """Turns cosines into half squared distances, 1 - cosine cut at 0, in place.

    Every result is a multiple of 2^-24: float32 subtraction from 1 is fixed-point arithmetic.
    """
    np.subtract(np.float32(1), cosines, out=cosines)
    return np.maximum(cosines, np.float32(0), out=cosines)


def to_distances(half_squares: np.ndarray) -> np.ndarray:
    """Turns half squared distances into Euclidean distances, sqrt(2 (1 - cosine)), in place."""
    half_squares[half_squares < COINCIDENT] = 0
    np.multiply(half_squares, np.float32(2), out=half_squares)
    return np.sqrt(half_squares, out=half_squares)


def half_square_blocks(rows: np.ndarray, *, upper_triangle: bool) -> Iterator[Block]:
    """Yields the half squared distances of all rows to all rows (to themselves and later ones for the upper triangle).

    The memory of a block is used again for the next one.
    """
    n = len(rows)
    if n == 0:
        return
    blocks = -(-n * n // BLOCK_ELEMENTS)
    bounds = np.linspace(0, n, min(blocks, n) + 1).astype(np.int64)
    memory = np.empty(int(np.diff(bounds).max()) * n, dtype=np.float32)
    for first, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        column = first if upper_triangle else 0
        shape = (stop - first, n - column)
        out = memory[: shape[0] * shape[1]].reshape(shape)
        np.matmul(rows[first:stop], rows[column:].T, out=out)
        yield Block(first, stop, column, to_half_squares(out))


def segments(order: ClassOrder, first: int, stop: int) -> Iterator[Segment]:
    """Yields the parts of rows first:stop, one a class."""
    start_class = int(np.searchsorted(order.starts, first, side="right")) - 1
    starts = order.starts
    for c in range(start_class, len(order.names)):
        start, end = int(starts[c]), int(starts[c + 1])
        if start >= stop:
            return
        yield Segment(c, max(start, first), min(end, stop), start, end)


def genuine_values(block: Block, part: Segment) -> np.ndarray:
    """The half squared distances of the pairs i < j within a class, i in the segment's rows: (pairs,)."""
    rows = slice(part.first - block.first, part.stop - block.first)
    square = block.half_squares[rows, part.first - block.column : part.end - block.column]
    return square[np.triu(np.ones(square.shape, dtype=bool), 1)]


def impostor_values(block: Block, part: Segment) -> np.ndarray:
    """The half squared distances of the segment's rows to all rows of later classes: (rows, columns), a view."""
    rows = slice(part.first - block.first, part.stop - block.first)
    return block.half_squares[rows, part.end - block.column :]
