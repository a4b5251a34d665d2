"""Trains a model: batches, schedules, the loop, per-epoch validation, checkpoints, interruption."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imagematch.interruption import StopRequest, stop_on_signals
from imagematch.keras_internals import release_graphs
from imagematch.limited_process import check_address_space
from imagematch.training.batch_sources import BatchSource, FeatureSource, ImageSource, embed_rows
from imagematch.training.batches import (
    BatchPlan,
    ClassBalancedBatches,
    OfflineTriplets,
    RandomBatches,
    check_batch_classes,
    plan_batches,
)
from imagematch.training.precision import SomeImages, calibration_images, choose_precision
from imagematch.training.schedules import settings_in_force
from imagematch.training.training_data import StageInputs, TrainingData, load_training_data, training_data_key
from imagematch.training.validation import EpochValidator, embedding_metric_names, sample_rows
from imagematch.training.whitening import HALF_WHITENED_DIM, whitened_baseline

if TYPE_CHECKING:
    from imagematch.training.experiment import Training, train_model, training_identity
    from imagematch.training.joining import Join
    from imagematch.training.loop import EMPTY_STEPS, EpochRecord, FitResult, fit
    from imagematch.training.optimizers import make_optimizer
    from imagematch.training.stages import Stage
    from imagematch.training.steps import compiled_steps

__all__ = [
    "EMPTY_STEPS",
    "HALF_WHITENED_DIM",
    "BatchPlan",
    "BatchSource",
    "ClassBalancedBatches",
    "EpochRecord",
    "EpochValidator",
    "FeatureSource",
    "FitResult",
    "ImageSource",
    "Join",
    "OfflineTriplets",
    "RandomBatches",
    "SomeImages",
    "Stage",
    "StageInputs",
    "StopRequest",
    "Training",
    "TrainingData",
    "calibration_images",
    "check_batch_classes",
    "choose_precision",
    "compiled_steps",
    "embed_rows",
    "embedding_metric_names",
    "fit",
    "load_training_data",
    "make_optimizer",
    "plan_batches",
    "release_graphs",
    "sample_rows",
    "settings_in_force",
    "stop_on_signals",
    "train_model",
    "training_data_key",
    "training_identity",
    "whitened_baseline",
]

_MODULES = {
    "EMPTY_STEPS": "loop",
    "EpochRecord": "loop",
    "FitResult": "loop",
    "Join": "joining",
    "Stage": "stages",
    "Training": "experiment",
    "compiled_steps": "steps",
    "fit": "loop",
    "make_optimizer": "optimizers",
    "train_model": "experiment",
    "training_identity": "experiment",
}
"""Where names that need TensorFlow are defined."""


def __getattr__(name: str) -> Any:
    """Imports TensorFlow when a name that needs it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    check_address_space()
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
