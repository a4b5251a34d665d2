"""Whole jobs, which commands and notebooks both call: train -> calibrate -> evaluate -> report; study -> winner."""

from __future__ import annotations

from imagematch.pipeline.evaluate import Evaluation, evaluate_model, write_evaluation
from imagematch.pipeline.existing import resume_or_fresh
from imagematch.pipeline.experiments import (
    TrainedMatcher,
    finished_training,
    refuse_other_settings,
    training_begun,
    training_exists,
    unfinished_dir,
)
from imagematch.pipeline.study import FinishedStudy, forget_study, run_study
from imagematch.pipeline.train import run_training

__all__ = [
    "Evaluation",
    "FinishedStudy",
    "TrainedMatcher",
    "evaluate_model",
    "finished_training",
    "forget_study",
    "refuse_other_settings",
    "resume_or_fresh",
    "run_study",
    "run_training",
    "training_begun",
    "training_exists",
    "unfinished_dir",
    "write_evaluation",
]
