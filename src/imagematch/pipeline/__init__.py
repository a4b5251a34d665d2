"""Whole jobs, which commands and notebooks both call: train -> calibrate -> evaluate -> report; study -> winner."""

from __future__ import annotations

from imagematch.pipeline.evaluate import Evaluation, evaluate_model, write_evaluation
from imagematch.pipeline.existing import resume_or_fresh
from imagematch.pipeline.study import FinishedStudy, forget_study, run_study
from imagematch.pipeline.train import TrainedMatcher, finished_training, run_training, training_exists

__all__ = [
    "Evaluation",
    "FinishedStudy",
    "TrainedMatcher",
    "evaluate_model",
    "finished_training",
    "forget_study",
    "resume_or_fresh",
    "run_study",
    "run_training",
    "training_exists",
    "write_evaluation",
]
