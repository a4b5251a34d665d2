"""Each image as a query against all others: the ranks of its relevant images, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imagematch.evaluation.blocks import COINCIDENT, ClassOrder, ClassSegment, DistanceBlock, class_segments

_ROW_SPACING = 4.0


@dataclass(frozen=True, eq=False)
class PerQueryMetrics:
    """The metrics of each query that has a relevant image.

    Attributes:
        rows: (queries,) int64, the queries' rows in the embeddings, in class order.
        classes: (queries,) int64, index of the query's class among the sorted labels.
        recall_at_k: by K, (queries,) bool: whether one of the K nearest is relevant.
        r_precision: (queries,) float64.
        map_at_r: (queries,) float64, the average precision at R.
        average_precision: (queries,) float64 over the whole ranking, or None where it was not computed.
    """

    rows: np.ndarray
    classes: np.ndarray
    recall_at_k: dict[int, np.ndarray]
    r_precision: np.ndarray
    map_at_r: np.ndarray
    average_precision: np.ndarray | None


class Ranker:
    """Ranks the relevant images of every query, from full blocks of cosine distances.

    Ties are pessimistic: among images at the same distance the irrelevant ones come first.
    """

    def __init__(self, order: ClassOrder, ks: Sequence[int], *, whole_ranking: bool) -> None:
        self._order = order
        self._ks = tuple(ks)
        self._whole = whole_ranking
        self._parts: list[PerQueryMetrics] = []

    def add(self, block: DistanceBlock) -> None:
        """Ranks the queries of a block; its values are overwritten."""
        parts = [p for p in class_segments(self._order, block.first, block.stop) if p.end - p.start > 1]
        if not parts:
            return
        cosine_distances = block.cosine_distances
        cosine_distances[cosine_distances < COINCIDENT] = 0
        relevant = [_take_relevant(cosine_distances, part, block.first) for part in parts]
        counts = np.concatenate([np.full(len(r), r.shape[1]) for r in relevant])
        queries = np.concatenate([np.arange(p.first, p.stop) for p in parts])
        n = cosine_distances.shape[1]
        depth = n if self._whole else min(n, max(int(counts.max()), max(self._ks, default=1)))
        if len(queries) < len(cosine_distances):
            cosine_distances = cosine_distances[queries - block.first]
        if depth < n:
            cosine_distances.partition(depth - 1, axis=1)
        nearest = np.sort(cosine_distances[:, :depth], axis=1)
        self._parts.append(self._metrics(queries, counts, np.concatenate([r.ravel() for r in relevant]), nearest))

    def _metrics(
        self, queries: np.ndarray, counts: np.ndarray, relevant: np.ndarray, nearest: np.ndarray
    ) -> PerQueryMetrics:
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        query = np.repeat(np.arange(len(counts)), counts)
        found = np.arange(len(relevant)) - starts[query] + 1
        rank = found + _not_farther(nearest, query, relevant)
        inside = rank <= counts[query]
        precision = found / rank
        return PerQueryMetrics(
            self._order.order[queries],
            self._order.classes_of_rows[queries],
            {k: rank[starts] <= k for k in self._ks},
            np.add.reduceat(inside, starts, dtype=np.int64) / counts,
            np.add.reduceat(np.where(inside, precision, 0.0), starts) / counts,
            np.add.reduceat(precision, starts) / counts if self._whole else None,
        )

    def finish(self) -> PerQueryMetrics:
        """The metrics of all queries that were added."""
        parts = self._parts
        if not parts:
            none = np.zeros(0)
            empty = {k: np.zeros(0, dtype=bool) for k in self._ks}
            whole = none if self._whole else None
            return PerQueryMetrics(none.astype(np.int64), none.astype(np.int64), empty, none, none, whole)
        averages = [p.average_precision for p in parts if p.average_precision is not None]
        return PerQueryMetrics(
            np.concatenate([p.rows for p in parts]),
            np.concatenate([p.classes for p in parts]),
            {k: np.concatenate([p.recall_at_k[k] for p in parts]) for k in self._ks},
            np.concatenate([p.r_precision for p in parts]),
            np.concatenate([p.map_at_r for p in parts]),
            np.concatenate(averages) if self._whole else None,
        )


def _take_relevant(cosine_distances: np.ndarray, part: ClassSegment, first: int) -> np.ndarray:
    """Returns the distances of queries to their relevant images, (queries, R) ascending, and sets them to infinity."""
    own = cosine_distances[part.first - first : part.stop - first, part.start : part.end]
    own[np.arange(len(own)), np.arange(part.first, part.stop) - part.start] = np.inf
    relevant = np.sort(own, axis=1)[:, :-1]
    own[...] = np.inf
    return relevant


def _not_farther(nearest: np.ndarray, query: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """How many of a query's nearest irrelevant images (queries, depth) are as near as each relevant one, or nearer.

    One search serves all queries: cosine distances are multiples of 2^-24 up to 2, so adding 4 x query is exact.
    """
    depth = nearest.shape[1]
    finite = np.minimum(nearest, np.float32(3)).astype(np.float64)
    finite += np.arange(len(nearest))[:, None] * _ROW_SPACING
    wanted = relevant + query * _ROW_SPACING
    return np.searchsorted(finite.ravel(), wanted, side="right") - query * depth
