"""Exact nearest neighbours: the gallery goes by in blocks, and each query keeps the candidates that may be its nearest.

Keys come from one matrix product a block, in float32. Whatever lies within the product's rounding error of the k-th
key stays a candidate; the candidates' distances are then computed from their differences in float64. The result is
that of sorting all exact distances, at the speed of the product.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from imagematch.retrieval.metrics import Metric, Rows, make_metric, pairs_at_once

_TILE_QUERIES = 256
_FIRST_BLOCK = 1024
_TILE_VALUES = 1 << 21
_BLOCK_VALUES = 1 << 24
_CROWD = 4
_LARGEST = np.finfo(np.float32).max


@dataclass(frozen=True, eq=False)
class LeftOut:
    """What does not count as a query's neighbour: the gallery rows that have the query's number.

    Attributes:
        queries: (q,) int64; -1 where everything counts.
        gallery: (g,) int64, 0 and more.
    """

    queries: np.ndarray
    gallery: np.ndarray

    @classmethod
    def where_same(cls, queries: Iterable[Hashable], gallery: Iterable[Hashable]) -> LeftOut:
        """Leaves out where a query's value and a gallery row's are equal."""
        number: dict[Hashable, int] = {}
        rows = [number.setdefault(value, len(number)) for value in gallery]
        return cls(np.array([number.get(value, -1) for value in queries], np.int64), np.array(rows, np.int64))

    def of(self, queries: slice | np.ndarray) -> LeftOut:
        """For these queries alone."""
        return LeftOut(self.queries[queries], self.gallery)

    def counts(self) -> np.ndarray:
        """(q,) int64: how many of the gallery do not count for each query."""
        rows = np.sort(self.gallery)
        return np.searchsorted(rows, self.queries, "right") - np.searchsorted(rows, self.queries, "left")


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest of the gallery for each query, the nearest first; equal distances in the gallery's order.

    Attributes:
        rows: (q, k) int64, gallery rows; -1 where there is none left.
        distances: (q, k) float32; infinity there.
    """

    rows: np.ndarray
    distances: np.ndarray

    def first(self, k: int) -> Neighbours:
        """The k nearest alone."""
        return Neighbours(self.rows[:, :k], self.distances[:, :k])

    def copy(self) -> Neighbours:
        """The same, without what `first` left away staying in memory."""
        return Neighbours(self.rows.copy(), self.distances.copy())


def nearest(
    queries: np.ndarray, gallery: np.ndarray, k: int, metric: str = "euclidean", *, left_out: LeftOut | None = None
) -> Neighbours:
    """The k nearest of the gallery for each query, exactly.

    Memory: the result, a block of the gallery and some tens of megabytes, whatever the gallery's size.

    Args:
        queries: (q, d).
        gallery: (g, d), in memory or mapped.
        k: how many, 1 or more; more than there are gives all.
        metric: one of METRICS.
        left_out: what of the gallery does not count for which query; None where all counts.

    Raises:
        ConfigError: no such metric, or values that do not suit it.
        ValueError: k under 1.
    """
    if k < 1:
        raise ValueError(f"k must be 1 or more, not {k}")
    measure = make_metric(metric)
    k = min(k, len(gallery))
    step = max(1, min(_TILE_QUERIES, _TILE_VALUES * 2 // max(1, k)))
    tiles = [slice(start, start + step) for start in range(0, len(queries), step)]
    pools = [_Pool(measure, queries[tile], k, left_out and left_out.of(tile)) for tile in tiles]
    start, size = 0, max(_FIRST_BLOCK, 2 * k)
    most = max(1, min(_TILE_VALUES // step, _BLOCK_VALUES // max(1, queries.shape[1])))
    while start < len(gallery):
        stop = min(start + min(size, most), len(gallery))
        block = measure.prepared(gallery[start:stop])
        for pool in pools:
            pool.offer(block, start, gallery)
        start, size = stop, 2 * size
    nothing = Neighbours(np.empty((0, k), np.int64), np.empty((0, k), np.float32))
    return joined([nothing, *(pool.finished(gallery) for pool in pools)])


def joined(parts: Sequence[Neighbours]) -> Neighbours:
    """The neighbours of some queries, then of the next; as deep in each part."""
    return Neighbours(np.concatenate([part.rows for part in parts]), np.concatenate([part.distances for part in parts]))


def ranked(
    queries: np.ndarray, gallery: np.ndarray, owners: np.ndarray, rows: np.ndarray, k: int, metric: Metric
) -> Neighbours:
    """The k nearest among given candidates, by exact distances rounded to float32, then by gallery row.

    Args:
        queries: (q, d).
        gallery: (g, d).
        owners: (n,) the query row of each candidate.
        rows: (n,) the gallery row of each candidate.
        k: how many.
        metric: what to rank by.
    """
    found = Neighbours(np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), np.inf, np.float32))
    exact = np.empty(len(rows), np.float32)
    queries, gallery = np.asarray(queries), np.asarray(gallery)  # `take` from a mapped array makes mapped arrays
    step = pairs_at_once(queries.shape[1])
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        exact[part] = metric.between(queries.take(owners[part], axis=0), gallery.take(rows[part], axis=0))
    order = _by_owner_and_distance(owners, exact, rows)
    owners = owners[order]
    place = np.arange(len(owners)) - np.searchsorted(owners, np.arange(len(queries)))[owners]
    kept = place < k
    found.rows[owners[kept], place[kept]] = rows[order][kept]
    found.distances[owners[kept], place[kept]] = exact[order][kept]
    return found


def _by_owner_and_distance(owners: np.ndarray, distances: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The order by owner, then by distance (float32, 0 and more), then by row.

    A float of 0 and more sorts as its bits do, so that owner and distance are one integer: to sort such is several
    times as fast as to sort by three columns, which only equal distances need.
    """
    keys = (owners.astype(np.uint64) << np.uint64(32)) | (distances + np.float32(0)).view(np.uint32)  # -0 becomes 0
    order = np.argsort(keys)
    same = keys[order[1:]] == keys[order[:-1]]
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
    order[tied] = order[tied][np.lexsort((rows[order[tied]], keys[order[tied]]))]
    return order


class _Pool:
    """The candidates of some queries."""

    def __init__(self, metric: Metric, queries: np.ndarray, k: int, left_out: LeftOut | None) -> None:
        self._metric = metric
        self._raw = queries
        self._queries = metric.prepared(queries)
        self._k = k
        self._left_out = left_out
        self._tolerance = np.zeros(len(queries), np.float32)
        self._kth = np.full(len(queries), _LARGEST, np.float32)
        self._owners = np.empty(0, np.int64)
        self._rows = np.empty(0, np.int64)
        self._keys = np.empty(0, np.float32)
        self._unsorted = 0

    def offer(self, block: Rows, start: int, gallery: np.ndarray) -> None:
        """Takes what may be among the nearest from gallery rows `start` on."""
        keys = self._metric.keys(self._queries, block)
        if self._left_out is not None:
            numbers = self._left_out.gallery[start : start + keys.shape[1]]
            if np.isin(numbers, self._left_out.queries).any():
                np.copyto(keys, np.inf, where=self._left_out.queries[:, None] == numbers)
        self._tolerance = np.maximum(self._tolerance, self._metric.tolerance(self._queries, block))
        if not len(self._owners) and keys.shape[1] > self._k:
            self._kth = np.minimum(self._kth, np.partition(keys, self._k - 1, axis=1)[:, self._k - 1])
        hits = np.flatnonzero(keys <= self._bounds()[:, None])
        if not len(hits):
            return
        width = keys.shape[1]
        self._owners = np.concatenate([self._owners, hits // width])
        self._rows = np.concatenate([self._rows, start + hits % width])
        self._keys = np.concatenate([self._keys, keys.ravel()[hits]])
        self._unsorted += len(hits)
        if self._unsorted < self._k * len(self._raw):
            return  # to sort them after each block would take a tenth of a search's time
        self._tighten()
        if len(self._owners) > _CROWD * self._k * len(self._raw) + _FIRST_BLOCK:
            self._thin_out(gallery)

    def _bounds(self) -> np.ndarray:
        """(q,) float32: no key above can be of the k nearest, however long the vectors that have gone by."""
        return np.minimum(self._kth + 2 * self._tolerance, _LARGEST)

    def _tighten(self) -> None:
        """Drops who cannot be among the nearest any more."""
        order = np.lexsort((self._keys, self._owners))
        owners, keys = self._owners[order], self._keys[order]
        starts = np.searchsorted(owners, np.arange(len(self._raw) + 1))
        full = np.diff(starts) >= self._k
        self._kth[full] = keys[starts[:-1][full] + self._k - 1]
        kept = keys <= self._bounds()[owners]
        self._owners, self._rows, self._keys = owners[kept], self._rows[order][kept], keys[kept]
        self._unsorted = 0

    def _thin_out(self, gallery: np.ndarray) -> None:
        """Too many at nearly one distance (copies, a collapsed model): the exact distances decide now."""
        found = ranked(self._raw, gallery, self._owners, self._rows, self._k, self._metric)
        kept = np.isin(
            self._owners * len(gallery) + self._rows,
            (np.arange(len(self._raw))[:, None] * len(gallery) + found.rows)[found.rows >= 0],
        )
        self._owners, self._rows, self._keys = self._owners[kept], self._rows[kept], self._keys[kept]
        farthest = np.full(len(self._raw), -_LARGEST, np.float32)
        np.maximum.at(farthest, self._owners, self._keys)
        full = np.bincount(self._owners, minlength=len(self._raw)) >= self._k
        self._kth[full] = farthest[full]

    def finished(self, gallery: np.ndarray) -> Neighbours:
        """The nearest, in order."""
        if self._unsorted:
            self._tighten()
        return ranked(self._raw, gallery, self._owners, self._rows, self._k, self._metric)
