"""Trains trials and measures baselines; training data stay loaded as long as the next trial needs the same."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from imagematch.config import StudySettings, TrainSettings
from imagematch.data import fold_datasets
from imagematch.errors import StudyError
from imagematch.events import RunLog
from imagematch.interruption import StopRequest
from imagematch.training import (
    TrainingData,
    embedding_metric_names,
    load_training_data,
    release_graphs,
    sample_rows,
    training_data_key,
)
from imagematch.tuning.objective import OnStep, TrialFiles, run_trial


class Trainer:
    """Trains the trials of a study, and measures its baselines.

    Args:
        settings: of the study.
        manifest_dir: where manifests are cached.
        log: where the progress of computing features is logged.
    """

    def __init__(self, settings: StudySettings, manifest_dir: Path, log: RunLog) -> None:
        self._settings = settings
        self._manifest_dir = manifest_dir
        self._log = log
        self._cached: dict[tuple[object, ...], TrainingData] = {}
        self._frozen = False

    def train(
        self,
        settings: TrainSettings,
        files: TrialFiles,
        data_digest: str | None,
        *,
        network_digest: str | None = None,
        on_step: OnStep,
        stop: StopRequest,
    ) -> dict[str, Any]:
        """Trains a trial and returns what the study stores on it; see `run_trial`.

        Args:
            settings: what to train.
            files: the trial's.
            data_digest: of the study's images; None where it is not known yet.
            network_digest: of the extractor that the baseline was measured with; None likewise.
            on_step: see OnStep.
            stop: checked between steps.
        """
        started = time.perf_counter()
        try:
            data = self.training_data(settings, data_digest, network_digest)
            loaded_s = time.perf_counter() - started
            second = self._settings.objectives[1] if len(self._settings.objectives) > 1 else ""
            results = run_trial(
                data, settings, files, folds=self._settings.folds, second=second, on_step=on_step, stop=stop
            )
        finally:
            release_graphs()
            if not self._frozen:  # what outlives the first training, all of TensorFlow, is searched for garbage no more
                gc.freeze()
                self._frozen = True
        seconds = {**results.pop("seconds"), "materials": loaded_s, "total": time.perf_counter() - started}
        return {**results, "seconds": seconds}

    def measure_baseline(self, settings: TrainSettings, data_digest: str | None) -> dict[str, Any]:
        """Measures the frozen extractor of some settings on the validation images.

        Returns:
            `metrics` (the mean over the folds), `whitened` (the same of its half-whitened features, None where there
            are none), `dataset` (its counts and digest), the `precision` of the features, `images_through_network` and
            `extraction_s` (what computing them took), `network_digest`, and `network_parameters` (None where nobody
            needs them).
        """
        from imagematch.evaluation import epoch_metrics

        data = self.training_data(settings, data_digest)
        dataset, folds = data.dataset, self._settings.folds
        parts = [dataset] if folds == 1 else fold_datasets(dataset, folds, settings.seed)
        also = embedding_metric_names(self._settings.objectives)

        def measured(alone: Sequence[Callable[[np.ndarray], np.ndarray] | None]) -> dict[str, float] | None:
            """The mean over the folds; None where some fold has no such embedding."""
            found = []
            for part, embed in zip(parts, alone, strict=True):
                if embed is None:
                    return None
                rows = sample_rows(part.rows("validation"), part.labels, settings.validation_max_images, settings.seed)
                found.append(epoch_metrics(embed(rows), part.labels[rows], also))
            return {f"val_{name}": float(np.mean([metrics[name] for metrics in found])) for name in found[0]}

        counted = self._settings.max_parameters is not None or not data.extractor.frozen
        return {
            "metrics": measured([data.baseline] * folds),
            "whitened": measured([replace(data, dataset=part).whitened_baseline() for part in parts]),
            "dataset": {**dataset.summary(), "digest": dataset.digest},
            "precision": data.features.precision,
            "images_through_network": data.features.computed,
            "extraction_s": data.features.seconds,
            "network_digest": data.extractor.digest,
            "network_parameters": data.extractor.build().count_params() if counted else None,
        }

    def training_data(
        self, settings: TrainSettings, data_digest: str | None = None, network_digest: str | None = None
    ) -> TrainingData:
        """The training data of some settings.

        Raises:
            StudyError: the images are not those of `data_digest`, or the network is not that of `network_digest`.
        """
        key = training_data_key(settings)
        if key not in self._cached:
            self._cached.clear()
            data = load_training_data(settings, manifest_dir=self._manifest_dir, log=self._log)
            if data_digest not in (None, data.dataset.digest):
                raise StudyError(
                    "these are not the images, or not the splits, that the study was begun with",
                    where=str(data.dataset.root or data.dataset.name),
                    do="give it the same images, choose another study_name, or start again with --fresh",
                )
            if network_digest not in (None, data.extractor.digest):
                raise StudyError(
                    "this is not the network, or not the weights, that the study was begun with",
                    where=data.extractor.name,
                    do="give it the same file, choose another study_name, or start again with --fresh",
                )
            self._cached[key] = data
            resolved = settings.model_copy(update={"feature_precision": data.features.precision})
            self._cached[training_data_key(resolved)] = data  # what the study asks for from now on
        return self._cached[key]
