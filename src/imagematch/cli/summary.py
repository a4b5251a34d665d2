"""What a finished run prints: the figures that matter, beside the baseline, and where everything is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imagematch.cli.options import own_command
from imagematch.evaluation import coverage_text
from imagematch.files import Layout
from imagematch.pipeline import FinishedStudy, TrainedMatcher
from imagematch.reporting import rates_lines, seen_text

_BESIDE = ("baseline", "refit")
_METRICS = (("ROC AUC", "roc_auc"), ("MAP@R", "map_at_r"), ("Recall@1", "recall_at_1"), ("EER", "eer"))


def matcher_outcome(trained: TrainedMatcher) -> tuple[dict[str, Any], list[str]]:
    """A matcher's figures and where it is: as JSON, and in lines."""
    report = trained.folder / "report.html"
    lines = [
        *metric_lines(trained.metrics),
        f"matcher  {trained.folder}",
        f"report   {report}",
        f"try      {own_command()} match --model {trained.folder} IMAGE IMAGE",
        f"serve    {own_command()} serve --model {trained.folder} --with-data",
    ]
    return {"matcher": trained.folder, "report": report, "metrics": trained.metrics}, lines


def study_outcome(finished: FinishedStudy, layout: Layout) -> tuple[dict[str, Any], list[str]]:
    """The same of a study and its winner."""
    study = finished.settings.experiment_name
    found, lines = matcher_outcome(finished.matcher)
    report = layout.study_dir(study) / "report.html"
    lines += [
        f"study    {report}",
        f"again    {own_command()} train --config {finished.best_config} --fresh",
    ]
    return {**found, "study": study, "study_report": report, "best_config": finished.best_config}, lines


def metric_lines(metrics: Mapping[str, Any]) -> list[str]:
    """The figures of a `metrics.json` in lines: each split, and the baseline; the last split's threshold is shown."""
    measured = [(name, block) for name, block in metrics.items() if name not in _BESIDE and block is not None]
    earlier = metrics["refit"]["before"] if "refit" in metrics else {}
    alone = dict(metrics["baseline"])
    whitened = alone.pop("whitened", {})
    rows = [*measured, *((f"before refit, {name}", block) for name, block in earlier.items())]
    rows += [(f"baseline, {name}", block) for name, block in alone.items()]
    rows += [(f"half-whitened, {name}", block) for name, block in whitened.items()]
    lines = [f"{'':22}" + "".join(f"{title:>10}" for title, _ in _METRICS) + "   95 % of AUC"]
    for name, figures in rows:
        if figures is not None:
            lines.append(
                f"{name:22}" + "".join(f"{four_digits(figures[key]):>10}" for _, key in _METRICS) + _interval(figures)
            )
    split, shown = measured[-1]
    threshold = shown["threshold"]
    chosen = f"{_criterion(threshold['criterion'])}, chosen on {threshold['chosen_on']}"
    lines.append(
        f"threshold {threshold['distance']:.4f} ({chosen}): "
        f"accuracy {four_digits(threshold['accuracy'])}, precision {four_digits(threshold['precision'])}, "
        f"recall {four_digits(threshold['recall'])}, F1 {four_digits(threshold['f1'])}"
    )
    lines += rates_lines(shown, split)
    if earlier:
        lines.append("the model was trained again on train and validation images: validation is of the model before")
    if split == "train":
        lines.append("these are the images that it was trained on: the figures say nothing about others")
    elif split != "validation" and (seen := seen_text(shown, split)):
        lines.append(f"{seen} (split by {shown['split_by']})")
    if not shown["ci95_trustworthy"]:
        few = f"{shown['classes']} classes: too few for the interval to be trusted (30 or more are enough)"
        lines += [line for line in (few, coverage_text(shown["classes"])) if line]
    return lines


def four_digits(value: float | None) -> str:
    """Four digits; "-" for what could not be computed."""
    return "-" if value is None else f"{value:.4f}"


def _interval(figures: Mapping[str, Any]) -> str:
    interval = figures.get("roc_auc_ci95")
    return "" if interval is None else f"   {interval[0]:.4f} to {interval[1]:.4f}"


def _criterion(criterion: Any) -> str:
    if isinstance(criterion, Mapping):
        return ", ".join(f"{name} {value}" for name, value in criterion.items())
    return str(criterion)
