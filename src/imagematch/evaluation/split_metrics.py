"""All metrics of one split as a JSON object: a block of metrics.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from imagematch.evaluation.at_threshold import at_threshold, operating_points
from imagematch.evaluation.blocks import in_class_order
from imagematch.evaluation.calibration import Probability, calibration_error
from imagematch.evaluation.intervals import rate_name, retrieval_intervals, verification_intervals
from imagematch.evaluation.jackknife import TRUSTED_CLASSES, Interval
from imagematch.evaluation.pairs import PairDistances, pair_distances
from imagematch.evaluation.retrieval import RECALL_KS, retrieval_metrics
from imagematch.evaluation.thresholds import Threshold
from imagematch.evaluation.verification import FARS, average_precision, eer, roc_auc, tar_at_far


def split_metrics(
    embeddings: np.ndarray,
    labels: np.ndarray,
    *,
    split_by: str | None = None,
    threshold: Threshold | None = None,
    pairs: PairDistances | None = None,
    ks: Sequence[int] = RECALL_KS,
    intervals: bool = True,
    whole_ranking: bool = False,
    probability: Probability | None = None,
) -> dict[str, Any]:
    """Computes every metric of a split.

    The keys are the documented ones of metrics.json, and `average_precision`, `recall_at_k`, `mean_average_precision`,
    `tar_at_far_below_resolution` (rates whose value is null because fewer than 30 false accepts are expected),
    `ci95` (by metric), `ci95_classes`, `ci95_trustworthy` (30 classes or more), `shared_classes` (the split shares its
    classes with training: "image"), `queries`, `queries_excluded`, `probability` (its `method`,
    `prior`, `fitted_error` where it was fitted and `calibration_error` here), and in `threshold` `far`, `tar` and
    `operating_points`.

    Args:
        embeddings: (n, d) float32, L2-normalised.
        labels: (n,).
        split_by: how the data set was split: "image", "class", "predefined"; None where unknown.
        threshold: chosen on other pairs.
        pairs: `pair_distances` of the same embeddings, if already computed.
        ks: the K of Recall@K.
        intervals: whether to compute 95 % intervals.
        whole_ranking: whether to compute the mAP.
        probability: fitted to other pairs.

    Returns:
        Python numbers, strings, lists and dicts only; None where a metric is undefined (no genuine pair, one class) or
        not computed.

    Raises:
        ValueError: the shapes do not fit.
        DataError: embeddings are NaN, infinite or not L2-normalised.

    Examples:
        >>> rows = np.array([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]])
        >>> metrics = split_metrics(rows, np.array([0, 0, 1, 1]), split_by="class")
        >>> metrics["roc_auc"], metrics["map_at_r"], metrics["genuine_pairs"], metrics["threshold"]
        (0.75, 0.5, 2, None)
    """
    order = in_class_order(embeddings, labels)
    pairs = pair_distances(embeddings, labels) if pairs is None else pairs
    both = bool(pairs.genuine.count and pairs.impostor.count)
    metrics: dict[str, Any] = {
        "roc_auc": roc_auc(pairs) if both else None,
        "roc_auc_ci95": None,
        "eer": eer(pairs) if both else None,
        "average_precision": average_precision(pairs) if both else None,
        **_tar_block(pairs, both),
        **_retrieval_block(embeddings, labels, ks, intervals, whole_ranking, bool(pairs.genuine.count)),
        "images": len(order.rows),
        "classes": len(order.names),
        "genuine_pairs": pairs.genuine.count,
        "impostor_pairs": pairs.impostor.count,
        "split_by": split_by,
        "shared_classes": None if split_by is None else split_by == "image",
        "threshold": None if threshold is None else threshold_summary(pairs, threshold),
        "probability": None if probability is None else _probability_block(pairs, probability, both),
    }
    if both and intervals:
        at = None if threshold is None else threshold.distance
        found = verification_intervals(embeddings, labels, pairs=pairs, threshold=at)
        metrics["ci95"] |= {name: _ends(interval) for name, interval in found.items()}
        metrics["roc_auc_ci95"] = metrics["ci95"].get("roc_auc")
        metrics["ci95_classes"] = len(order.names)
        metrics["ci95_trustworthy"] = len(order.names) >= TRUSTED_CLASSES
    return metrics


def threshold_summary(pairs: PairDistances, threshold: Threshold) -> dict[str, Any]:
    """The `threshold` of metrics.json: a threshold with the decisions on pairs, rates and operating points.

    Examples:
        >>> from imagematch.evaluation import listed_pairs
        >>> pairs = listed_pairs(np.array([0.2, 0.9, 0.7, 1.4]), np.array([True, True, False, False]))
        >>> summary = threshold_summary(pairs, Threshold(0.8, "eer"))
        >>> summary["confusion"], summary["tar"], summary["far"]
        ({'tp': 1, 'fp': 1, 'tn': 1, 'fn': 1}, 0.5, 0.5)
    """
    at = at_threshold(pairs, threshold.distance)
    return {
        "distance": threshold.distance,
        "chosen_on": threshold.chosen_on,
        "criterion": threshold.criterion,
        "accuracy": at.accuracy,
        "balanced_accuracy": at.balanced_accuracy,
        "precision": at.precision,
        "recall": at.recall,
        "f1": at.f1,
        "confusion": at.confusion,
        "tar": at.tar,
        "far": at.far,
        "operating_points": [
            {
                "gallery_images": point.gallery_images,
                "expected_false_matches": point.expected_false_matches,
                "any_false_match": point.any_false_match,
                "upper_false_matches": point.upper_false_matches,
                "below_resolution": point.below_resolution,
            }
            for point in operating_points(at)
        ],
    }


def _probability_block(pairs: PairDistances, probability: Probability, both: bool) -> dict[str, Any]:
    return {
        "method": probability.method,
        "prior": probability.prior,
        "fitted_error": probability.calibration_error,
        "calibration_error": calibration_error(probability, pairs) if both else None,
    }


def _tar_block(pairs: PairDistances, both: bool) -> dict[str, Any]:
    if not both:
        return {"tar_at_far": {rate_name(far): None for far in FARS}, "tar_at_far_below_resolution": []}
    found = tar_at_far(pairs)
    return {
        "tar_at_far": {rate_name(one.far): one.tar for one in found},
        "tar_at_far_below_resolution": [rate_name(one.far) for one in found if one.below_resolution],
    }


def _retrieval_block(
    embeddings: np.ndarray,
    labels: np.ndarray,
    ks: Sequence[int],
    intervals: bool,
    whole_ranking: bool,
    relevant: bool,
) -> dict[str, Any]:
    block: dict[str, Any] = dict.fromkeys(
        ("recall_at_1", "map_at_r", "r_precision", "mean_average_precision", "ci95_classes", "ci95_trustworthy")
    )
    if not relevant:
        nothing = {str(k): None for k in ks}
        return {**block, "recall_at_k": nothing, "queries": 0, "queries_excluded": len(labels), "ci95": {}}
    found = retrieval_metrics(embeddings, labels, sorted({1, *ks}), whole_ranking=whole_ranking)
    ends = {name: _ends(interval) for name, interval in retrieval_intervals(found.per_query).items()}
    return {
        **block,
        "recall_at_1": found.recall_at_k[1],
        "map_at_r": found.map_at_r,
        "r_precision": found.r_precision,
        "mean_average_precision": found.mean_average_precision,
        "recall_at_k": {str(k): found.recall_at_k[k] for k in ks},
        "queries": found.queries,
        "queries_excluded": found.excluded,
        "ci95": ends if intervals else {},
    }


def _ends(interval: Interval) -> list[float]:
    return [interval.low, interval.high]
