"""Figures of a search whose right answers are known: Recall@K, MAP@R, top-K and kNN accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imagematch.retrieval.knn import knn_accuracy
from imagematch.retrieval.search import LeftOut, Neighbours

KS = (1, 5, 10)


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
    neighbours: Neighbours,
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    *,
    left_out: LeftOut | None = None,
    ks: Sequence[int] = KS,
) -> SearchFigures | None:
    """The figures of a search; None where no query has a relevant image.

    Args:
        neighbours: of each query, as deep as its number of relevant images and the largest K (or all there are).
        query_labels: (q,) int, 0 and more.
        gallery_labels: (g,) int, numbered as the queries' are.
        left_out: what did not count.
        ks: the K.

    Raises:
        ValueError: the neighbours are not deep enough.

    Source: MAP@R, Musgrave et al., A metric learning reality check, ECCV 2020, equations 2 and 3.
    """
    counts = relevant_counts(query_labels, gallery_labels, left_out)
    needed = min(max(int(counts.max(initial=0)), max(ks)), len(gallery_labels))
    depth = neighbours.rows.shape[1]
    if depth < needed:
        raise ValueError(f"{depth} neighbours, where {needed} are needed")
    if not (counts > 0).any():
        return None
    right = (neighbours.rows >= 0) & (gallery_labels[neighbours.rows] == query_labels[:, None])
    hits = np.cumsum(right, axis=1)
    asked = counts > 0
    inside = np.arange(depth) < counts[:, None]
    precision = hits / np.arange(1, depth + 1)
    average = (precision * (right & inside)).sum(axis=1)[asked] / counts[asked]
    found = {k: hits[:, min(k, depth) - 1] > 0 for k in ks}
    return SearchFigures(
        recall_at_k={k: float(found[k][asked].mean()) for k in ks},
        map_at_r=float(average.mean()),
        r_precision=float(((right & inside).sum(axis=1)[asked] / counts[asked]).mean()),
        top_k_accuracy={k: float(found[k].mean()) for k in ks},
        knn_accuracy=knn_accuracy(neighbours, query_labels, gallery_labels, ks),
        queries=len(counts),
        without_relevant=int((~asked).sum()),
    )
