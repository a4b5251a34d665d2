"""Retrieval metrics with every image as a query against all others: Recall@K, R-precision, MAP@R, mAP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imagematch.errors import DataError
from imagematch.evaluation.blocks import ClassOrder, cosine_distance_blocks, in_class_order
from imagematch.evaluation.ranking import PerQueryMetrics, Ranker

RECALL_KS = (1, 5, 10)
"""The K of Recall@K."""


@dataclass(frozen=True, eq=False)
class RetrievalMetrics:
    """Means over all queries that have a relevant image.

    Attributes:
        recall_at_k: by K: share of queries with a relevant image among the K nearest.
        r_precision: precision among the R nearest, R the number of the query's relevant images.
        map_at_r: (1/R) sum over i <= R of [i-th is relevant] precision at i.
        mean_average_precision: mAP over the whole ranking; None where it was not computed.
        queries: number of queries.
        excluded: images that are no query, because they are the only one of their class.
        per_query: the metrics of each query.
    """

    recall_at_k: dict[int, float]
    r_precision: float
    map_at_r: float
    mean_average_precision: float | None
    queries: int
    excluded: int
    per_query: PerQueryMetrics


def retrieval_metrics(
    embeddings: np.ndarray, labels: np.ndarray, ks: Sequence[int] = RECALL_KS, *, whole_ranking: bool = False
) -> RetrievalMetrics:
    """Ranks, for every image, all others by distance, blockwise, and averages over the queries.

    Ties are pessimistic: among images at the same distance the irrelevant ones rank first, so a collapsed model scores
    0, and so do copies of an image under different labels.

    Args:
        embeddings: (n, d) float32, L2-normalised.
        labels: (n,) class of each row.
        ks: the K of Recall@K, each 1 or more.
        whole_ranking: whether to compute the mAP, which sorts every row to its end.

    Raises:
        ValueError: the shapes do not fit, or a K under 1.
        DataError: no image has another one of its class, or embeddings are unusable as in `pair_distances`.

    Source: MAP@R, Musgrave et al., A metric learning reality check, ECCV 2020, equations 2 and 3; ranks with ties,
        McSherry and Najork, ECIR 2008.

    Examples:
        >>> rows = np.array([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]])
        >>> found = retrieval_metrics(rows, np.array([0, 0, 1, 1]), (1, 2))
        >>> found.map_at_r, found.recall_at_k, found.queries
        (0.5, {1: 0.5, 2: 1.0}, 4)
    """
    if any(k < 1 for k in ks):
        raise ValueError(f"K must be 1 or more, not {min(ks)}")
    order = in_class_order(embeddings, labels)
    _require_relevant(order)
    ranker = Ranker(order, ks, whole_ranking=whole_ranking)
    for block in cosine_distance_blocks(order.rows, upper_triangle=False):
        ranker.add(block)
    return means_of(ranker.finish(), len(order.rows))


def _require_relevant(order: ClassOrder) -> None:
    if not order.genuine_pairs:
        raise DataError(
            "no query has a relevant image: no class has two images", do="use classes with two images or more"
        )


def means_of(per_query: PerQueryMetrics, images: int) -> RetrievalMetrics:
    """Averages over the queries; `images` is the number of images, queries or not."""
    average = per_query.average_precision
    return RetrievalMetrics(
        {k: float(hit.mean()) for k, hit in per_query.recall_at_k.items()},
        float(per_query.r_precision.mean()),
        float(per_query.map_at_r.mean()),
        None if average is None else float(average.mean()),
        len(per_query.rows),
        images - len(per_query.rows),
        per_query,
    )
