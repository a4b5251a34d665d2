"""From a finished training to its threshold, its probability and its metrics on every split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from imagematch.config import TrainSettings
from imagematch.data import Dataset
from imagematch.evaluation import (
    Probability,
    Threshold,
    calibrated_threshold,
    fit_probability,
    pair_distances,
    split_metrics,
)
from imagematch.events import SILENT, RunLog
from imagematch.reporting import SplitView

_THUMBNAIL_SIDE = 96
_MOST_OTHERS = 10_000

RANKED_WHOLE = 10_000
"""Of up to so many images the mAP is measured too: it needs every row sorted to its end (10,000: 6 s more, 2 cores)."""

Embed = Callable[[np.ndarray], np.ndarray]
"""Data-set rows -> their embeddings, on the unit sphere."""


@dataclass(frozen=True)
class Calibration:
    """What was chosen on pairs that selected nothing else.

    Attributes:
        threshold: where a match begins, and the split it was chosen on.
        probability: distance -> probability.
    """

    threshold: Threshold
    probability: Probability


def calibrate(embed: Embed, dataset: Dataset, criterion: str | Mapping[str, Any]) -> Calibration:
    """Chooses the threshold and fits the probability on the calibration split.

    Where that is too small for what the criterion asks for, the rest of validation is added, on which epochs were
    compared already.

    Raises:
        DataError: there is no genuine or no impostor pair, even so.
    """
    calibration, validation = dataset.rows("calibration"), dataset.rows("validation")
    both = np.sort(np.concatenate([calibration, validation]))
    attempts = [("calibration", calibration), ("calibration and validation", both)]
    if not len(calibration):
        attempts = [("validation", both)]
    elif not len(validation):
        attempts = attempts[:1]
    chosen = None
    for split, rows in attempts:
        embeddings, labels = embed(rows), dataset.labels[rows]
        pairs = pair_distances(embeddings, labels)
        if split != attempts[-1][0] and not (pairs.genuine.count and pairs.impostor.count):
            continue
        threshold = calibrated_threshold(embeddings, labels, criterion, chosen_on=split, pairs=pairs)
        chosen = Calibration(threshold, fit_probability(pairs))
        if threshold.rates is not None and threshold.rates.resolvable:
            break
    assert chosen is not None, "the last attempt is never passed over"
    return chosen


def measure_split(
    embed: Embed,
    dataset: Dataset,
    split: str,
    threshold: Threshold | None,
    probability: Probability | None,
    remarks: Sequence[str] = (),
    trained: np.ndarray | None = None,
) -> dict[str, Any] | None:
    """The metrics of one split, as `metrics.json` has them; None where the split is empty.

    Args:
        embed: gives the embeddings.
        dataset: whose split it is.
        split: its name.
        threshold: chosen elsewhere, applied here; None: no metrics at a threshold.
        probability: likewise.
        remarks: what a reader must know before believing the metrics; stored with them.
        trained: (k,) labels of the classes that were trained on; None: those of the training split.
    """
    rows = dataset.rows(split)
    if not len(rows):
        return None
    metrics = split_metrics(
        embed(rows),
        dataset.labels[rows],
        threshold=threshold,
        probability=probability,
        split_by=dataset.split_by,
        whole_ranking=len(rows) <= RANKED_WHOLE,
    )
    trained = dataset.labels[dataset.rows("train")] if trained is None else trained
    labels = dataset.labels[rows]
    seen = np.isin(labels, trained)
    seen_in_training = {"classes": len(np.unique(labels[seen])), "images": int(seen.sum())}
    near = dataset.near_training.get(split)
    notes = [*dataset.remarks(split), *remarks]
    shared = {"shared_classes": bool(seen.any()), "seen_in_training": seen_in_training}
    return {**metrics, **shared, "near_duplicates_in_training": near, "remarks": notes}


def calibrate_and_measure(
    embed: Embed,
    baseline: Embed,
    whitened: Embed | None,
    dataset: Dataset,
    settings: TrainSettings,
    log: RunLog = SILENT,
) -> tuple[Calibration, dict[str, Any]]:
    """Calibrates, and gives the contents of `metrics.json`: both splits, and the baselines.

    Args:
        embed: gives the matcher's embeddings.
        baseline: the frozen extractor's features alone.
        whitened: its half-whitened features alone; None where there are none.
        dataset: the images.
        settings: of the training.
        log: shown how far it is.
    """
    with log.progress("measurements", 5) as advance:
        chosen = calibrate(embed, dataset, settings.threshold)
        metrics: dict[str, Any] = {}
        for split in ("validation", "test"):
            advance()
            metrics[split] = measure_split(embed, dataset, split, chosen.threshold, chosen.probability)
        split = "validation" if metrics["test"] is None else "test"
        advance()
        metrics["baseline"] = measure_without_head(baseline, whitened, dataset, split, settings.threshold, advance)
    return chosen, metrics


def measure_without_head(
    baseline: Embed,
    whitened: Embed | None,
    dataset: Dataset,
    split: str,
    criterion: str | Mapping[str, Any],
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """What `metrics.json` has as `baseline`, on one split: features alone, and half-whitened features alone.

    Args:
        baseline, whitened, dataset: as `calibrate_and_measure`.
        split: its name.
        criterion: by which each baseline's own threshold is chosen.
        advance: called after each of the two.
    """

    def alone(embed: Embed | None) -> dict[str, Any]:
        if embed is None:
            return {"test": None}
        threshold, probability = None, None
        if len(dataset.rows("calibration")) + len(dataset.rows("validation")):
            own = calibrate(embed, dataset, criterion)
            threshold, probability = own.threshold, own.probability
        metrics = measure_split(embed, dataset, split, threshold, probability)
        advance()
        return {"test": None, split: metrics}

    return {**alone(baseline), "whitened": alone(whitened)}


def split_view(dataset: Dataset, split: str, embed: Embed) -> SplitView | None:
    """A split as a report shows it; None where it is empty."""
    return _view(dataset, dataset.rows(split), embed)


def other_images(dataset: Dataset, split: str, baseline: Embed) -> SplitView | None:
    """Images outside of a split with the frozen extractor's features, 10,000 at most; None where there are none."""
    outside = np.setdiff1d(np.arange(len(dataset.paths)), dataset.rows(split))
    if len(outside) > _MOST_OTHERS:
        outside = np.sort(np.random.default_rng(0).choice(outside, _MOST_OTHERS, replace=False))
    return _view(dataset, outside, baseline)


def _view(dataset: Dataset, rows: np.ndarray, embed: Embed) -> SplitView | None:
    if not len(rows):
        return None
    return SplitView(
        embeddings=embed(rows),
        labels=dataset.labels[rows],
        class_names=dataset.titles or dataset.class_names,
        paths=dataset.paths[rows],
        image=lambda row: dataset.pixels(int(rows[row]), _THUMBNAIL_SIDE),
        label_names=dataset.class_names,
    )
