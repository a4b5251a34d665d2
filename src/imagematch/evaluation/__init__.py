"""Embeddings and labels in; metrics, thresholds and probabilities out.

Verification over every pair (ROC AUC, EER, TAR at FAR, counts at a threshold), retrieval with every image as a query,
thresholds and match probabilities chosen on pairs, intervals over classes, and the protocols of the literature. Exact
and blockwise, numpy and scipy only.
"""

from imagematch.evaluation.at_threshold import (
    AtThreshold,
    ClassRates,
    at_threshold,
    class_rates,
)
from imagematch.evaluation.calibration import Probability, Reliability, calibration_error, fit_probability, reliability
from imagematch.evaluation.confusion import ConfusedClasses, confused_classes
from imagematch.evaluation.curves import DetCurve, DistanceHistogram, RocCurve, det_curve, distance_histogram, roc_curve
from imagematch.evaluation.epoch_metrics import EPOCH_METRICS, epoch_metrics
from imagematch.evaluation.guarantees import guaranteed_threshold
from imagematch.evaluation.identification import OpenSetSearches, open_set_searches
from imagematch.evaluation.intervals import retrieval_intervals, verification_intervals
from imagematch.evaluation.jackknife import TRUSTED_CLASSES, Interval, coverage_text
from imagematch.evaluation.one_shot_trials import OneShot, one_shot
from imagematch.evaluation.pair_list_intervals import connected_groups, pair_list_auc_interval
from imagematch.evaluation.pairs import PairDistances, listed_pairs, pair_distances
from imagematch.evaluation.protocols import (
    FoldedAccuracy,
    ListedPair,
    distances_of_rows,
    folded_accuracy,
    lfw_path,
    pair_list_errors,
    read_lfw_pairs,
)
from imagematch.evaluation.ranking import PerQueryMetrics
from imagematch.evaluation.retrieval import RECALL_KS, RetrievalMetrics, retrieval_metrics
from imagematch.evaluation.split_metrics import split_metrics, threshold_summary
from imagematch.evaluation.threshold_calibration import calibrated_threshold
from imagematch.evaluation.thresholds import CalibrationRates, CurvePoint, Threshold, choose_threshold
from imagematch.evaluation.verification import (
    TarAtFar,
    average_precision,
    eer,
    roc_auc,
    tar_at_far,
)

__all__ = [
    "EPOCH_METRICS",
    "RECALL_KS",
    "TRUSTED_CLASSES",
    "AtThreshold",
    "CalibrationRates",
    "ClassRates",
    "ConfusedClasses",
    "CurvePoint",
    "DetCurve",
    "DistanceHistogram",
    "FoldedAccuracy",
    "Interval",
    "ListedPair",
    "OneShot",
    "OpenSetSearches",
    "PairDistances",
    "PerQueryMetrics",
    "Probability",
    "Reliability",
    "RetrievalMetrics",
    "RocCurve",
    "TarAtFar",
    "Threshold",
    "at_threshold",
    "average_precision",
    "calibrated_threshold",
    "calibration_error",
    "choose_threshold",
    "class_rates",
    "confused_classes",
    "connected_groups",
    "coverage_text",
    "det_curve",
    "distance_histogram",
    "distances_of_rows",
    "eer",
    "epoch_metrics",
    "fit_probability",
    "folded_accuracy",
    "guaranteed_threshold",
    "lfw_path",
    "listed_pairs",
    "one_shot",
    "open_set_searches",
    "pair_distances",
    "pair_list_auc_interval",
    "pair_list_errors",
    "read_lfw_pairs",
    "reliability",
    "retrieval_intervals",
    "retrieval_metrics",
    "roc_auc",
    "roc_curve",
    "split_metrics",
    "tar_at_far",
    "threshold_summary",
    "verification_intervals",
]
