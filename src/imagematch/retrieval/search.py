"""Exact nearest neighbours: FAISS finds candidates in float32, and their exact distances rank them.

The keys of a matrix product in float32 are off by its rounding error. Of each query a few more candidates than wanted
are taken; where the last of them is not clearly farther than the k-th, four times as many are, up to all. The result
is that of sorting all exact distances, whatever the number of threads, at the speed of the product.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from imagematch.retrieval.distances import SearchDistance, make_distance, pairs_at_once

_SPARE = 16
"""Candidates beyond the k wanted, so that few queries need a second look."""
_BLOCK_VALUES = 1 << 22
_CANDIDATES = 1 << 20
"""Candidates that are held at once: some tens of megabytes."""


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

    def hits(self, rows: np.ndarray) -> np.ndarray:
        """(q, n) bool: which of these gallery rows, (q, n), do not count for their query."""
        return self.gallery[rows] == self.queries[:, None]

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

    def under(self, threshold: float) -> Neighbours:
        """What is nearer than `threshold`; nothing in place of the others."""
        near = self.distances < threshold
        return Neighbours(np.where(near, self.rows, -1), np.where(near, self.distances, np.float32(np.inf)))

    def copy(self) -> Neighbours:
        """The same, without what `first` left away staying in memory."""
        return Neighbours(self.rows.copy(), self.distances.copy())


def nearest(
    queries: np.ndarray,
    gallery: np.ndarray,
    k: int,
    metric: str = "euclidean",
    *,
    left_out: LeftOut | None = None,
    reach: float | None = None,
) -> Neighbours:
    """The k nearest of the gallery for each query, exactly: the smallest float32 distances, equal ones by gallery row.

    Memory: the result, a block of the gallery and some tens of megabytes, whatever the gallery's size.

    Args:
        queries: (q, d).
        gallery: (g, d), in memory or mapped.
        k: how many, 1 or more; more than there are gives all.
        metric: one of SEARCH_DISTANCES.
        left_out: what of the gallery does not count for which query; None where all counts.
        reach: the length of the longest vector of the gallery where it is known, which saves a pass over it.

    Raises:
        ConfigError: no such distance, or values that do not suit it.
        ValueError: k under 1.
    """
    if k < 1:
        raise ValueError(f"k must be 1 or more, not {k}")
    distance = make_distance(metric)
    k = min(k, len(gallery))
    found = nothing_found(len(queries), k)
    if not found.rows.size:
        return found
    wanted = np.full(len(queries), k + _SPARE) if left_out is None else k + _SPARE + left_out.counts()
    pending = np.arange(len(queries))
    while len(pending):
        undecided = []
        for part, most in batches(pending, np.minimum(wanted[pending], len(gallery))):
            apart = left_out and left_out.of(part)
            near, decided = _ranked_candidates(queries[part], gallery, k, most, distance, apart, reach)
            found.rows[part], found.distances[part] = near.rows, near.distances
            undecided.append(part[~decided])
        pending = np.concatenate(undecided)
        wanted[pending] *= 4
    return found


def batches(queries: np.ndarray, wanted: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Query rows that may be searched together, and how many candidates for each; those that want most come first."""
    order = np.argsort(-wanted, kind="stable")
    start = 0
    while start < len(order):
        most = int(wanted[order[start]])
        few = max(1, _CANDIDATES // max(1, most))
        yield queries[order[start : start + few]], most
        start += few


def _ranked_candidates(
    queries: np.ndarray,
    gallery: np.ndarray,
    k: int,
    wanted: int,
    distance: SearchDistance,
    left_out: LeftOut | None,
    reach: float | None,
) -> tuple[Neighbours, np.ndarray]:
    """The k nearest among each query's first `wanted` candidates; (q,) bool: no other can be one of them."""
    prepared = distance.prepared(queries)
    farthest_reach = reach or 0.0
    keys, rows = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    step = _block_rows(gallery, distance)
    for start in range(0, len(gallery), step):
        block = distance.prepared(gallery[start : start + step])
        if reach is None:
            farthest_reach = max(farthest_reach, distance.reach(block))
        if wanted == len(gallery):
            continue
        block_keys, block_rows = distance.nearest(prepared, block, min(wanted, len(block)))
        block_keys[block_rows < 0] = np.inf  # a distance that float32 cannot hold
        keys, rows = np.hstack([keys, block_keys]), np.hstack([rows, block_rows + start])
        if keys.shape[1] > wanted:
            best = np.argpartition(keys, wanted - 1, axis=1)[:, :wanted]
            keys, rows = np.take_along_axis(keys, best, 1), np.take_along_axis(rows, best, 1)
    if wanted == len(gallery):
        keys = np.zeros((len(queries), wanted), np.float32)
        rows = np.broadcast_to(np.arange(wanted), keys.shape)
    tolerance = distance.tolerance(prepared, farthest_reach)
    farthest = keys.max(axis=1)
    counted = keys if left_out is None else np.where(left_out.hits(rows), np.inf, keys)
    bound = np.partition(counted, k - 1, axis=1)[:, k - 1] + 2 * tolerance
    decided = np.full(len(queries), wanted == len(gallery)) | (np.isfinite(farthest) & (farthest > bound))
    owners, places = np.nonzero((counted <= bound[:, None]) & np.isfinite(counted))
    return ranked(queries, gallery, owners, rows[owners, places], k, distance), decided


def _block_rows(gallery: np.ndarray, distance: SearchDistance) -> int:
    """How many rows are prepared at once: all of them where that copies nothing."""
    few = gallery[:1]
    if len(few) and np.shares_memory(distance.prepared(few), few):
        return len(gallery)
    return max(1, _BLOCK_VALUES // max(1, gallery.shape[1]))


def nothing_found(queries: int, k: int) -> Neighbours:
    """No neighbour for any query."""
    return Neighbours(np.full((queries, k), -1, np.int64), np.full((queries, k), np.inf, np.float32))


def joined(parts: Sequence[Neighbours]) -> Neighbours:
    """The neighbours of some queries, then of the next; as deep in each part."""
    return Neighbours(np.concatenate([part.rows for part in parts]), np.concatenate([part.distances for part in parts]))


def ranked(
    queries: np.ndarray, gallery: np.ndarray, owners: np.ndarray, rows: np.ndarray, k: int, distance: SearchDistance
) -> Neighbours:
    """The k nearest among given candidates, by exact distances rounded to float32, then by gallery row.

    Args:
        queries: (q, d).
        gallery: (g, d).
        owners: (n,) the query row of each candidate.
        rows: (n,) the gallery row of each candidate.
        k: how many.
        distance: what to rank by.
    """
    found = nothing_found(len(queries), k)
    exact = np.empty(len(rows), np.float32)
    queries, gallery = np.asarray(queries), np.asarray(gallery)  # `take` from a mapped array makes mapped arrays
    step = pairs_at_once(queries.shape[1])
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        with np.errstate(over="ignore"):  # a mapped index that somebody sent may hold any vectors
            exact[part] = distance.between(queries.take(owners[part], axis=0), gallery.take(rows[part], axis=0))
    order = _by_owner_and_distance(owners, exact, rows)
    owners = owners[order]
    rank = np.arange(len(owners)) - np.searchsorted(owners, np.arange(len(queries)))[owners]
    best = rank < k
    found.rows[owners[best], rank[best]] = rows[order][best]
    found.distances[owners[best], rank[best]] = exact[order][best]
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
