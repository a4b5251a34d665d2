"""A saved matcher measured again: its data set opened, its figures computed, its report written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imagematch.config import TrainSettings, did_you_mean, load_train
from imagematch.data import Dataset, decode, open_dataset
from imagematch.errors import ConfigError, DataError, ModelError
from imagematch.evaluation import OneShot, Probability, Threshold, one_shot
from imagematch.events import SILENT, RunLog
from imagematch.extractors import Concatenation, Extractor, choose_extractor
from imagematch.features import FeatureArray, FeatureStore, normalized_features
from imagematch.files import Layout, make_dir, write_json
from imagematch.matching import ImageMatcher, class_digest, replacement
from imagematch.pipeline.calibration import measure_split, measure_without_head, other_images, split_view
from imagematch.pipeline.experiments import read_history
from imagematch.registry import EXTRACTOR_REGISTRY
from imagematch.reporting import SplitView, write_model_report
from imagematch.training import whitened_baseline

_SPLITS = ("test", "validation", "calibration", "train")

_OTHER_DATA = "The data set is not the one the matcher was trained with: this split may hold images it was trained on."
_REFITTED = "The matcher was trained again on these images: the figures say nothing about others."
_NO_HISTORY = "history.csv is not as it was written: the course of the training is left out."


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a saved matcher comes to on one split of its data.

    Attributes:
        matcher: the matcher.
        settings: what it was trained by; `data_dir` is where the images were read.
        dataset: its data set.
        split: the split that was measured.
        metrics: as `metrics.json`, null for every split but this one; it may be one that `metrics.json` has not.
        view: the split's images with the matcher's embeddings.
        baseline_view: the same images with the frozen extractor's features.
        threshold: the matcher's own.
        probability: the matcher's own; None where it has none.
        history: the training's epochs; empty where they are not kept, or no longer what they were.
        others: images outside of the split with the frozen extractor's features.
        same_data: the images and splits are those it was trained with; otherwise training images may be in the split.
    """

    matcher: ImageMatcher
    settings: TrainSettings
    dataset: Dataset
    split: str
    metrics: Mapping[str, Any]
    view: SplitView
    baseline_view: SplitView
    threshold: Threshold
    probability: Probability | None
    history: Sequence[Mapping[str, Any]]
    same_data: bool
    others: SplitView | None = None

    def triplet(self, number: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """An anchor, another image of its class and one of another class, (h, w, 3) uint8 each; the same for a number.

        They are what the matcher is to be asked about: whole images where it cuts out faces itself.

        Raises:
            DataError: the split has no class with two images, or only one class.
        """
        labels = np.asarray(self.view.labels)
        classes, counts = np.unique(labels, return_counts=True)
        shared = classes[counts > 1]
        if not len(shared) or len(classes) < 2:
            raise DataError("no triplet: it takes a class with two images, and another class", where=self.split)
        random = np.random.default_rng(number)
        label = random.choice(shared)
        anchor, positive = random.choice(np.flatnonzero(labels == label), 2, replace=False)
        negative = random.choice(np.flatnonzero(labels != label))
        rows, card = self.dataset.rows(self.split)[[anchor, positive, negative]].tolist(), self.matcher.card.embedding
        if card.face_crop is not None:
            first, second, third = (decode(self.dataset.read(row), **card.decoding) for row in rows)
        elif card.framing is not None:
            first, second, third = map(self.dataset.pixels, rows)
        else:
            first, second, third = (self.dataset.pixels(row, card.image_size) for row in rows)
        return first, second, third


def evaluate_model(
    model_dir: Path | str,
    split: str | None = None,
    data_dir: Path | str | None = None,
    layout: Layout | None = None,
    feature_dir: Path | None = None,
    log: RunLog = SILENT,
) -> Evaluation:
    """Measures a saved matcher on a split, at its own threshold, beside the frozen extractor alone.

    Features that are cached are used, and only the head runs. Of the matcher's configuration only what says which
    images to read is believed: where features are cached is the caller's to say.

    Args:
        model_dir: the matcher's folder.
        split: test, validation, calibration or train; None: test, or of a `data_dir` with other images all of them.
        data_dir: where the images are now; None: where they were.
        layout: where manifests are cached; None: `exp`.
        feature_dir: the feature store; None: the layout's.
        log: told what happens.

    Raises:
        ModelError: the matcher cannot be opened; or it was trained with its extractor, and the extractor that it began
            with cannot be had any more.
        DataError: the images cannot be used, or the split is empty.
        ConfigError: no such split, or its configuration cannot be read.
    """
    whole = split is None and data_dir is not None
    split = "test" if split is None else split
    if split not in _SPLITS:
        do = did_you_mean(split, _SPLITS)
        raise ConfigError(f"{split!r} is not one of {', '.join(_SPLITS)}", where="split", do=do)
    folder, layout = Path(model_dir), layout or Layout()
    matcher = ImageMatcher.load(folder, log=log)
    settings = load_train(folder / "config.yaml")
    if data_dir is not None:
        settings = settings.model_copy(update={"data_dir": Path(data_dir)})
    settings = settings.model_copy(update={"value_range": matcher.card.embedding.value_range or "full"})
    trained_on = matcher.card.provenance.dataset_digest
    whole = whole and not _has_moved(settings, trained_on, layout)
    if whole:
        settings = settings.model_copy(update={"min_images_per_class": 1, "max_classes": None})
    dataset = open_dataset(settings, manifest_dir=layout.manifests, whole=whole, log=log)
    if not len(dataset.rows(split)):
        raise DataError(f"has no {split} images", where=dataset.name, do=f"choose another of {', '.join(_SPLITS)}")
    store = FeatureStore(feature_dir or layout.features)
    features = matcher.cached_features(dataset, store, log=log)

    def embed(rows: np.ndarray) -> np.ndarray:
        return matcher.embed_cached(features, rows)

    alone_features = (
        features[0].array
        if matcher.card.embedding.trained is False
        else _before(settings, store, dataset, matcher, log)
    )

    def baseline(rows: np.ndarray) -> np.ndarray:
        return normalized_features(alone_features, rows)

    same = dataset.digest == trained_on
    remarks = [_all_images(dataset, settings)] if whole else [] if same else [_OTHER_DATA]
    if same and split == "validation" and matcher.card.provenance.refitted:
        remarks.append(_REFITTED)
    history = read_history(folder)
    if history is None:
        remarks.append(_NO_HISTORY)
    for remark in remarks:
        log.event("remark", remark, level="warning")
    replaced = replacement(matcher.card.embedding, matcher.engine)  # told when the matcher was loaded
    remarks += [] if replaced is None else [replaced]
    threshold = matcher.card.threshold.threshold()
    stored = matcher.card.probability
    probability = None if stored is None else stored.probability()
    whitened = None if whole else whitened_baseline(alone_features, dataset.rows("train"))
    trained = _trained_labels(dataset, matcher)
    metrics: dict[str, Any] = {"validation": None, "test": None}
    with log.progress("measurements", 3) as advance:
        metrics[split] = measure_split(embed, dataset, split, threshold, probability, remarks, trained)
        advance()
        metrics["baseline"] = measure_without_head(baseline, whitened, dataset, split, settings.threshold, advance)
    view, baseline_view = (split_view(dataset, split, one) for one in (embed, baseline))
    assert view is not None
    assert baseline_view is not None
    return Evaluation(
        matcher=matcher,
        settings=settings,
        dataset=dataset,
        split=split,
        metrics=metrics,
        view=view,
        baseline_view=baseline_view,
        threshold=threshold,
        probability=probability,
        history=history or [],
        same_data=same,
        others=other_images(dataset, split, baseline),
    )


def _has_moved(settings: TrainSettings, trained_on: str | None, layout: Layout) -> bool:
    """Whether a folder holds the very images and splits that the matcher was trained with."""
    try:
        return open_dataset(settings, manifest_dir=layout.manifests).digest == trained_on
    except DataError:  # they cannot even be split
        return False


def _all_images(dataset: Dataset, settings: TrainSettings) -> str:
    pairs = len(dataset.paths) * (len(dataset.paths) - 1) // 2
    return (
        f"All {len(dataset.paths):,} labelled images of {settings.data_dir} are measured: {len(dataset.class_names):,} "
        f"classes, {pairs:,} pairs. Images that the matcher was trained on may be among them."
    )


def _trained_labels(dataset: Dataset, matcher: ImageMatcher) -> np.ndarray | None:
    """The data set's classes that the matcher was trained on, by what its card says; None where it says nothing."""
    trained = set(matcher.card.provenance.training_classes)
    if not trained:
        return None
    return np.flatnonzero([class_digest(name) in trained for name in dataset.class_names])


def write_evaluation(evaluation: Evaluation, output_dir: Path | str) -> Path:
    """Writes report.html and metrics.json into a folder (created where missing) and returns the report's path.

    Raises:
        StudyError: the folder cannot be written.
    """
    folder = make_dir(Path(output_dir))
    write_json(folder / "metrics.json", evaluation.metrics)
    write_model_report(
        folder / "report.html",
        name=evaluation.matcher.card.name,
        config=evaluation.settings.to_yaml(),
        metrics=evaluation.metrics,
        history=evaluation.history,
        test=evaluation.view,
        baseline=evaluation.baseline_view,
        threshold=evaluation.threshold,
        probability=evaluation.probability,
        others=evaluation.others,
    )
    return folder / "report.html"


def one_shot_trials(evaluation: Evaluation, ways: int, *, runs: int = 20, seed: int = 0) -> dict[str, OneShot]:
    """Draws trials among the classes of an evaluated split; of Omniglot, within one alphabet at a time.

    Args:
        evaluation: what `evaluate_model` gave.
        ways: classes in a run.
        runs: draws.
        seed: of the draws, the same for both.

    Returns:
        Of `matcher`, and of `baseline`: the frozen extractor alone.

    Raises:
        DataError: there are not so many classes with two images in the split (in one alphabet).
    """
    groups = None
    if evaluation.dataset.name == "omniglot":
        alphabets = [name.partition("/")[0] for name in evaluation.dataset.class_names]
        groups = np.array(alphabets)[evaluation.view.labels]
    return {
        name: one_shot(view.embeddings, view.labels, ways=ways, runs=runs, seed=seed, groups=groups)
        for name, view in (("matcher", evaluation.view), ("baseline", evaluation.baseline_view))
    }


def _before(
    settings: TrainSettings, store: FeatureStore, dataset: Dataset, matcher: ImageMatcher, log: RunLog
) -> FeatureArray:
    """Features of the extractor that a trained matcher began with."""
    extractor = began_with(settings, store, matcher)
    engine, precision = settings.engine, settings.feature_precision
    return store.features(dataset, extractor, engine=engine, precision=precision, log=log).array


def began_with(settings: TrainSettings, store: FeatureStore, matcher: ImageMatcher) -> Extractor | Concatenation:
    """The extractor that a trained matcher began with, as its configuration names it.

    Raises:
        ModelError: it is a file, and the matcher was not trained here: files of a stranger's are not opened.
    """
    names, weights = (
        [value] if isinstance(value, str | Path) else list(value or ())
        for value in (settings.feature_extractor, settings.weights)
    )
    published = set(names) <= EXTRACTOR_REGISTRY.all().keys() and {str(one) for one in weights} <= {
        "imagenet",
        "random",
    }
    if not published and not store.trained_here(matcher.card.digest):
        raise ModelError(
            "the extractor that it began with is a file, which is opened only for matchers that were trained here",
            where=matcher.card.name,
            do="give the --feature-dir of its training",
        )
    return choose_extractor(settings.model_copy(update={"stages": (), "trainable": False}))
