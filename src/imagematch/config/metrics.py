"""Every metric by name, with its direction: the one table that says what is better."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from imagematch.config.suggestions import did_you_mean
from imagematch.errors import ConfigError

Direction = Literal["maximize", "minimize"]

_FIGURES: dict[str, Direction] = {
    "loss": "minimize",
    "roc_auc": "maximize",
    "eer": "minimize",
    "average_precision": "maximize",
    "tar_at_far_0.1": "maximize",
    "tar_at_far_0.01": "maximize",
    "tar_at_far_0.001": "maximize",
    "frr_at_far_0.1": "minimize",
    "frr_at_far_0.01": "minimize",
    "frr_at_far_0.001": "minimize",
    "recall_at_1": "maximize",
    "recall_at_5": "maximize",
    "recall_at_10": "maximize",
    "r_precision": "maximize",
    "map_at_r": "maximize",
    "mean_average_precision": "maximize",
    "accuracy": "maximize",
    "balanced_accuracy": "maximize",
    "precision": "maximize",
    "recall": "maximize",
    "f1": "maximize",
}
_OF_THE_MODEL: dict[str, Direction] = {"parameters": "minimize", "latency_ms": "minimize"}

METRICS: Mapping[str, Direction] = MappingProxyType(
    {f"val_{name}": direction for name, direction in _FIGURES.items()} | _OF_THE_MODEL
)
"""Metric -> what is better. Figures of the validation images carry `val_`; those of the model alone do not."""

_FIRST = ("val_map_at_r", "val_r_precision", "val_recall_at_1", "val_roc_auc", "val_eer", "val_loss")
_NEED_A_THRESHOLD = ("val_precision", "val_recall")  # which is chosen after training, and decides them

OBJECTIVES = (*_FIRST, *(n for n in METRICS if n.startswith("val_") and n not in (*_FIRST, *_NEED_A_THRESHOLD)))
"""What training can select its best epoch by, and a study its trials: the first of them are figures of every epoch."""

SECOND_OBJECTIVES = (*OBJECTIVES, *_OF_THE_MODEL)
"""What a study can search for beside its first objective."""


def direction_of(name: str) -> Direction:
    """Whether larger ("maximize") or smaller ("minimize") is better; `val_` and `test_` in front are optional.

    Raises:
        ConfigError: no metric has this name.
    """
    if name in _OF_THE_MODEL:
        return _OF_THE_MODEL[name]
    bare = name.removeprefix("val_").removeprefix("test_")
    if bare not in _FIGURES:
        raise ConfigError(f"no metric is called {name!r}", do=did_you_mean(name, (*METRICS, *_FIGURES)))
    return _FIGURES[bare]
