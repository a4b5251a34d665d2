"""Embeddings and labels in; figures, thresholds and probabilities out.

Verification over every pair (ROC AUC, EER, TAR at FAR, counts at a threshold), retrieval with every image as a query,
thresholds and match probabilities chosen on pairs, intervals over classes, and the protocols of the literature. Exact
and blockwise, numpy only.
"""

from imagematch.evaluation.at_threshold import (
    AtThreshold,
    ClassRates,
    OperatingPoint,
    at_threshold,
    class_rates,
    operating_points,
)
from imagematch.evaluation.bootstrap import (
    TRUSTED_CLASSES,
    Interval,
    bootstrap_interval,
    bootstrap_intervals,
    retrieval_intervals,
)
from imagematch.evaluation.calibration import Probability, Reliability, calibration_error, fit_probability, reliability
from imagematch.evaluation.curves import DetCurve, DistanceHistogram, RocCurve, det_curve, distance_histogram, roc_curve
from imagematch.evaluation.figures import split_figures, threshold_block
from imagematch.evaluation.listed_intervals import groups_of, listed_auc_interval
from imagematch.evaluation.pairs import PairDistances, listed_pairs, pair_distances
from imagematch.evaluation.protocols import (
    FoldedAccuracy,
    ListedPair,
    OneShot,
    distances_of_rows,
    folded_accuracy,
    lfw_path,
    one_shot,
    read_lfw_pairs,
)
from imagematch.evaluation.ranking import QueryFigures
from imagematch.evaluation.retrieval import RetrievalFigures, retrieval_figures
from imagematch.evaluation.selection import SELECTABLE, quick_figures
from imagematch.evaluation.thresholds import Threshold, choose_threshold
from imagematch.evaluation.verification import (
    TarAtFar,
    average_precision,
    eer,
    roc_auc,
    tar_at_far,
)

__all__ = [
    "SELECTABLE",
    "TRUSTED_CLASSES",
    "AtThreshold",
    "ClassRates",
    "DetCurve",
    "DistanceHistogram",
    "FoldedAccuracy",
    "Interval",
    "ListedPair",
    "OneShot",
    "OperatingPoint",
    "PairDistances",
    "Probability",
    "QueryFigures",
    "Reliability",
    "RetrievalFigures",
    "RocCurve",
    "TarAtFar",
    "Threshold",
    "at_threshold",
    "average_precision",
    "bootstrap_interval",
    "bootstrap_intervals",
    "calibration_error",
    "choose_threshold",
    "class_rates",
    "det_curve",
    "distance_histogram",
    "distances_of_rows",
    "eer",
    "fit_probability",
    "folded_accuracy",
    "groups_of",
    "lfw_path",
    "listed_auc_interval",
    "listed_pairs",
    "one_shot",
    "operating_points",
    "pair_distances",
    "quick_figures",
    "read_lfw_pairs",
    "reliability",
    "retrieval_figures",
    "retrieval_intervals",
    "roc_auc",
    "roc_curve",
    "split_figures",
    "tar_at_far",
    "threshold_block",
]
