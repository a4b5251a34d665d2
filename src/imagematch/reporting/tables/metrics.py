"""The contents of `metrics.json`, and the rates of each class, as tables and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.config import direction_of
from imagematch.errors import ConfigError
from imagematch.evaluation import TRUSTED_CLASSES, class_rates
from imagematch.reporting.escaping import visible
from imagematch.reporting.images import SplitView
from imagematch.reporting.numbers import interval_text, number_text, two_digits

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


def rates_lines(block: SplitMetrics, split: str) -> list[str]:
    """What was asked of the threshold, what calibration promised and what a split shows, in sentences.

    Args:
        block: the metrics of the split.
        split: its name.

    Examples:
        >>> threshold = {"criterion": {"far": 0.01}, "chosen_on": "calibration", "far": 0.013}
        >>> threshold |= {"far_ci95": [0.006, 0.024], "calibration": {"far": 0.0098, "far_ci95": [0.004, 0.019]}}
        >>> rates_lines({"threshold": threshold}, "test")
        ['FAR asked 0.01, on calibration 0.0098 (0.004 to 0.019), on test 0.013 (0.006 to 0.024)']
    """
    threshold = block.get("threshold") or {}
    criterion, promised = threshold.get("criterion"), threshold.get("calibration") or {}
    asked = criterion if isinstance(criterion, Mapping) else {}
    lines = []
    for rate in ("far", "frr"):
        parts = [f"asked {asked[rate]:g}"] if rate in asked else []
        if rate in asked and "confidence" in asked:
            parts[0] += f" with confidence {asked['confidence']:g}"
        for where, measured in ((threshold.get("chosen_on"), promised), (split, threshold)):
            if measured.get(rate) is not None:
                parts.append(f"on {where} {_rate_text(measured[rate], measured.get(f'{rate}_ci95'))}")
        if parts:
            lines.append(f"{rate.upper()} {', '.join(parts)}")
    searches = block.get("identification") or {}
    if searches.get("fpir") is not None:
        lines.append(
            f"FPIR {_rate_text(searches['fpir'], searches['fpir_ci95'])}: share of searches of somebody not enrolled "
            f"that return an image, in a gallery of {searches['gallery_images']:,} images ({split})"
        )
    if searches.get("fnir") is not None:
        lines.append(
            f"FNIR {_rate_text(searches['fnir'], searches['fnir_ci95'])}: share of searches of somebody enrolled "
            f"whose nearest image is not theirs or no match; {searches['fnir_rank_10']:.2g} among the nearest ten"
        )
    if promised.get("note"):
        lines.append(f"not resolved: {promised['note']}")
    return lines


def _rate_text(rate: float, ends: Sequence[float] | None) -> str:
    return f"{rate:.2g}" + ("" if ends is None else f" ({ends[0]:.2g} to {ends[1]:.2g})")


def gallery_table(block: SplitMetrics) -> pd.DataFrame:
    """What a search of somebody not enrolled meets in galleries of several sizes: false matches, and the FPIR."""
    import pandas as pd

    rows = []
    for gallery in (block.get("identification") or {}).get("galleries") or []:
        matches, ends = gallery["false_matches"], gallery["false_matches_ci95"]
        fpir = gallery["fpir"]
        about = "" if matches is None else f"about {two_digits(matches)}"
        about += "" if ends is None else f", {two_digits(ends[0])} to {two_digits(ends[1])}"
        rows.append(
            {
                "gallery (images)": f"{gallery['images']:,}",
                "false matches of a search": about,
                "searches with a false match (FPIR)": "larger than measured" if fpir is None else f"{100 * fpir:.2g} %",
            }
        )
    return pd.DataFrame(rows)


def threshold_table(block: SplitMetrics) -> pd.DataFrame:
    """Other thresholds with what each costs in both errors, strict ones first; only those that the pairs resolve."""
    import pandas as pd

    return pd.DataFrame(
        {
            "distance": number_text(point["distance"]),
            "FAR": f"{point['far']:.2g}",
            "FRR": "–" if point["frr"] is None else f"{point['frr']:.2g}",
            "FPIR": "–" if point["fpir"] is None else f"{point['fpir']:.2g}",
            "FNIR": "–" if point["fnir"] is None else f"{point['fnir']:.2g}",
        }
        for point in block.get("threshold_curve") or []
    )


def confusions_table(confused: Sequence[Any]) -> pd.DataFrame:
    """The pairs of classes with the most false matches: counts, and what share of the two classes' pairs they are."""
    import pandas as pd

    return pd.DataFrame(
        {
            "class": visible(one.first),
            "taken for": visible(one.second),
            "false matches": one.matches,
            "of pairs": one.pairs,
            "share": f"{100 * one.matches / one.pairs:.2g} %",
        }
        for one in confused
    )


def criterion_text(criterion: Any) -> str:
    """A threshold's criterion in words."""
    if isinstance(criterion, Mapping):
        return ", ".join(f"{name} {value}" for name, value in criterion.items())
    return str(criterion).replace("_", " ")


def warnings_of(metrics: Mapping[str, Any]) -> list[str]:
    """What a reader must know before believing the metrics; empty where nothing is wrong."""
    split = main_split(metrics)
    block = metrics.get(split) or {}
    lines = list(block.get("remarks") or [])
    if split == "train":
        lines.append("These are the images that this matcher was trained on: the metrics say nothing about others.")
    elif split != "test":
        lines.append(f"These are no metrics of a test split: the {split} images were used to make this matcher.")
    if split != "train" and block.get("shared_classes", block.get("split_by") == "image"):
        lines.append(
            f"The {split} images share their classes with the training images (split_by: {block.get('split_by')}). "
            "The metrics hold for new images of these classes, not for new classes: split_by: class measures those."
        )
    classes = block.get("classes")
    if block and isinstance(classes, int) and classes < TRUSTED_CLASSES:
        lines.append(
            f"The {split} split has only {classes} classes: the 95 % intervals are computed over classes and are not "
            f"to be trusted below {TRUSTED_CLASSES}."
        )
    if block and not block.get("genuine_pairs", 1):
        lines.append(f"The {split} split has no genuine pair, so nothing about matches can be measured.")
    return lines


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


def class_table(view: SplitView, threshold: float) -> pd.DataFrame:
    """Each class's rates at the threshold, the worst class first.

    Columns: class, images, "genuine pairs matched" (share, NaN for a class with one image), "impostor pairs matched"
    (share of pairs with one image of the class), "balanced accuracy".
    """
    import pandas as pd

    rates = class_rates(view.embeddings, view.labels, threshold)
    frame = pd.DataFrame(
        {
            "class": [visible(view.class_names[int(label)]) for label in rates.names],
            "images": np.asarray(rates.images, dtype=np.int64),
            "genuine pairs matched": rates.tar,
            "impostor pairs matched": rates.far,
            "balanced accuracy": (rates.tar + 1 - rates.far) / 2,
        }
    )
    return frame.sort_values("balanced accuracy", kind="stable", na_position="last").reset_index(drop=True)


def worst_and_best_classes(view: SplitView, threshold: float, count: int = 10) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The `count` worst and the `count` best classes (no class in both), worst and best first; see `class_table`."""
    frame = class_table(view, threshold).dropna(subset=["balanced accuracy"])
    half = min(count, (len(frame) + 1) // 2)
    best = frame.iloc[max(half, len(frame) - count) :][::-1]
    return frame.head(half), best.reset_index(drop=True)
