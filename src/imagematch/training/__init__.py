"""Trains a model: batches, schedule, the loop, checkpoints, interruption."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imagematch.interruption import StopRequest, stop_on_signals
from imagematch.training.batches import (
    BatchPlan,
    ClassBalancedBatches,
    OfflineTriplets,
    RandomBatches,
    plan_batches,
    refuse_missing_classes,
)
from imagematch.training.bit_hyperrule import settings_in_force
from imagematch.training.graph_memory import release_graphs
from imagematch.training.judged import figure_names, sample_rows
from imagematch.training.materials import Materials, gather_materials, shared_key, unit_features, unit_rows

if TYPE_CHECKING:
    from imagematch.training.experiment import Training, train_model, training_identity
    from imagematch.training.loop import EMPTY_STEPS, EpochRecord, FitResult, fit
    from imagematch.training.sources import FeatureSource, ImageSource, Source
    from imagematch.training.stage import Stage
    from imagematch.training.validation import Validator, embed_rows

__all__ = [
    "EMPTY_STEPS",
    "BatchPlan",
    "ClassBalancedBatches",
    "EpochRecord",
    "FeatureSource",
    "FitResult",
    "ImageSource",
    "Materials",
    "OfflineTriplets",
    "RandomBatches",
    "Source",
    "Stage",
    "StopRequest",
    "Training",
    "Validator",
    "embed_rows",
    "figure_names",
    "fit",
    "gather_materials",
    "plan_batches",
    "refuse_missing_classes",
    "release_graphs",
    "sample_rows",
    "settings_in_force",
    "shared_key",
    "stop_on_signals",
    "train_model",
    "training_identity",
    "unit_features",
    "unit_rows",
]

_LATE = {
    "EMPTY_STEPS": "loop",
    "EpochRecord": "loop",
    "FitResult": "loop",
    "fit": "loop",
    "Training": "experiment",
    "train_model": "experiment",
    "training_identity": "experiment",
    "FeatureSource": "sources",
    "ImageSource": "sources",
    "Source": "sources",
    "Stage": "stage",
    "Validator": "validation",
    "embed_rows": "validation",
}


def __getattr__(name: str) -> Any:
    """Imports TensorFlow when a name that needs it is first asked for."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
