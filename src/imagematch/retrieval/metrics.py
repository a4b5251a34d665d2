"""Metrics of a search whose right answers are known: Recall@K, MAP@R, top-K and kNN accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from imagematch.retrieval.search import LeftOut, Neighbours

KS = (1, 5, 10)
"""The K of Recall@K, top-K and kNN accuracy."""

_AT_ONCE = 1 << 20
"""Neighbours that are held at once: some tens of megabytes, with what the metrics need of them."""


@dataclass(frozen=True)
class SearchMetrics:
    """What a search comes to. Equal distances rank as the list does: in the gallery's order.

    Attributes:
        recall_at_k: by K: share of the queries that have a relevant image in the gallery with one among the K nearest.
        map_at_r: over the same queries: (1/R) sum over i <= R of [i-th is relevant] precision at i.
        r_precision: over the same: precision among the R nearest.
        top_k_accuracy: by K: share of all queries with a relevant image among the K nearest; one without any is wrong.
        knn_accuracy: by K: share of all queries whose K nearest vote for the right class.
        queries: all of them.
        without_relevant: queries with no image of their class in the gallery.
    """

    recall_at_k: dict[int, float]
    map_at_r: float
    r_precision: float
    top_k_accuracy: dict[int, float]
    knn_accuracy: dict[int, float]
    queries: int
    without_relevant: int


def relevant_counts(
    query_labels: np.ndarray, gallery_labels: np.ndarray, left_out: LeftOut | None = None
) -> np.ndarray:
    """(q,) int64: how many images of its class each query has in the gallery, those left out not counted."""
    classes = int(max(query_labels.max(initial=-1), gallery_labels.max(initial=-1))) + 1
    counts = np.bincount(gallery_labels, minlength=classes)[query_labels].astype(np.int64)
    if left_out is None:
        return counts
    own = np.where(left_out.queries < 0, -1, left_out.queries * classes + query_labels)
    return counts - LeftOut(own, left_out.gallery * classes + gallery_labels).counts()


def search_metrics(
    find: Callable[[slice, int], Neighbours],
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    *,
    left_out: LeftOut | None = None,
    ks: Sequence[int] = KS,
) -> SearchMetrics | None:
    """The metrics of a search, a few queries at a time; None, and no search, where no query has a relevant image.

    Args:
        find: gives the neighbours of some of the queries, as deep as is wanted or as deep as the gallery.
        query_labels: (q,) int, 0 and more.
        gallery_labels: (g,) int, numbered as the queries' are.
        left_out: what does not count, as `find` knows.
        ks: the K.

    Source: MAP@R, Musgrave et al., A metric learning reality check, ECCV 2020, equations 2 and 3.
    """
    counts = relevant_counts(query_labels, gallery_labels, left_out)
    if not (counts > 0).any():
        return None
    average, precision = np.zeros(len(counts)), np.zeros(len(counts))
    found, voted = ({k: np.zeros(len(counts), bool) for k in ks} for _ in range(2))
    step = max(1, _AT_ONCE // max(int(counts.max()), *ks))
    for start in range(0, len(counts), step):
        part = slice(start, start + step)
        relevant, own = counts[part, None], query_labels[part]
        near = find(part, max(int(relevant.max()), *ks))
        depth = near.rows.shape[1]
        right = (near.rows >= 0) & (gallery_labels[near.rows] == own[:, None])
        hits = np.cumsum(right, axis=1)
        inside = right & (np.arange(depth) < relevant)
        precisions = hits / np.arange(1, depth + 1)
        average[part] = precisions.sum(axis=1, where=inside) / np.maximum(relevant[:, 0], 1)
        precision[part] = inside.sum(axis=1) / np.maximum(relevant[:, 0], 1)
        for k in ks:
            found[k][part] = hits[:, min(k, depth) - 1] > 0
            voted[k][part] = knn_classify(near, gallery_labels, k) == own
    answerable = counts > 0
    return SearchMetrics(
        recall_at_k={k: float(found[k][answerable].mean()) for k in ks},
        map_at_r=float(average[answerable].mean()),
        r_precision=float(precision[answerable].mean()),
        top_k_accuracy={k: float(found[k].mean()) for k in ks},
        knn_accuracy={k: float(voted[k].mean()) for k in ks},
        queries=len(counts),
        without_relevant=int((~answerable).sum()),
    )


def knn_classify(neighbours: Neighbours, labels: np.ndarray, k: int) -> np.ndarray:
    """The label that most of each query's k nearest have.

    Of labels with equally many votes the one whose voters are nearer (smaller sum of distances) wins; if even that is
    equal, the one that comes first in the ranking.

    Args:
        neighbours: of each query, k or more deep; where fewer were found, those vote.
        labels: (g,) int, 0 and more: the gallery's.
        k: how many vote.

    Returns:
        (q,) int64; -1 where a query has no neighbour.

    Raises:
        ValueError: k is under 1.
    """
    if k < 1:
        raise ValueError(f"k must be 1 or more, not {k}")
    near = neighbours.first(k)
    queries, depth = near.rows.shape
    answers = np.full(queries, -1, np.int64)
    found = near.rows >= 0
    if not found.any():
        return answers
    owners, ranks = np.nonzero(found)
    voted = np.asarray(labels, np.int64)[near.rows[found]]
    classes = int(voted.max()) + 1
    ballots, inverse = np.unique(owners * classes + voted, return_inverse=True)
    votes = np.bincount(inverse)
    reach = np.bincount(inverse, weights=near.distances[found].astype(np.float64))
    first = np.full(len(ballots), depth)
    np.minimum.at(first, inverse, ranks)
    owner, label = ballots // classes, ballots % classes
    order = np.lexsort((first, reach, -votes, owner))
    winners = order[np.unique(owner[order], return_index=True)[1]]
    answers[owner[winners]] = label[winners]
    return answers
