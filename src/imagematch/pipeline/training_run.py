"""One configuration, from its settings to a saved, calibrated and evaluated matcher."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.callbacks import Callbacks, Run
from imagematch.config import TrainSettings, direction_of
from imagematch.data import DECODER_VERSION, Dataset
from imagematch.errors import StudyError
from imagematch.events import SILENT, RunLog
from imagematch.extractors import Concatenation
from imagematch.features import FeatureStore
from imagematch.file_locks import BusyError, locked, remove_locked_dir
from imagematch.files import Layout, make_dir, write_json
from imagematch.framing import SQUASHED
from imagematch.interruption import StopRequest
from imagematch.learning_curves import write_learning_curves
from imagematch.matching import (
    FaceCropCard,
    FramingCard,
    MatcherCard,
    ProbabilityCard,
    ProvenanceCard,
    ThresholdCard,
    class_digest,
    head_fields,
    save_matcher,
    saved_extractors,
)
from imagematch.pipeline.answered_pairs import compare_with_older
from imagematch.pipeline.calibration import calibrate_and_measure, other_images, split_view
from imagematch.pipeline.experiments import (
    CHECKPOINT_FILE,
    LOCK_FILE,
    LOG_FILE,
    METRICS_FILE,
    TrainedMatcher,
    unfinished_dir,
)
from imagematch.pipeline.refit import REFIT_FILE, refit
from imagematch.pipeline.training_lines import data_line, empty_steps_line, epoch_line, join_line
from imagematch.reporting import write_model_report
from imagematch.training import TrainingData, load_training_data, settings_in_force

if TYPE_CHECKING:
    from imagematch.training import Training


def run_training(
    settings: TrainSettings,
    layout: Layout,
    *,
    fresh: bool = False,
    discard_unfit: bool = False,
    study_report: str | None = None,
    log: RunLog = SILENT,
    stop: StopRequest | None = None,
) -> TrainedMatcher:
    """Trains, calibrates, evaluates, saves and reports.

    Args:
        settings: what to train.
        layout: where files go.
        fresh: forgets what an interrupted training left.
        discard_unfit: forgets it where it belongs to other settings; else that is refused.
        study_report: where the report of the study is that chose these settings, relative to the matcher's folder.
        log: told what happens.
        stop: looked at between steps.

    Raises:
        ImagematchError: in one line, whatever went wrong; nothing that was finished before is lost.
        StudyError: another process trains under the same name.
    """
    name = settings.experiment_name
    work = make_dir(unfinished_dir(layout, name))
    try:
        with locked(work / LOCK_FILE, wait=False):
            if fresh:
                for file in (CHECKPOINT_FILE, REFIT_FILE):
                    (work / file).unlink(missing_ok=True)
            callbacks = Callbacks(settings.callbacks, log)
            told = Run(
                name,
                settings.model_dump(mode="json", exclude_none=True),
                layout.model_dir(name),
                layout.tensorboard_dir(name),
            )
            callbacks.call("on_training_begin", told)
            trained = None
            checkpoint, stop = work / CHECKPOINT_FILE, stop or StopRequest()
            try:
                trained = _train(settings, layout, checkpoint, discard_unfit, study_report, log, stop, callbacks)
            finally:
                callbacks.call("on_training_end", None if trained is None else trained.metrics)
            remove_locked_dir(work, work / LOCK_FILE)
            return trained
    except BusyError as error:
        raise StudyError("another process trains this experiment", where=name, do="wait for it, or stop it") from error


def _train(
    settings: TrainSettings,
    layout: Layout,
    checkpoint: Path,
    discard_unfit: bool,
    study_report: str | None,
    log: RunLog,
    stop: StopRequest,
    callbacks: Callbacks,
) -> TrainedMatcher:
    import pandas as pd

    from imagematch.training import EMPTY_STEPS, train_model

    name = settings.experiment_name
    with stop.at_once():
        data = load_training_data(settings, manifest_dir=layout.manifests, log=log)
    log.event("data", data_line(data), **data.dataset.summary())
    labels = data.dataset.labels[data.dataset.rows("train")]
    epochs = sum(settings_in_force(stage, labels).epochs for stage in settings.stage_settings)

    better = max if direction_of(settings.objective) == "maximize" else min
    random_batches = any(stage.batch_size for stage in settings.stage_settings)
    warned, resumed_after, best = False, 0, None

    def on_resume(done: int) -> None:
        nonlocal resumed_after
        resumed_after = done
        advance.skip(done)
        log.event("resumed", f"resuming after epoch {done} of {epochs}", epoch=done)

    def on_epoch(record: Mapping[str, Any]) -> bool:
        nonlocal warned, best
        callbacks.call("on_epoch_end", record)
        value = record[settings.objective]
        best = value if best is None else better(best, value)
        if record["epoch"] <= resumed_after:
            return False
        log.event("epoch", epoch_line(record, epochs), level="detail", **record)
        advance(note=f"best {settings.objective} {best:.4f}")
        if random_batches and not warned and EMPTY_STEPS in record:
            warned = True
            line = empty_steps_line(record[EMPTY_STEPS], settings)
            log.event(EMPTY_STEPS, line, level="warning", epoch=record["epoch"])
        return False

    with log.progress("epochs", epochs) as advance:
        training = train_model(
            data,
            settings,
            on_epoch=on_epoch,
            on_resume=on_resume,
            stop=stop,
            checkpoint=checkpoint,
            discard_unfit=discard_unfit,
        )
    result = training.result
    log.event(
        "trained",
        f"best epoch {result.best_epoch} of {len(result.history)} ({result.ended_by.replace('_', ' ')}): "
        f"{settings.objective} {result.best_value:.4f}",
        best_epoch=result.best_epoch,
        seconds=result.seconds,
    )
    if training.join is not None:
        log.event("joined", join_line(training.join, settings), weight=training.join.weight)
    if settings.test_time_flip == "auto":
        log.event("flip", f"test_time_flip: {str(training.flip).lower()}, by validation", flip=training.flip)
    with stop.at_once():
        calibration, metrics = calibrate_and_measure(
            training.embed, data.baseline, data.whitened_baseline(), data.dataset, settings, log
        )
    again = refit(training, calibration, metrics, settings, folder=checkpoint.parent, log=log, stop=stop)
    if again is not None:
        training, calibration, metrics = again.training, again.calibration, again.metrics

    def write_figures(folder: Path) -> None:
        compare_with_older(settings, layout, folder, log)
        write_json(folder / METRICS_FILE, metrics)
        pd.DataFrame(result.history).to_csv(folder / "history.csv", index=False)
        if (checkpoint.parent / LOG_FILE).exists():
            shutil.copyfile(checkpoint.parent / LOG_FILE, folder / LOG_FILE)
        write_learning_curves(folder, result.history, settings.objective)
        write_model_report(
            folder / "report.html",
            name=name,
            config=settings.to_yaml(),
            metrics=metrics,
            history=result.history,
            test=split_view(data.dataset, "test", training.embed),
            baseline=split_view(data.dataset, "test", data.baseline),
            threshold=calibration.threshold,
            probability=calibration.probability,
            others=other_images(data.dataset, "test", data.baseline),
            study_report=study_report,
        )

    store = FeatureStore(Path(settings.feature_dir))
    card = save_matcher(
        layout.model_dir(name),
        name=name,
        extractor=data.extractor,
        network=training.network,
        trained=training.network is not None,
        calibration=data.calibration if training.network is None else None,
        head=training.head,
        config=settings.to_yaml(),
        embedding=_embedding(training, settings),
        threshold=ThresholdCard.of(calibration.threshold),
        probability=ProbabilityCard.of(calibration.probability),
        provenance=_provenance(settings, data, training.data.dataset if again else None),
        network_dir=store.networks,
        also=write_figures,
        log=log,
    )
    store.remember(card.digest)
    if training.network is None:
        _link_features(store, card, layout.model_dir(name), data)
    log.event("saved", f"saved {layout.model_dir(name)}", path=str(layout.model_dir(name)))
    return TrainedMatcher(layout.model_dir(name), metrics)


def _embedding(training: Training, settings: TrainSettings) -> dict[str, Any]:
    """How images become embeddings, as the matcher's card has it."""
    features, cropper = training.data.features, training.data.dataset.face_cropper
    framing = training.data.extractor.framing
    return {
        "image_size": training.data.extractor.image_size,
        "decoder": DECODER_VERSION,
        "engine": features.engine,
        "precision": features.precision,
        **head_fields(training.shape),
        "test_time_flip": training.flip,
        "value_range": training.data.dataset.value_range,
        "max_megapixels": settings.max_megapixels,
        "face_crop": None if cropper is None else FaceCropCard(**asdict(cropper)),
        "framing": None if framing == SQUASHED else FramingCard(**asdict(framing)),
    }


def _provenance(settings: TrainSettings, data: TrainingData, refitted_on: Dataset | None) -> ProvenanceCard:
    return ProvenanceCard(
        refitted=refitted_on is not None,
        dataset=data.dataset.name,
        dataset_digest=data.dataset.digest,
        split_by=data.dataset.split_by,
        seed=settings.seed,
        training_seed=settings.training_seed,
        extractor_digest=data.extractor.digest,
        training_classes=_training_classes(refitted_on or data.dataset),
    )


def _training_classes(dataset: Dataset) -> tuple[str, ...]:
    classes = np.unique(dataset.labels[dataset.rows("train")])
    return tuple(sorted(class_digest(dataset.class_names[label]) for label in classes))


def _link_features(store: FeatureStore, card: MatcherCard, folder: Path, data: TrainingData) -> None:
    """Lets the saved matcher find the features that its training cached."""
    network = data.network
    members = network.members if isinstance(network, Concatenation) else (network,)
    for saved, trained_with in zip(saved_extractors(card, folder), members, strict=True):
        store.link(saved, trained_with)
