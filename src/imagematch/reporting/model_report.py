"""The report of one trained matcher: what it reaches, beside its baseline, and where it is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from imagematch.learning_curves import History, best_epoch, learning_curves_svg
from imagematch.reporting.failures_report import add_failures, add_next_steps, weak_classes
from imagematch.reporting.html import Page, ReportCard
from imagematch.reporting.images import SplitView
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
from imagematch.reporting.suspects import (
    SUSPECTS_FILE,
    near_duplicates,
    suspect_labels,
    write_suspect_labels,
)
from imagematch.reporting.tables import (
    counts_text,
    metrics_table,
    warnings_of,
)
from imagematch.reporting.tables.metrics import (
    baseline_metrics,
    flat_metrics,
    interval,
    main_split,
    title_of,
)
from imagematch.reporting.threshold_report import add_threshold
from imagematch.reporting.threshold_steps import (
    named_confusions,
)
from imagematch.reporting.verdict import Findings, verdict

if TYPE_CHECKING:
    from imagematch.evaluation import PairDistances, Probability, Threshold

_CARDS = ("roc_auc", "map_at_r", "recall_at_1", "eer", "tar_at_far_0.001", "balanced_accuracy")
_PROJECTED_IMAGES = 800
_LISTED_CONFUSIONS = 12
_HISTORY_TERMS = (
    "Active: the share of the pairs or triplets of a batch that still add to the loss; near 0 there is nothing left to "
    "learn from. Spread: how far the embeddings of the validation images are from all lying on one point, where it is "
    "0; a training that collapses shows there first."
)
_TERMS = {
    "genuine / impostor pair": "two images of the same class / of different classes",
    "FAR, false accept rate": "the share of impostor pairs that match (also FMR, FPR)",
    "TAR, true accept rate": "the share of genuine pairs that match (also recall, TPR); FRR is 1 - TAR",
    "FPIR / FNIR": "the share of searches for unenrolled classes that return an image / of searches for enrolled "
    "classes that do not return one of theirs",
    "ROC AUC": "the chance that a genuine pair is closer than an impostor pair; 0.5 is guessing",
    "EER": "the error rate at the threshold where FAR and FRR are equal",
    "MAP@R, mAP, R-precision, Recall@K": "every image as a query among all others: how well its R like ones come first "
    "(among the first R; in the whole ranking), the share of them among the first R, whether one is among the first K",
    "baseline": "the frozen feature extractor alone, without a head, measured on the same images",
    "whitened baseline": "the same features, each component divided by the fourth root of its variance; no training",
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
    others: SplitView | None = None,
    study_report: str | None = None,
) -> None:
    """Writes the report of a matcher: one HTML file that needs nothing else, and `suspect_labels.csv` beside it.

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
        others: images outside of that split, with the frozen extractor's features: for their labels, and duplicates.
        study_report: where the report of the study is that this matcher won, relative to `path`.

    Raises:
        StudyError: a file cannot be written.
    """
    distance = threshold.distance
    suspects = suspect_labels([view for view in (test, others) if view is not None and len(view)])
    confused = named_confusions(test, distance, _LISTED_CONFUSIONS) if test is not None else []
    page = Page(name, "image matcher")
    page.lead(verdict(metrics, confused))
    for line in warnings_of(metrics):
        page.warning(line)
    _add_metrics(page, metrics)
    add_threshold(page, metrics, threshold, probability, test, confused)
    if test is None:
        page.section("Pairs")
        page.plot(Note("There is no test split, so no pairs, classes or images are shown."))
    else:
        _add_pairs(page, main_split(metrics), test, baseline, distance, probability)
        add_failures(page, test, distance, confused)
    _add_setting(page, config, study_report)
    findings = Findings(confused, weak_classes(test, distance), len(suspects), near_duplicates(baseline, others))
    add_next_steps(page, metrics, findings, suspects)
    if test is not None:
        _add_projections(page, test, baseline)
    _add_training(page, history, config)
    page.section("Glossary")
    page.terms(_TERMS)
    write_suspect_labels(path.parent / SUSPECTS_FILE, suspects)
    page.write(path)


def _add_metrics(page: Page, metrics: Mapping[str, Any]) -> None:
    """The metrics that matter as cards, then every metric beside the baselines'."""
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
    page.section("How good it is", counts_text(metrics))
    if cards:
        page.cards(cards)
    if reference:
        page.text("Baseline: the frozen feature extractor alone, without a head, on the same images.")
    page.heading("All metrics")
    page.table(table_or_note(lambda: metrics_table(metrics), "Metrics"))


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


def _add_setting(page: Page, config: str, study_report: str | None) -> None:
    page.section("Which setting mattered")
    if study_report is None:
        page.text("One configuration was trained, so nothing says which setting mattered: hpt.py searches them.")
    else:
        page.text("This configuration won a study, whose report compares the settings.")
        page.link("The report of the study", study_report)
    page.heading("Configuration")
    page.text("Saved as config.yaml; train.py runs it as it is.")
    page.code(config)


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
        page.text(_HISTORY_TERMS)
    else:
        page.plot(Note("The training's history was not saved."))


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
