"""The model trained again on train and validation images, once validation has chosen its epochs and all else."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagematch.config import TrainSettings
from imagematch.errors import DataError, TrainingFailedError
from imagematch.events import RunLog
from imagematch.interruption import StopRequest
from imagematch.model import HeadShape
from imagematch.pipeline.calibration import Calibration, calibrate, measure_split
from imagematch.training import sample_rows

if TYPE_CHECKING:
    from imagematch.training import Training

REFIT_FILE = "refit.npz"
_BEFORE = "The figures of validation belong to the model before it was trained again on these images."


@dataclass(frozen=True)
class Refit:
    """A model that was trained again.

    Attributes:
        training: of it.
        calibration: its threshold and probability, chosen on calibration alone.
        metrics: the contents of `metrics.json`.
    """

    training: Training
    calibration: Calibration
    metrics: dict[str, Any]


def refit(
    training: Training,
    calibration: Calibration,
    metrics: dict[str, Any],
    settings: TrainSettings,
    *,
    folder: Path,
    log: RunLog,
    stop: StopRequest,
) -> Refit | None:
    """Trains a model again on train and validation images, for as many epochs as its best one; calibrates and measures.

    An epoch has more steps than before, as there are more images. The weight of a join stays what validation chose.
    Calibration and test images train nothing.

    Args:
        training: finished.
        calibration: its own.
        metrics: its `metrics.json`.
        settings: of both trainings.
        folder: where the state of the training is kept.
        log: told what happens.
        stop: looked at between steps.

    Returns:
        None where it is not asked for; where the threshold needs the validation images; and where the embeddings
        collapse, so that the model before is the result: the log says so.

    Raises:
        InterruptedRunError: `stop` was set.
    """
    if settings.refit == "none":
        return None
    if calibration.threshold.chosen_on != "calibration":
        log.event("refit", "not trained again on validation images: the threshold was chosen on them", used=False)
        return None
    counts = [len(training.data.dataset.rows(split)) for split in ("train", "validation")]
    images, epochs = sum(counts), training.result.best_epoch
    log.event("refit", f"training again on {images:,} train and validation images for {epochs} epochs", used=True)
    try:
        again = train_again(training, settings, folder=folder, stop=stop)
        whole = again.data.dataset
        with stop.at_once():
            chosen = calibrate(again.embed, whole, settings.threshold)
    except (TrainingFailedError, DataError) as error:
        log.event("refit", f"trained again it failed ({error.what}): the model before is the result", used=False)
        return None
    note = f"The model was trained again on {images:,} train and validation images for {epochs} epochs."
    with stop.at_once():
        test = measure_split(again.embed, whole, "test", chosen.threshold, chosen.probability, [note])
    before = metrics["validation"]
    if before is not None:
        before = {**before, "remarks": [*before["remarks"], _BEFORE]}
    about = {"images": images, "epochs": epochs, "before": {"test": metrics["test"]}}
    return Refit(again, chosen, {**metrics, "validation": before, "test": test, "refit": about})


def train_again(training: Training, settings: TrainSettings, *, folder: Path, stop: StopRequest) -> Training:
    """A finished training once more, on train and validation images, for as many epochs as its best one.

    Its arguments and errors are those of `refit`; raises what `train_model` raises, too.
    """
    from imagematch.training import train_model

    data, dataset = training.data, training.data.dataset
    validation = dataset.rows("validation")
    splits = dataset.splits.astype(object)
    splits[validation] = "train"
    return train_model(
        replace(data, dataset=replace(dataset, splits=splits.astype(str))),
        _settled(training, settings),
        stop=stop,
        checkpoint=folder / REFIT_FILE,
        discard_unfit=True,
        last_epoch=training.result.best_epoch,
        validate_on=sample_rows(validation, dataset.labels, settings.validation_max_images, settings.seed),
    )


def _settled(training: Training, settings: TrainSettings) -> TrainSettings:
    """The settings with the weight of the join, the heads and the mirror images that validation chose."""
    settings = settings.model_copy(update={"test_time_flip": training.flip})
    if training.join is None or settings.trains_nothing:
        return settings
    weight = training.join.weight
    join: Any = "none" if math.isinf(weight) else {**(settings.joined or {}), "weight": weight}
    if isinstance(training.shape, HeadShape):
        alone = {"intermediate_ff_block_units": training.shape.units, "parallel_heads": ()}
        return settings.model_copy(update={"join": "none", **alone})
    return settings.model_copy(update={"join": join})
