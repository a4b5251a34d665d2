"""The part of a matcher's report about its threshold: what was asked, what it does, and what others would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.reporting.html import Page
from imagematch.reporting.images import SplitView
from imagematch.reporting.notes import table_or_note
from imagematch.reporting.tables import rates_lines, threshold_table
from imagematch.reporting.tables.metrics import criterion_text, main_split
from imagematch.reporting.tables.thresholds import gallery_table
from imagematch.reporting.threshold_steps import (
    class_matrix,
    matrix_classes,
    matrix_html,
    steps_json,
    threshold_html,
    threshold_steps,
)
from imagematch.reporting.verdict import NamedConfusion

if TYPE_CHECKING:
    from imagematch.evaluation import Probability, Threshold

_PROBABILITY_METHODS = {"platt": "Platt's sigmoid", "isotonic": "an isotonic fit"}


def add_threshold(
    page: Page,
    metrics: Mapping[str, Any],
    threshold: Threshold,
    probability: Probability | None,
    test: SplitView | None,
    confused: Sequence[NamedConfusion],
) -> None:
    """The threshold, a slider to move it, class against class, galleries, and other thresholds."""
    split = main_split(metrics)
    block = metrics.get(split) or {}
    page.section("The threshold")
    page.text(threshold_text(threshold, split))
    for line in rates_lines(block, split):
        page.text(f"{line}.")
    if test is not None and len(test) > 1:
        _add_slider(page, test, threshold.distance, split, confused)
    if probability is not None:
        method = _PROBABILITY_METHODS[probability.method]
        page.text(
            f"Probabilities: {method}, fitted on the {threshold.chosen_on} split for a share of "
            f"{100 * probability.prior:g} % genuine pairs" + _calibration_errors(block.get("probability") or {}, split)
        )
    page.heading("In a gallery")
    page.text(
        "False matches of a search for an unenrolled class at the matcher's threshold, by the size of the gallery:"
    )
    page.table(table_or_note(lambda: gallery_table(block), "Galleries"))
    page.heading("At other thresholds")
    page.text(f"Only thresholds whose FAR the pairs of the {split} split resolve:")
    page.table(table_or_note(lambda: threshold_table(block), "Thresholds"))


def _add_slider(page: Page, test: SplitView, threshold: float, split: str, confused: Sequence[NamedConfusion]) -> None:
    from imagematch.evaluation import pair_distances

    steps = threshold_steps(test, pair_distances(test.embeddings, test.labels), threshold)
    page.html(threshold_html(steps, split))
    classes = matrix_classes(test, confused)
    shares = class_matrix(test, classes, steps.distances)
    page.threshold_steps(steps_json(steps, shares))
    if len(classes) > 1:
        page.heading("Class against class")
        few = len(np.unique(test.labels)) == len(classes)
        page.text(
            "The share of pairs that match, in per cent: on the diagonal those of one class (100 is right), beside it "
            f"those of two classes (0 is right). {'All classes.' if few else 'The classes that are confused most.'}"
        )
        page.html(matrix_html(test, classes, shares, steps.chosen))


def _calibration_errors(probability: Mapping[str, Any], split: str) -> str:
    found = [
        (probability.get("fitted_error"), "there"),
        (probability.get("calibration_error"), f"on the {split} split"),
    ]
    texts = [f"{error:.4f} {where}" for error, where in found if error is not None]
    return f"; calibration error {', '.join(texts)}." if texts else "."


def threshold_text(threshold: Threshold, split: str) -> str:
    """Where a match begins, what that was chosen on, and how far to trust metrics of a split at it."""
    text = (
        f"Two images match if their distance is under {threshold.distance:.4f}. The threshold was chosen by "
        f"{criterion_text(threshold.criterion)} on the {threshold.chosen_on} split"
    )
    return text + _trust_in(threshold.chosen_on, split)


def _trust_in(chosen_on: str, split: str) -> str:
    if chosen_on == split:
        return ", the very images measured here: the metrics at it are too good."
    if chosen_on == "calibration":
        return ", which selected nothing else and is not measured here."
    return ", which also selected the best epoch: it may be a little off for new images."
