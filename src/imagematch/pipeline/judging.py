"""From a finished training to its threshold, its probability and its figures on every split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from imagematch.config import TrainSettings
from imagematch.data import Dataset
from imagematch.evaluation import (
    Probability,
    Threshold,
    choose_threshold,
    fit_probability,
    pair_distances,
    split_figures,
)
from imagematch.reporting import SplitView

_PICTURE_SIDE = 96

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
    """Chooses the threshold and fits the probability on the calibration split (validation where that is empty).

    Raises:
        DataError: the split has no genuine or no impostor pair.
    """
    split = "calibration" if len(dataset.rows("calibration")) else "validation"
    rows = dataset.rows(split)
    pairs = pair_distances(embed(rows), dataset.labels[rows])
    return Calibration(choose_threshold(pairs, criterion, chosen_on=split), fit_probability(pairs))


def figures_of(embed: Embed, dataset: Dataset, split: str, threshold: Threshold) -> dict[str, Any] | None:
    """The figures of one split, as `metrics.json` has them; None where the split is empty."""
    rows = dataset.rows(split)
    if not len(rows):
        return None
    figures = split_figures(embed(rows), dataset.labels[rows], threshold=threshold, split_by=dataset.split_by)
    trained = dataset.labels[dataset.rows("train")]
    return {**figures, "shared_classes": bool(np.isin(dataset.labels[rows], trained).any())}


def judge(
    embed: Embed, baseline: Embed, dataset: Dataset, settings: TrainSettings
) -> tuple[Calibration, dict[str, Any]]:
    """Calibrates, and gives the contents of `metrics.json`: both splits, and the frozen extractor alone on test."""
    calibration = calibrate(embed, dataset, settings.threshold)
    reference = calibrate(baseline, dataset, settings.threshold)
    return calibration, {
        "validation": figures_of(embed, dataset, "validation", calibration.threshold),
        "test": figures_of(embed, dataset, "test", calibration.threshold),
        "baseline": {"test": figures_of(baseline, dataset, "test", reference.threshold)},
    }


def split_view(dataset: Dataset, split: str, embed: Embed) -> SplitView | None:
    """A split as a report shows it; None where it is empty."""
    rows = dataset.rows(split)
    if not len(rows):
        return None
    return SplitView(
        embeddings=embed(rows),
        labels=dataset.labels[rows],
        class_names=dataset.titles or dataset.class_names,
        paths=dataset.paths[rows],
        picture=lambda place: dataset.picture(int(rows[place]), _PICTURE_SIDE),
    )
