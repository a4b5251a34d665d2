"""The pairs that each class takes part in, counted by distance: all that leaving out one class at a time needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imagematch.evaluation.blocks import (
    ClassOrder,
    ClassSegment,
    DistanceBlock,
    class_segments,
    cosine_distance_blocks,
    cosine_limit,
    to_euclidean,
)
from imagematch.evaluation.pairs import PairDistances

_SHIFT = 9
"""Bits of a float32 that are dropped before it is assigned to a bin: 2^14 steps remain for each power of two."""

_STEPS = (int(np.float32(2).view(np.int32)) >> _SHIFT) + 1
_CELLS, _FEWEST_BINS, _MOST_BINS = 1 << 22, 128, 768


@dataclass(frozen=True, eq=False)
class MatchCounts:
    """What matches at a threshold, for each class.

    Attributes:
        genuine: (classes,) int64, matching pairs within the class.
        impostor: (classes,) int64, matching pairs of an image of the class and an image of another class.
        squares: sum of m_ab^2 over pairs of classes a < b, m_ab being their matching pairs.
        products: sum of m_ab n_a n_b over the same, n_a being the images of class a.
    """

    genuine: np.ndarray
    impostor: np.ndarray
    squares: float
    products: float


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """Pairs by class and by bin of distance; bins are ascending.

    Attributes:
        genuine: (classes, bins) int64, pairs within the class.
        impostor: (classes, bins) int64, pairs of an image of the class and an image of another class.
        edges: (bins - 1,) float64, the Euclidean distance at which each bin but the first one begins.
        matches: counts at the threshold; None without one.
    """

    genuine: np.ndarray
    impostor: np.ndarray
    edges: np.ndarray
    matches: MatchCounts | None


def class_counts(order: ClassOrder, pairs: PairDistances, threshold: float | None) -> ClassCounts:
    """Counts the pairs of every class in one pass, in memory proportional to the classes and to one block.

    There are 128 to 768 bins, fewer where there are many classes: a third of their edges are quantiles of the genuine
    distances, a third of the impostor distances, and a third are logarithmic in the rank of the smallest impostors.

    Args:
        order: the embeddings.
        pairs: their `pair_distances`.
        threshold: images match below this distance; None for no threshold.
    """
    classes, sizes = order.classes_of_rows, order.sizes
    edges = _bin_edges(pairs, int(np.clip(_CELLS // max(len(sizes), 1), _FEWEST_BINS, _MOST_BINS)))
    bins = len(edges) + 1
    table = np.repeat(np.arange(bins), np.diff(edges, prepend=0, append=max(_STEPS, edges[-1])))  # a step's bin
    genuine, impostor = (np.zeros((len(sizes), bins), dtype=np.int64) for _ in range(2))
    matches = None if threshold is None else _MatchCounter(order, cosine_limit(threshold))
    steps, cells = (np.empty(max(_CELLS, len(classes)), dtype=np.int64) for _ in range(2))  # one pair each
    for block in _slices(order):
        shape = block.cosine_distances.shape
        step, cell = (memory[: shape[0] * shape[1]].reshape(shape) for memory in (steps, cells))
        np.right_shift(block.cosine_distances.view(np.int32), _SHIFT, out=step)
        table.take(step, mode="clip", out=cell)
        for part in class_segments(order, block.first, block.stop):
            rows = slice(part.first - block.first, part.stop - block.first)
            inside = cell[rows, part.first - block.column : part.end - block.column]
            upper = np.triu(np.ones(inside.shape, dtype=bool), 1)
            genuine[part.class_index] += np.bincount(inside[upper], minlength=bins)
            later = slice(part.end - block.column, None)
            impostor[part.class_index] += np.bincount(cell[rows, later].ravel(), minlength=bins)
            if matches is not None:
                matches.add(part, block.cosine_distances[rows], block.column, upper)
            cell[rows, : later.start] = bins  # no impostor pair, or one that counts in another row
        first_class = classes[block.column]
        cell += ((classes[block.column :] - first_class) * (bins + 1))[None]
        later_classes = len(sizes) - first_class
        counts = np.bincount(cell.ravel(), minlength=later_classes * (bins + 1)).reshape(later_classes, bins + 1)
        impostor[first_class:] += counts[:, :bins]
    distances = to_euclidean((edges << _SHIFT).astype(np.int32).view(np.float32)).astype(np.float64)
    return ClassCounts(genuine, impostor, distances, None if matches is None else matches.counts())


def _slices(order: ClassOrder) -> Iterator[DistanceBlock]:
    """The blocks of the upper triangle, cut into at most `_CELLS` pairs or one row each."""
    for block in cosine_distance_blocks(order.rows, upper_triangle=True):
        rows = max(1, _CELLS // block.cosine_distances.shape[1])
        for start in range(0, block.stop - block.first, rows):
            first, stop = block.first + start, min(block.first + start + rows, block.stop)
            part = block.cosine_distances[start : stop - block.first, first - block.column :]
            yield DistanceBlock(first, stop, first, part)


class _MatchCounter:
    """Counts the matches of one class after another; a class may be split between blocks."""

    def __init__(self, order: ClassOrder, limit: np.float32) -> None:
        self._classes, self._sizes, self._limit = order.classes_of_rows, order.sizes, limit
        self._genuine, self._impostor = (np.zeros(len(order.names), dtype=np.int64) for _ in range(2))
        self._with_later = np.zeros(len(order.names), dtype=np.int64)
        self._squares = self._products = 0.0

    def add(self, part: ClassSegment, cosine_distances: np.ndarray, column: int, upper: np.ndarray) -> None:
        """Counts the pairs of a segment: `cosine_distances` of its rows, `upper` its pairs within the class."""
        inside = cosine_distances[:, part.first - column : part.end - column]
        self._genuine[part.class_index] += np.count_nonzero(inside[upper] < self._limit)
        matching = np.nonzero(cosine_distances[:, part.end - column :] < self._limit)[1]
        self._with_later += np.bincount(self._classes[part.end :][matching], minlength=len(self._with_later))
        if part.stop == part.end:
            found = self._with_later
            self._impostor += found
            self._impostor[part.class_index] += found.sum()
            self._squares += float(np.square(found, dtype=np.float64).sum())
            self._products += float(self._sizes[part.class_index]) * float(found @ self._sizes)
            self._with_later = np.zeros_like(found)

    def counts(self) -> MatchCounts:
        """The counts of all that was added."""
        return MatchCounts(self._genuine, self._impostor, self._squares, self._products)


def _bin_edges(pairs: PairDistances, bins: int) -> np.ndarray:
    """The first step of every bin but the first one, ascending."""
    even = np.linspace(0, 1, bins // 3)
    ranks = np.geomspace(1, pairs.impostor.count, bins // 3).astype(np.int64) - 1
    distances = [side.value_at((even * (side.count - 1)).astype(np.int64)) for side in (pairs.genuine, pairs.impostor)]
    cosine_distances = np.square(np.concatenate([*distances, pairs.impostor.value_at(ranks)])) / np.float32(2)
    return np.unique((cosine_distances.view(np.int32) >> _SHIFT) + 1)
