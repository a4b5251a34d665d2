"""Whole jobs, which commands and notebooks both call: train -> calibrate -> evaluate -> report; study -> winner."""

from __future__ import annotations

from imagematch.pipeline.answered_pairs import MatcherComparison, PairDecisions, compare_on_corrections
from imagematch.pipeline.api import TrainingResult, TuningResult, train, tune
from imagematch.pipeline.bundle import Bundle, export_bundle
from imagematch.pipeline.calibration import calibrate_and_measure
from imagematch.pipeline.data_gallery import open_data_gallery
from imagematch.pipeline.evaluate import Evaluation, evaluate_model, one_shot_trials, write_evaluation
from imagematch.pipeline.experiments import (
    TrainedMatcher,
    check_output_folder,
    finished_training,
    refuse_other_settings,
    training_begun,
    training_exists,
    unfinished_dir,
)
from imagematch.pipeline.export import export_matcher, export_projector
from imagematch.pipeline.feature_shards import Shard, compute_features
from imagematch.pipeline.first_study import FirstStudy, first_study
from imagematch.pipeline.outlook import Estimate, Outlook, look_ahead
from imagematch.pipeline.pairs import PairListMetrics, PairsEvaluation, evaluate_pairs
from imagematch.pipeline.refit import train_again
from imagematch.pipeline.study import FinishedStudy, forget_study, run_study
from imagematch.pipeline.training_run import run_training

__all__ = [
    "Bundle",
    "Estimate",
    "Evaluation",
    "FinishedStudy",
    "FirstStudy",
    "MatcherComparison",
    "Outlook",
    "PairDecisions",
    "PairListMetrics",
    "PairsEvaluation",
    "Shard",
    "TrainedMatcher",
    "TrainingResult",
    "TuningResult",
    "calibrate_and_measure",
    "check_output_folder",
    "compare_on_corrections",
    "compute_features",
    "evaluate_model",
    "evaluate_pairs",
    "export_bundle",
    "export_matcher",
    "export_projector",
    "finished_training",
    "first_study",
    "forget_study",
    "look_ahead",
    "one_shot_trials",
    "open_data_gallery",
    "refuse_other_settings",
    "run_study",
    "run_training",
    "train",
    "train_again",
    "training_begun",
    "training_exists",
    "tune",
    "unfinished_dir",
    "write_evaluation",
]
