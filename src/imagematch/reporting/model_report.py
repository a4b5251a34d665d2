"""The report of one trained matcher: what it reaches, beside its baseline, and where it is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from imagematch.learning_curves import History, best_epoch, learning_curves_svg
from imagematch.reporting.html import Page, ReportCard
from imagematch.reporting.images import SplitView
from imagematch.reporting.mistakes import pairs_html, worst_false_matches, worst_false_non_matches
from imagematch.reporting.notes import Note, plot_or_note, table_or_note
from imagematch.reporting.numbers import count_text, number_text
from imagematch.reporting.plots import (
    det_plot,
    histogram_plot,
    projection_plot,
    reliability_plot,
    roc_plot,
)
from imagematch.reporting.plots.projection import ProjectionMethod
from imagematch.reporting.tables import (
    counts_text,
    metrics_table,
    rates_lines,
    threshold_table,
    warnings_of,
    worst_and_best_classes,
)
from imagematch.reporting.tables.metrics import (
    baseline_metrics,
    criterion_text,
    flat_metrics,
    gallery_table,
    interval,
    main_split,
    title_of,
)

if TYPE_CHECKING:
    from imagematch.evaluation import PairDistances, Probability, Threshold

_CARDS = ("roc_auc", "map_at_r", "recall_at_1", "eer", "tar_at_far_0.001", "balanced_accuracy")
_PROJECTED_IMAGES = 800
_PROBABILITY_METHODS = {"platt": "Platt's sigmoid", "isotonic": "an isotonic fit"}
_TERMS = {
    "genuine / impostor pair": "two images of the same class / of different classes",
    "FAR, false accept rate": "the share of impostor pairs that match (also FMR, FPR)",
    "TAR, true accept rate": "the share of genuine pairs that match (also recall, TPR); FRR is 1 - TAR",
    "ROC AUC": "the chance that a genuine pair is closer than an impostor pair; 0.5 is guessing",
    "EER": "the error rate at the threshold where FAR and FRR are equal",
    "MAP@R, mAP, R-precision, Recall@K": "every image as a query among all others: how well its R like ones come first "
    "(among the first R; in the whole ranking), the share of them among the first R, whether one is among the first K",
    "baseline": "the frozen feature extractor alone, without a head, measured on the same images",
    "95 % interval": "over the choice of classes, since pairs that share a class are not independent",
}


def write_model_report(
    path: Path,
    *,
    name: str,
    config: str,
    metrics: Mapping[str, Any],
    history: History,
    test: SplitView | None,
    baseline: SplitView | None,
    threshold: Threshold,
    probability: Probability | None = None,
) -> None:
    """Writes the report of a matcher: one HTML file that needs nothing else.

    Args:
        path: the file.
        name: the experiment.
        config: the train file that reproduces it.
        metrics: the contents of `metrics.json`.
        history: the training's epochs; empty where they were not saved.
        test: the test split with the matcher's embeddings; None leaves out what needs images.
        baseline: the same images with the frozen extractor's features as embeddings.
        threshold: under it two images match.
        probability: distance -> probability, fitted on the split that the threshold was chosen on.

    Raises:
        StudyError: the file cannot be written.
    """
    page = Page(name, "image matcher")
    add_summary(page, metrics)
    _add_threshold(page, metrics, threshold, probability)
    page.section("All metrics", counts_text(metrics))
    page.table(table_or_note(lambda: metrics_table(metrics), "Metrics"))
    if test is None:
        page.section("Pairs")
        page.plot(Note("There is no test split, so no pairs, classes or images are shown."))
    else:
        _add_pairs(page, main_split(metrics), test, baseline, threshold.distance, probability)
        _add_classes(page, test, threshold.distance)
        _add_mistakes(page, test, threshold.distance)
        _add_projections(page, test, baseline)
    _add_training(page, history, config)
    page.section("Glossary")
    page.terms(_TERMS)
    page.write(path)


def add_summary(page: Page, metrics: Mapping[str, Any]) -> None:
    """The metrics that matter, with intervals, beside the baseline's, and the warnings."""
    split = main_split(metrics)
    block, reference = metrics.get(split), baseline_metrics(metrics)
    model, base = flat_metrics(block), flat_metrics(reference)
    cards = []
    for name in _CARDS:
        value = model.get(name)
        if value is None:
            continue
        below = []
        if (ends := interval(block, name)) is not None:
            below.append(f"95 %: {ends[0]:.4f} to {ends[1]:.4f}")
        if base.get(name) is not None:
            below.append(f"baseline {number_text(base[name])}")
        cards.append(ReportCard(title_of(name).replace(" at the threshold", ""), number_text(value), tuple(below)))
    if cards:
        page.cards(cards)
    page.text(counts_text(metrics))
    if reference:
        page.text("Baseline: the frozen feature extractor alone, without a head, on the same images.")
    for line in warnings_of(metrics):
        page.warning(line)


def _add_threshold(
    page: Page, metrics: Mapping[str, Any], threshold: Threshold, probability: Probability | None
) -> None:
    split = main_split(metrics)
    block = metrics.get(split) or {}
    page.section("The threshold")
    page.text(threshold_text(threshold, split))
    for line in rates_lines(block, split):
        page.text(f"{line}.")
    confusion = (block.get("threshold") or {}).get("confusion")
    if confusion:
        page.text(
            f"On the {split} split {int(confusion['tp']):,} genuine pairs match and {int(confusion['fn']):,} are "
            f"missed; {int(confusion['fp']):,} impostor pairs match by mistake and {int(confusion['tn']):,} do not "
            "match."
        )
    if probability is not None:
        method = _PROBABILITY_METHODS[probability.method]
        page.text(
            f"Probabilities: {method}, fitted on the {threshold.chosen_on} split for a share of "
            f"{100 * probability.prior:g} % genuine pairs" + _calibration_errors(block.get("probability") or {}, split)
        )
    page.heading("In a gallery")
    page.text("What a search of somebody not enrolled meets at this threshold, by the size of the gallery:")
    page.table(table_or_note(lambda: gallery_table(block), "Galleries"))
    page.heading("At other thresholds")
    page.text(f"Only thresholds whose FAR the pairs of the {split} split resolve:")
    page.table(table_or_note(lambda: threshold_table(block), "Thresholds"))


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


def _add_pairs(
    page: Page,
    split: str,
    test: SplitView,
    baseline: SplitView | None,
    threshold: float,
    probability: Probability | None,
) -> None:
    from imagematch.evaluation import pair_distances

    page.section("Genuine and impostor pairs")
    pairs = pair_distances(test.embeddings, test.labels)
    curves: dict[str, PairDistances] = {"this matcher": pairs}
    if baseline is not None:
        curves["baseline"] = pair_distances(baseline.embeddings, baseline.labels)
    page.plot(
        plot_or_note(lambda: histogram_plot(pairs, threshold), "Distances"),
        f"Distances of all pairs of the {split} split; left of the line is a match.",
    )
    page.plots(
        [
            (plot_or_note(lambda: roc_plot(curves, threshold), "ROC"), "ROC: up and to the left is better."),
            (plot_or_note(lambda: det_plot(curves, threshold), "DET"), "DET: down and to the left is better."),
        ]
    )
    if probability is not None:
        page.plot(
            plot_or_note(lambda: reliability_plot(probability, pairs), "Reliability"),
            f"How often pairs are genuine where a probability is claimed, on the {split} split at the probability's "
            "prior; on the diagonal the claims hold.",
        )


def _add_classes(page: Page, test: SplitView, threshold: float) -> None:
    page.section("Classes", "Each class at the threshold: its own pairs that match, and its pairs with others that do.")
    worst, best = worst_and_best_classes(test, threshold)
    for title, frame in (("Worst", worst), ("Best", best)):
        page.heading(title)
        page.table(table_or_note(lambda frame=frame: frame, "Classes with two images or more"))  # type: ignore[misc]


def _add_mistakes(page: Page, test: SplitView, threshold: float) -> None:
    page.section(
        "Where it is most wrong",
        f"The worst first, with the decision at the threshold of {threshold:.4f}. Each image is shown once at most.",
    )
    page.heading("Different classes, yet close")
    page.html(pairs_html(test, worst_false_matches(test), threshold))
    page.heading("The same class, yet far apart")
    page.html(pairs_html(test, worst_false_non_matches(test), threshold))


def _add_projections(page: Page, test: SplitView, baseline: SplitView | None) -> None:
    page.section("The embedding in two dimensions", "Coloured by class; point at an image to see its class and file.")
    views = [("this matcher", test)] if baseline is None else [("this matcher", test), ("baseline", baseline)]
    for title, method in (("t-SNE", "tsne"), ("PCA", "pca")):
        page.heading(title)
        page.plots([(_projection(view, method), f"{title} of {name}.") for name, view in views])


def _projection(view: SplitView, method: str) -> Any:
    kind: ProjectionMethod = "tsne" if method == "tsne" else "pca"
    return plot_or_note(lambda: projection_plot(view, kind, at_most=_PROJECTED_IMAGES), method)


def _add_training(page: Page, history: History, config: str) -> None:
    page.section("Training")
    if history:
        objective = objective_of(config, history)
        best = best_epoch(history, objective)
        of_best = f"; the weights are those of epoch {best}, the best by {objective}" if best is not None else ""
        page.text(f"{count_text(len(history), 'epoch')}{of_best}. The dotted line is the best epoch.")
        page.svg(Markup(learning_curves_svg(history, objective, embedded=True)))  # noqa: S704
    else:
        page.plot(Note("The training's history was not saved."))
    page.heading("Configuration")
    page.text("Saved as config.yaml; train.py runs it as it is.")
    page.code(config)


def objective_of(config: str, history: History) -> str:
    """The objective that a train file names, if the history has it; else the default."""
    from imagematch.config import DEFAULTS, parse_yaml
    from imagematch.errors import ConfigError

    default = str(DEFAULTS["objective"])
    try:
        named = str(parse_yaml(config, where="config.yaml").values.get("objective", default))
    except ConfigError:  # a file that somebody has edited is shown as it is
        return default
    return named if any(named in record for record in history) else default
