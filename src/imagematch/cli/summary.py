"""What a finished run prints: the figures that matter, beside the baseline, and where everything is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imagematch.files import Layout
from imagematch.pipeline import FinishedStudy, TrainedMatcher

_FIGURES = (("ROC AUC", "roc_auc"), ("MAP@R", "map_at_r"), ("Recall@1", "recall_at_1"), ("EER", "eer"))


def print_matcher_summary(trained: TrainedMatcher) -> None:
    """Prints a matcher's figures and where it is."""
    for line in figure_lines(trained.metrics):
        print(line)
    folder = trained.folder
    print(f"matcher  {folder}")
    print(f"report   {folder / 'report.html'}")
    print(f"try      imagematch match --model {folder} IMAGE IMAGE")


def print_study_summary(finished: FinishedStudy, layout: Layout) -> None:
    """Prints what a study came to."""
    study = finished.settings.experiment_name
    print_matcher_summary(finished.matcher)
    print(f"study    {layout.study_dir(study) / 'report.html'}")
    print(f"again    python train.py --config {finished.best_config}")


def figure_lines(metrics: Mapping[str, Any]) -> list[str]:
    """The figures of a `metrics.json` in lines: each split, and the baseline."""
    rows = [
        ("validation", metrics["validation"]),
        ("test", metrics["test"]),
        ("baseline, test", metrics["baseline"]["test"]),
    ]
    lines = [f"{'':16}" + "".join(f"{title:>10}" for title, _ in _FIGURES) + "   95 % of AUC"]
    for name, figures in rows:
        if figures is not None:
            lines.append(
                f"{name:16}" + "".join(f"{_number(figures[key]):>10}" for _, key in _FIGURES) + _interval(figures)
            )
    shown = metrics["test"] or metrics["validation"]
    threshold = shown["threshold"]
    chosen = f"{_criterion(threshold['criterion'])}, chosen on {threshold['chosen_on']}"
    lines.append(
        f"threshold {threshold['distance']:.4f} ({chosen}): "
        f"accuracy {_number(threshold['accuracy'])}, precision {_number(threshold['precision'])}, "
        f"recall {_number(threshold['recall'])}, F1 {_number(threshold['f1'])}"
    )
    if metrics["test"] is not None and metrics["test"]["shared_classes"]:
        lines.append(f"the test images are of classes seen in training (split by {metrics['test']['split_by']})")
    if not shown["ci95_trustworthy"]:
        lines.append(f"{shown['classes']} classes are too few to trust the interval (30 or more are)")
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _interval(figures: Mapping[str, Any]) -> str:
    interval = figures.get("roc_auc_ci95")
    return "" if interval is None else f"   {interval[0]:.4f} to {interval[1]:.4f}"


def _criterion(criterion: Any) -> str:
    if isinstance(criterion, Mapping):
        return ", ".join(f"{name} {value}" for name, value in criterion.items())
    return str(criterion)
