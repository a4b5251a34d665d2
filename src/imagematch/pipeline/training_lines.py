"""What a training says of itself while it runs, in lines for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from imagematch.config import TrainSettings
from imagematch.model import JoinedShape
from imagematch.training import TrainingData

if TYPE_CHECKING:
    from imagematch.training import Join


def data_line(data: TrainingData) -> str:
    """The images and classes of a training, and how they are split."""
    dataset = data.dataset
    counts = ", ".join(
        f"{split} {len(dataset.rows(split)):,}" for split in ("train", "validation", "calibration", "test")
    )
    return f"{dataset.name}: {len(dataset.paths):,} images of {len(dataset.class_names):,} classes ({counts})"


def epoch_line(record: Mapping[str, Any], epochs: int) -> str:
    """An epoch as one console line."""
    shown = [key for key in ("loss", "val_loss", "val_roc_auc", "val_map_at_r", "active", "spread") if key in record]
    stage = [f"stage {record['stage']}"] if "stage" in record else []
    return "  ".join([*stage, f"epoch {record['epoch']:>3}/{epochs}", *(f"{key} {record[key]:.4f}" for key in shown)])


def join_line(join: Join, settings: TrainSettings) -> str:
    """The outcome of joining, as one console line."""
    objective = settings.objective
    if not join.alone:
        return f"half-whitened features alone: {objective} {join.metrics[objective]:.4f}"
    if objective not in join.metrics:
        return f"joined with half-whitened features, weight {join.weight:g}"
    values = f"{objective} {join.alone[objective]:.4f} of the head alone, {join.metrics[objective]:.4f} joined"
    if settings.parallel_heads and math.isinf(join.weight):
        if isinstance(join.shape, JoinedShape):
            return f"{len(join.shape.heads)} heads side by side: {objective} {join.metrics[objective]:.4f}"
        return f"the best head alone is as good as all together: {objective} {join.metrics[objective]:.4f}"
    if math.isinf(join.weight):
        return f"joining with half-whitened features does not help: the head stays alone ({values.split(',')[0]})"
    return f"joined with half-whitened features, weight {join.weight:g}: {values}"


def empty_steps_line(count: int, settings: TrainSettings) -> str:
    """Explains steps without any active pair or triplet, and what to do."""
    steps = "1 step" if count == 1 else f"{count:,} steps"
    return (
        f"{steps} of this epoch taught nothing: {settings.loss} found nothing to compare in the random batch; "
        "give batch_classes x batch_images instead of batch_size, or a larger batch_size"
    )
