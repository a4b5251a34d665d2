"""All metrics of one split as a JSON object: a block of metrics.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from imagematch.evaluation.at_threshold import at_threshold
from imagematch.evaluation.blocks import in_class_order
from imagematch.evaluation.calibration import Probability, calibration_error
from imagematch.evaluation.identification import OpenSetSearches, open_set_searches
from imagematch.evaluation.intervals import rate_name, retrieval_intervals, verification_intervals
from imagematch.evaluation.jackknife import TRUSTED_CLASSES, Interval, interval_of_mean
from imagematch.evaluation.pairs import PairDistances, pair_distances
from imagematch.evaluation.retrieval import RECALL_KS, retrieval_metrics
from imagematch.evaluation.threshold_calibration import CURVE_FARS
from imagematch.evaluation.thresholds import CalibrationRates, Threshold
from imagematch.evaluation.verification import FARS, average_precision, eer, roc_auc, tar_at_far

GALLERY_SIZES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
"""The galleries of `identification`, in images."""


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
    `prior`, `fitted_error` where it was fitted and `calibration_error` here), `identification` and `threshold_curve`
    (see `identification_block` and `curve_block`).

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
        "identification": None,
        "threshold_curve": [],
        "probability": None if probability is None else _probability_block(pairs, probability, both),
    }
    if both and intervals:
        at = None if threshold is None else threshold.distance
        found = verification_intervals(embeddings, labels, pairs=pairs, threshold=at)
        metrics["ci95"] |= {name: _ends(interval) for name, interval in found.items()}
        metrics["roc_auc_ci95"] = metrics["ci95"].get("roc_auc")
        metrics["ci95_classes"] = len(order.names)
        metrics["ci95_trustworthy"] = len(order.names) >= TRUSTED_CLASSES
    if threshold is not None and len(order.names) > 1:
        searches = open_set_searches(embeddings, labels, threshold.distance)
        far = metrics["ci95"].get("far")
        metrics["identification"] = identification_block(searches, metrics["threshold"]["far"], far)
        metrics["threshold_curve"] = curve_block(pairs, searches) if both else []
        at_it = metrics["threshold"] | {"far_ci95": far, "frr_ci95": _mirrored(metrics["ci95"].get("tar"))}
        metrics["threshold"] = at_it | {name: metrics["identification"][name] for name in ("fpir", "fnir")}
    return metrics


def threshold_summary(pairs: PairDistances, threshold: Threshold) -> dict[str, Any]:
    """The `threshold` of metrics.json: a threshold with the decisions on pairs and rates.

    `calibration` is what it does on the pairs that it was chosen on. What needs more than pairs is None.

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
        "resolvable": None if threshold.rates is None else threshold.rates.resolvable,
        "calibration": None if threshold.rates is None else _plain(threshold.rates),
        "accuracy": at.accuracy,
        "balanced_accuracy": at.balanced_accuracy,
        "precision": at.precision,
        "recall": at.recall,
        "f1": at.f1,
        "confusion": at.confusion,
        "tar": at.tar,
        "far": at.far,
        "far_ci95": None,
        "frr": at.frr,
        "frr_ci95": None,
        "fpir": None,
        "fnir": None,
    }


def identification_block(
    searches: OpenSetSearches, far: float | None, far_ci95: Sequence[float] | None
) -> dict[str, Any]:
    """The `identification` of metrics.json: searches for classes that are enrolled, or not, at the threshold.

    `fpir` is of searches for unenrolled classes, in a gallery of all images of other classes; `fnir` and
    `fnir_rank_10` of searches for enrolled classes, in a gallery of all other images; each with its 95 % interval over
    classes. `galleries` has for galleries of other sizes the `false_matches` of a search for an unenrolled class, with
    their interval, and the FPIR, which is only known for galleries that the images can fill.
    """
    block: dict[str, Any] = {
        "gallery_images": int(searches.others.max()),
        "searches": len(searches.others),
        "enrolled": int(searches.enrolled.sum()),
    }
    enrolled = searches.classes[searches.enrolled]
    parts = [("fpir", searches.false_positive(), searches.classes)]
    parts += [("fnir", searches.false_negative(), enrolled), ("fnir_rank_10", searches.false_negative(10), enrolled)]
    for name, errors, classes in parts:
        interval = interval_of_mean(errors, classes, 0.95) if len(errors) else None
        block[name] = float(errors.mean()) if len(errors) else None
        block[f"{name}_ci95"] = None if interval is None else _ends(interval)
    block["galleries"] = [
        {
            "images": size,
            "false_matches": None if far is None else size * far,
            "false_matches_ci95": None if far_ci95 is None else [size * end for end in far_ci95],
            "fpir": _mean(searches.false_positive_chance(size)) if size <= searches.others.min() else None,
        }
        for size in GALLERY_SIZES
    ]
    return block


def curve_block(pairs: PairDistances, searches: OpenSetSearches) -> list[dict[str, float | None]]:
    """The `threshold_curve` of metrics.json: thresholds, strict ones first, with their rates on these pairs.

    Only those whose FAR the pairs resolve (rule of 30).
    """
    points: dict[float, dict[str, float | None]] = {}
    for one in tar_at_far(pairs, CURVE_FARS):
        if not one.below_resolution and np.isfinite(one.distance):
            points[one.distance] = {
                "distance": one.distance,
                "far": one.attained_far,
                "frr": None if one.tar is None else 1 - one.tar,
                "fpir": _mean(searches.false_positive(one.distance)),
                "fnir": _mean(searches.false_negative(threshold=one.distance)),
            }
    return list(points.values())


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _mirrored(ends: Sequence[float] | None) -> list[float] | None:
    """The interval of 1 - x."""
    return None if ends is None else [1 - ends[1], 1 - ends[0]]


def _plain(rates: CalibrationRates) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(rates).items()}


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
