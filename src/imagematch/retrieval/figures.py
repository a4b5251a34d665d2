"""Figures of a search whose right answers are known: Recall@K, MAP@R, top-K and kNN accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from imagematch.retrieval.knn import knn_classify
from imagematch.retrieval.search import LeftOut, Neighbours

KS = (1, 5, 10)

_AT_ONCE = 1 << 20
"""Neighbours that are held at once: some tens of megabytes, with what the figures need of them."""


@dataclass(frozen=True)
class SearchFigures:
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


def search_figures(
    find: Callable[[slice, int], Neighbours],
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    *,
    left_out: LeftOut | None = None,
    ks: Sequence[int] = KS,
) -> SearchFigures | None:
    """The figures of a search, a few queries at a time; None, and no search, where no query has a relevant image.

    Args:
        find: gives the neighbours of some of the queries, as deep as it is told or as deep as the gallery.
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
    asked = counts > 0
    return SearchFigures(
        recall_at_k={k: float(found[k][asked].mean()) for k in ks},
        map_at_r=float(average[asked].mean()),
        r_precision=float(precision[asked].mean()),
        top_k_accuracy={k: float(found[k].mean()) for k in ks},
        knn_accuracy={k: float(voted[k].mean()) for k in ks},
        queries=len(counts),
        without_relevant=int((~asked).sum()),
    )
