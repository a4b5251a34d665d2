"""What a threshold does, at many thresholds: the numbers behind the slider of a report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from imagematch.errors import DataError
from imagematch.evaluation import PairDistances, confused_classes, open_set_searches, roc_curve
from imagematch.reporting.html import render
from imagematch.reporting.images import SplitView
from imagematch.reporting.verdict import NamedConfusion

STEPS = 150
_MOST_CLASSES = 10
_IMAGES_OF_A_CLASS = 200
_LARGEST_DISTANCE = 2.0


@dataclass(frozen=True, eq=False)
class ThresholdSteps:
    """Counts and rates of a split at thresholds, ascending.

    Attributes:
        distances: (steps,) float64.
        chosen: which of them is the matcher's own.
        genuine, impostor: how many pairs there are.
        tp, fp: (steps,) int64, genuine and impostor pairs that match.
        fpir, fnir: (steps,) float64, NaN where there are no such searches.
    """

    distances: np.ndarray
    chosen: int
    genuine: int
    impostor: int
    tp: np.ndarray
    fp: np.ndarray
    fpir: np.ndarray
    fnir: np.ndarray


def threshold_steps(view: SplitView, pairs: PairDistances, threshold: float) -> ThresholdSteps:
    """The split at about 150 thresholds, spread over its distances, and at the matcher's own."""
    try:
        spread = roc_curve(pairs, STEPS).distance
    except DataError:  # pairs of one kind only
        spread = np.linspace(0, _LARGEST_DISTANCE, STEPS)
    distances = np.union1d(spread, [threshold])
    searches = open_set_searches(view.embeddings, view.labels, threshold)
    rates = [(searches.false_positive(one), searches.false_negative(threshold=one)) for one in distances.tolist()]
    fpir, fnir = (np.array([np.nan if not len(one[k]) else one[k].mean() for one in rates]) for k in (0, 1))
    return ThresholdSteps(
        distances,
        int(np.searchsorted(distances, threshold)),
        pairs.genuine.count,
        pairs.impostor.count,
        np.asarray(pairs.genuine.below(distances), dtype=np.int64),
        np.asarray(pairs.impostor.below(distances), dtype=np.int64),
        fpir,
        fnir,
    )


def named_confusions(view: SplitView, threshold: float, count: int = 20) -> list[NamedConfusion]:
    """The pairs of classes with the most false matches, by name."""
    return [
        NamedConfusion(
            str(view.class_names[one.first]),
            str(view.class_names[one.second]),
            one.matches,
            one.pairs,
            (one.first, one.second),
        )
        for one in confused_classes(view.embeddings, view.labels, threshold, count)
    ]


def matrix_classes(view: SplitView, confused: Sequence[NamedConfusion]) -> list[int]:
    """The labels that are shown class against class: those that are confused most; all where there are ten or fewer."""
    present = np.unique(view.labels)
    if len(present) <= _MOST_CLASSES:
        return [int(label) for label in present]
    chosen: list[int] = []
    for one in confused:
        chosen += [label for label in one.labels if label not in chosen]
    rest = [int(label) for label in present if label not in chosen]
    return sorted([*chosen, *rest][:_MOST_CLASSES])


def class_matrix(view: SplitView, classes: Sequence[int], distances: np.ndarray) -> dict[tuple[int, int], list[float]]:
    """The share of pairs that match, of each two classes (and of each with itself), at each threshold.

    Of a class at most 200 images count. A class with one image has no pair with itself, and no entry.

    Returns:
        (position, position of the same class or a later one) -> shares.
    """
    labels, shares = np.asarray(view.labels), {}
    rows = [np.flatnonzero(labels == label)[:_IMAGES_OF_A_CLASS] for label in classes]
    vectors = [np.asarray(view.embeddings, dtype=np.float32)[one] for one in rows]
    limits = np.asarray(distances, dtype=np.float32)
    for a, first in enumerate(vectors):
        for b in range(a, len(vectors)):
            found = np.sqrt(np.maximum(2 - 2 * first @ vectors[b].T, 0))
            values = np.sort(found[np.triu_indices(len(found), 1)] if a == b else found.ravel())
            if len(values):
                shares[a, b] = (np.searchsorted(values, limits, side="left") / len(values)).round(4).tolist()
    return shares


def threshold_html(steps: ThresholdSteps, split: str) -> Markup:
    """The slider with counts and rates; without a script they stand at the matcher's own threshold."""
    step = steps.chosen
    tp, fp = int(steps.tp[step]), int(steps.fp[step])
    counts = {"tp": tp, "fn": steps.genuine - tp, "fp": fp, "tn": steps.impostor - fp}
    return render("threshold.html.j2", steps=len(steps.distances), step=step, split=split, **_texts(steps), **counts)


def _texts(steps: ThresholdSteps) -> Mapping[str, Any]:
    step = steps.chosen
    tp, fp = int(steps.tp[step]), int(steps.fp[step])
    far = fp / steps.impostor if steps.impostor else None
    frr = 1 - tp / steps.genuine if steps.genuine else None
    rates = {
        "far": far,
        "frr": frr,
        "fpir": float(steps.fpir[step]),
        "fnir": float(steps.fnir[step]),
        "precision": tp / (tp + fp) if tp + fp else None,
        "balanced": 1 - (far + frr) / 2 if far is not None and frr is not None else None,
    }
    shown = {name: "–" if rate is None or rate != rate else f"{rate:.3g}" for name, rate in rates.items()}
    return {"distance": f"{steps.distances[step]:.4f}", "rates": shown}


def matrix_html(
    view: SplitView, classes: Sequence[int], shares: Mapping[tuple[int, int], list[float]], step: int
) -> Markup:
    """Class against class: the share of pairs that match at a threshold, in per cent."""
    cells = [[shares.get((min(a, b), max(a, b))) for b in range(len(classes))] for a in range(len(classes))]
    return render(
        "matrix.html.j2",
        names=[str(view.class_names[label]) for label in classes],
        rows=[[None if cell is None else cell[step] for cell in row] for row in cells],
    )


def confusion_html(view: SplitView, threshold: float) -> Markup:
    """Class against class at a threshold: the share of pairs that match, in per cent, in HTML without any script."""
    classes = matrix_classes(view, named_confusions(view, threshold))
    return matrix_html(view, classes, class_matrix(view, classes, np.array([threshold])), 0)


def steps_json(steps: ThresholdSteps, shares: Mapping[tuple[int, int], list[float]]) -> Markup:
    """The numbers as the page's script reads them, without any user text."""
    values = {
        "distances": [float(f"{value:.7g}") for value in steps.distances.tolist()],
        "chosen": steps.chosen,
        "genuine": steps.genuine,
        "impostor": steps.impostor,
        "tp": steps.tp.tolist(),
        "fp": steps.fp.tolist(),
        **{
            name: [None if value != value else round(value, 6) for value in getattr(steps, name).tolist()]
            for name in ("fpir", "fnir")
        },
        "per_mille": {f"{a}-{b}": [round(1000 * share) for share in of_cell] for (a, b), of_cell in shares.items()},
    }
    return Markup(json.dumps(values, separators=(",", ":"), allow_nan=False))  # noqa: S704
