"""The contents of `metrics.json` as tables and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from imagematch.config import direction_of
from imagematch.errors import ConfigError
from imagematch.evaluation import TRUSTED_CLASSES, coverage_text
from imagematch.reporting.numbers import interval_text, number_text

if TYPE_CHECKING:
    import pandas as pd

SplitMetrics = Mapping[str, Any]
"""The metrics of one split, as `metrics.json` has them."""

TITLES = {
    "roc_auc": "ROC AUC",
    "eer": "equal error rate (EER)",
    "average_precision": "average precision of pairs",
    "map_at_r": "MAP@R",
    "r_precision": "R-precision",
    "mean_average_precision": "mAP",
    "balanced_accuracy": "balanced accuracy at the threshold",
    "accuracy": "accuracy at the threshold",
    "precision": "precision at the threshold",
    "recall": "recall at the threshold",
    "f1": "F1 at the threshold",
}

_SPLITS = ("test", "validation", "calibration", "train")
_BELOW = "below resolution"
_PLAIN = ("roc_auc", "eer", "average_precision", "map_at_r", "mean_average_precision", "r_precision")
_AT_THRESHOLD = ("balanced_accuracy", "accuracy", "precision", "recall", "f1")


def title_of(name: str) -> str:
    """A metric's name for people."""
    if name.startswith("recall_at_"):
        return f"Recall@{name.removeprefix('recall_at_')}"
    if name.startswith("tar_at_far_"):
        return f"TAR at FAR {name.removeprefix('tar_at_far_')}"
    return TITLES.get(name, name)


def flat_metrics(block: SplitMetrics | None) -> dict[str, float | None]:
    """The metrics of one split by flat name, in the order of the report; nested ones as `tar_at_far_0.001`."""
    if not block:
        return {}
    flat: dict[str, float | None] = {name: block.get(name) for name in _PLAIN}
    recalls = block.get("recall_at_k") or {"1": block.get("recall_at_1")}
    flat |= {f"recall_at_{k}": value for k, value in recalls.items()}
    flat |= {f"tar_at_far_{far}": tar for far, tar in (block.get("tar_at_far") or {}).items()}
    threshold = block.get("threshold") or {}
    return flat | {name: threshold.get(name) for name in _AT_THRESHOLD}


def interval(block: SplitMetrics | None, name: str) -> tuple[float, float] | None:
    """The 95 % interval of a metric, by its flat name; None where it was not computed."""
    if not block:
        return None
    ends = (block.get("ci95") or {}).get(name) or (block.get("roc_auc_ci95") if name == "roc_auc" else None)
    return None if ends is None else (float(ends[0]), float(ends[1]))


def _better(name: str) -> str:
    try:
        return "lower" if direction_of(name) == "minimize" else "higher"
    except ConfigError:
        return "higher"


def main_split(metrics: Mapping[str, Any]) -> str:
    """The split that a report speaks of: "test" if it has metrics, else the first one that has."""
    return next((name for name in _SPLITS if metrics.get(name)), "validation")


def baseline_metrics(metrics: Mapping[str, Any]) -> SplitMetrics | None:
    """The metrics of the frozen extractor alone, on the split that the report speaks of."""
    blocks = metrics.get("baseline") or {}
    return blocks.get(main_split(metrics)) if isinstance(blocks, Mapping) else None


def whitened_metrics(metrics: Mapping[str, Any]) -> SplitMetrics | None:
    """The metrics of the half-whitened features alone, on the same split; None where they were not measured."""
    blocks = (metrics.get("baseline") or {}).get("whitened")
    return blocks.get(main_split(metrics)) if isinstance(blocks, Mapping) else None


def metrics_table(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Every metric of the model beside the baseline's, each with its 95 % interval; what was not computed is left out.

    Args:
        metrics: the contents of `metrics.json`.
    """
    import pandas as pd

    split = main_split(metrics)
    model, baseline, whitened = metrics.get(split), baseline_metrics(metrics), whitened_metrics(metrics)
    validation = metrics.get("validation") if split == "test" else None
    columns = [_shown_metrics(block) for block in (model, baseline, validation, whitened)]
    rows = []
    for name in dict.fromkeys(name for column in columns for name in column):
        values = [column.get(name) for column in columns]
        if all(value in (None, _BELOW) for value in values):
            continue
        rows.append(
            {
                "metric": title_of(name),
                "better": _better(name),
                f"{split}": number_text(values[0]),
                "95 % interval": interval_text(interval(model, name)),
                "baseline": number_text(values[1]),
                "baseline 95 % interval": interval_text(interval(baseline, name)),
                **({"whitened baseline": number_text(values[3])} if whitened else {}),
                **({"validation": number_text(values[2])} if validation else {}),
            }
        )
    return pd.DataFrame(rows)


def _shown_metrics(block: SplitMetrics | None) -> dict[str, float | str | None]:
    below = {f"tar_at_far_{far}" for far in (block or {}).get("tar_at_far_below_resolution") or []}
    return {name: _BELOW if name in below else value for name, value in flat_metrics(block).items()}


def criterion_text(criterion: Any) -> str:
    """A threshold's criterion in words."""
    if isinstance(criterion, Mapping):
        return ", ".join(f"{name} {value}" for name, value in criterion.items())
    return str(criterion).replace("_", " ")


def warnings_of(metrics: Mapping[str, Any]) -> list[str]:
    """Warnings that a reader of the metrics needs; empty where nothing is wrong."""
    split = main_split(metrics)
    block = metrics.get(split) or {}
    lines = list(block.get("remarks") or [])
    if split == "train":
        lines.append("These are the images that this matcher was trained on: the metrics say nothing about others.")
    elif split != "test":
        lines.append(f"These are no metrics of a test split: the {split} images were used to make this matcher.")
    if split != "train" and (seen := seen_text(block, split)):
        lines.append(
            f"{seen} (split_by: {block.get('split_by')}). The metrics hold for new images of these classes, not for "
            "new classes: split_by: class measures those."
        )
    classes = block.get("classes")
    if block and isinstance(classes, int) and classes < TRUSTED_CLASSES:
        lines.append(
            f"The {split} split has only {classes} classes: the 95 % intervals are computed over classes and are not "
            f"to be trusted below {TRUSTED_CLASSES}: {coverage_text(classes)}."
        )
    if block and not block.get("genuine_pairs", 1):
        lines.append(f"The {split} split has no genuine pair, so nothing about matches can be measured.")
    return lines


def seen_text(block: SplitMetrics, split: str) -> str:
    """How many of a split's classes the matcher was trained on; "" where it was trained on none.

    Examples:
        >>> block = {"classes": 250, "images": 1000, "seen_in_training": {"classes": 141, "images": 910}}
        >>> seen_text(block, "test")
        '141 of 250 test classes (91 % of the images) were seen in training'
    """
    seen = block.get("seen_in_training")
    if not seen:  # written before 0.2, or by hand
        shared = block.get("shared_classes", block.get("split_by") == "image")
        return f"the {split} images are of classes seen in training" if shared else ""
    if not seen["images"]:
        return ""
    share = 100 * seen["images"] / max(1, block["images"])
    classes = f"{seen['classes']:,} of {block['classes']:,} {split} classes"
    return f"{classes} ({share:.0f} % of the images) were seen in training"


def counts_text(metrics: Mapping[str, Any]) -> str:
    """How many images, classes and pairs the metrics were measured on, in one sentence."""
    split = main_split(metrics)
    block = metrics.get(split) or {}
    if not block:
        return "No metrics were computed."
    counts = [
        f"{int(block[name]):,} {name.replace('_', ' ')}"
        for name in ("images", "classes", "genuine_pairs", "impostor_pairs")
        if isinstance(block.get(name), int)
    ]
    return f"Measured over every pair of the {split} split: {', '.join(counts)}."
