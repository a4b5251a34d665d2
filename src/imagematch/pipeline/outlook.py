"""What a run would be, before it begins: its images, what would keep it from running, and how long it would take."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from imagematch.config import StudySettings, TrainSettings, starting_lines
from imagematch.data import SPLITS, Dataset, fold_datasets, open_dataset
from imagematch.errors import ImagematchError
from imagematch.events import SILENT, RunLog, time_text
from imagematch.extractors import choose_extractor, lower_precisions, missing_files
from imagematch.features import Features, FeatureStore
from imagematch.files import Layout
from imagematch.pipeline.feature_shards import networks_of
from imagematch.training import StageInputs, TrainingData, check_batch_classes, settings_in_force

_MEASURED_S = 1.0
_NOISE_ROWS = 4096
_ALIKE = 1.2
_MOST_TRAINED = 8192
"""Images of an epoch that is measured; of more the time is extrapolated."""


@dataclass(frozen=True)
class Estimate:
    """How long a run takes, from a second or so of its work on this machine.

    Attributes:
        low_s: where trainings stop as early as they may and features are computed at the fastest precision.
        high_s: where every training has all its epochs and features are computed in float32.
        images: that are to go through the network, for each network and view; those cached before are not among them.
        images_per_s: slowest and fastest, decoded and through the network; None where no image is missing.
        steps_per_s: slowest and fastest of the configurations that were tried; None where nothing is trained.
        trainings: how many, reruns and the winner's among them.
    """

    low_s: float
    high_s: float
    images: int
    images_per_s: tuple[float, float] | None
    steps_per_s: tuple[float, float] | None
    trainings: int

    @property
    def line(self) -> str:
        """In words."""
        parts = []
        if self.images_per_s is not None:
            parts.append(f"{self.images:,} images through the network at {_span(*self.images_per_s)} a second")
        if self.steps_per_s is not None:
            trained = "1 training" if self.trainings == 1 else f"{self.trainings:,} trainings"
            parts.append(f"{trained} at {_span(*self.steps_per_s)} steps a second")
        low, high = time_text(self.low_s), time_text(self.high_s)
        how = ", then ".join(parts) or "nothing is computed"
        return f"time: about {low if low == high else f'{low} to {high}'}; {how}"


@dataclass
class Outlook:
    """What is found before a run.

    Attributes:
        facts: as JSON.
        lines: the same for people.
        problems: everything that would end the run.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    problems: list[ImagematchError] = field(default_factory=list)

    def add(self, name: str, value: Any, line: str = "") -> None:
        """Adds a fact and its line."""
        self.facts[name] = value
        self.lines.append(line or f"{name.replace('_', ' ')}: {value:,}")


def look_ahead(settings: TrainSettings | StudySettings, layout: Layout, log: RunLog = SILENT) -> Outlook:
    """Opens the images of a training or study, checks all that can be known before it, and measures its speed.

    Args:
        settings: of the training or study.
        layout: where manifests are cached.
        log: told what is found in the images.
    """
    found = Outlook()
    study = settings if isinstance(settings, StudySettings) else None
    variants = list(networks_of(settings))
    found.problems += missing_files([one.weights for one in variants], [one.feature_extractor for one in variants])
    try:
        found.lines += [] if study is None else starting_lines(study)
    except ImagematchError as error:
        found.problems.append(error)
    try:
        dataset = open_dataset(variants[0], manifest_dir=layout.manifests, log=log)
        folds = [] if study is None or study.folds == 1 else fold_datasets(dataset, study.folds, study.seed)
    except ImagematchError as error:
        found.problems.append(error)
        return found
    found.problems += _unfilled_batches(settings, [dataset, *folds])
    _add_counts(found, dataset, folds, study)
    if not found.problems:
        try:
            estimate = _estimate(settings, variants, dataset, log)
        except ImagematchError as error:
            found.problems.append(error)
        else:
            if estimate is None:
                found.lines.append("time: not estimated, since images go through the network in every step")
            else:
                found.add("estimate", asdict(estimate), estimate.line)
    return found


def _unfilled_batches(settings: TrainSettings | StudySettings, parts: Sequence[Dataset]) -> Iterator[ImagematchError]:
    """At most one: batches of more classes than the images, or those of a fold, have."""
    train = settings
    if isinstance(settings, StudySettings):
        first = {key: dimension.ends[0] for key, dimension in settings.space.items()}
        most = {key: max(settings.space[key].ends) for key in settings.space if key == "batch_classes"}
        train = settings.settings_for({**first, **most})
    assert isinstance(train, TrainSettings)
    for one in parts:
        try:
            check_batch_classes(train, one.labels[one.rows("train")])
        except ImagematchError as error:
            yield error
            return


def _add_counts(found: Outlook, dataset: Dataset, folds: Sequence[Dataset], study: StudySettings | None) -> None:
    if study is not None:
        points = study.grid_points
        found.add("grid_points", points, f"grid points: {'endless' if points is None else f'{points:,}'}")
    found.add("images", len(dataset.paths))
    found.add("classes", len(dataset.class_names))
    if dataset.quarantined:
        unusable, named = len(dataset.quarantined), dataset.quarantined[0]
        found.add("unusable", unusable, f"unusable: {unusable:,}, left out, as {named.path}: {named.reason}")
    for split in SPLITS:
        found.add(split, len(dataset.rows(split)))
    if folds and study is not None:
        held_out = [len(one.rows("validation")) for one in folds]
        line = f"folds: {study.folds}, of {min(held_out):,} to {max(held_out):,} images"
        found.add("folds", study.folds, line)
    if study is not None:
        found.add("trials", study.n_trials if points is None else min(study.n_trials, points))


# ---- time


def _estimate(
    settings: TrainSettings | StudySettings, variants: Sequence[TrainSettings], dataset: Dataset, log: RunLog
) -> Estimate | None:
    """None where images go through the network in every training step, which is not measured."""
    extractors = [choose_extractor(one) for each in variants for one in each.stage_settings]
    anew = any(one.image_augmentation and not one.augmented_views for each in variants for one in each.stage_settings)
    if anew or not all(extractor.frozen for extractor in extractors):
        return None
    images, speeds, seconds = 0, [], np.zeros(2)
    for one in variants:
        missing, measured = _features(one, dataset, log)
        images += missing
        if measured:
            speeds += measured
            seconds += missing / np.array([max(measured), min(measured)])
    if isinstance(settings, TrainSettings):
        tried, trainings = [settings], 1
    else:
        ends = [{key: dimension.ends[end] for key, dimension in settings.space.items()} for end in (0, -1)]
        tried = [settings.settings_for(values) for values in (ends[:1] if ends[0] == ends[1] else ends)]
        points = settings.grid_points
        trials = settings.n_trials if points is None else min(settings.n_trials, points)
        trainings = trials * settings.folds + min(settings.rerun_top_k, trials) * settings.rerun_seeds + 1
    tried = [one for one in tried if not one.trains_nothing]
    trained = [_training(one, dataset) for one in tried]
    if trained:
        seconds += trainings * np.array([min(one.low_s for one in trained), max(one.high_s for one in trained)])
    steps = [one.steps_per_s for one in trained]
    return Estimate(
        low_s=float(seconds[0]),
        high_s=float(seconds[1]),
        images=images,
        images_per_s=(min(speeds), max(speeds)) if speeds else None,
        steps_per_s=(min(steps), max(steps)) if steps else None,
        trainings=trainings,
    )


def _features(settings: TrainSettings, dataset: Dataset, log: RunLog) -> tuple[int, list[float]]:
    """How many images are to go through the network, in all views, and how many a second can."""
    extractor, store = choose_extractor(settings.stage_settings[-1]), FeatureStore(Path(settings.feature_dir))
    views = 1 + (settings.augmented_views if settings.image_augmentation else 0) + settings.test_time_flip
    precision = settings.feature_precision
    precisions = [precision] if precision in ("float32", "bfloat16") else ["float32"]
    if precision == "auto" and "bfloat16" in lower_precisions():
        precisions.append("bfloat16")
    options: dict[str, Any] = {"engine": settings.engine, "log": log}
    missing = views * min(store.missing(dataset, extractor, precision=one, **options) for one in precisions)
    if not missing:
        return 0, []
    speeds = [store.speed(dataset, extractor, precision=one, seconds=_MEASURED_S, **options) for one in precisions]
    return missing, speeds


@dataclass(frozen=True)
class _TrainingTime:
    low_s: float
    high_s: float
    steps_per_s: float


def _training(settings: TrainSettings, dataset: Dataset) -> _TrainingTime:
    """Trains a second or so on noise of the features' shape: time depends on the shape alone."""
    from imagematch.training import plan_batches, release_graphs, train_model

    extractor = choose_extractor(settings.stage_settings[-1])
    noise, rows = _Noise(len(dataset), extractor.feature_dim), dataset.rows("train")
    few = _some_classes(dataset, rows)
    data = TrainingData(
        few,
        extractor,
        Features(noise, "numpy", "float32", 0, 0.0),
        tuple(
            StageInputs(extractor, extractor, [noise] * (1 + settings.augmented_views), noise, True)
            for _ in settings.stage_settings
        ),
    )
    moments = [time.perf_counter()]

    def on_epoch(_record: object) -> bool:
        moments.append(time.perf_counter())
        return len(moments) > 2 and moments[-1] - moments[1] >= _MEASURED_S

    first = settings.stage_settings[0]
    longer = {"epochs": 1000, "early_stopping_patience": 1000, "lr_schedule": "constant", "stages": (), "join": "none"}
    try:
        train_model(data, first.model_copy(update={**longer, "parallel_heads": ()}), on_epoch=on_epoch)
    finally:
        release_graphs()
    labels, shown = dataset.labels[rows], few.labels[few.rows("train")]
    per_epoch = (moments[-1] - moments[1]) / max(1, len(moments) - 2)
    start = max(0.0, moments[1] - moments[0] - per_epoch)
    steps = plan_batches(first, shown, 0).steps
    stages = [settings_in_force(stage, labels) for stage in settings.stage_settings]
    scale = (1 + len(settings.parallel_heads)) * plan_batches(first, labels, 0).steps / steps
    low = sum(min(stage.epochs, stage.early_stopping_patience + 1) for stage in stages)
    high = sum(stage.epochs for stage in stages)
    return _TrainingTime(start + low * scale * per_epoch, start + high * scale * per_epoch, steps / per_epoch)


def _some_classes(dataset: Dataset, rows: np.ndarray) -> Dataset:
    """The data set with whole classes of training images, up to some number of images."""
    if len(rows) <= _MOST_TRAINED:
        return dataset
    order = rows[np.argsort(dataset.labels[rows], kind="stable")]
    last = dataset.labels[order[_MOST_TRAINED]]
    left_out = rows[dataset.labels[rows] > last]
    splits = dataset.splits.astype(object)
    splits[left_out] = "test"
    return replace(dataset, splits=splits.astype(str))


class _Noise:
    """(n, dim) features that take the room of a few."""

    dtype = np.dtype(np.float32)

    def __init__(self, n: int, dim: int) -> None:
        self.shape = (n, dim)
        self._few = np.random.default_rng(0).random((min(n, _NOISE_ROWS), dim), np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """(..., dim) of the rows asked for."""
        numbers = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows)
        return self._few[numbers % len(self._few)]


def _span(low: float, high: float) -> str:
    return f"{high:,.0f}" if high < _ALIKE * low else f"{low:,.0f} to {high:,.0f}"
