"""The names that a configuration can select, and of every metric what is better."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from imagematch.config.problems import did_you_mean
from imagematch.errors import ConfigError
from imagematch.registry import CALLBACK_REGISTRY, EXTRACTOR_REGISTRY, LOSS_REGISTRY, SOURCE_REGISTRY

DATASETS: tuple[str, ...] = tuple(SOURCE_REGISTRY.all())
SPLITS_BY = ("image", "class", "predefined")
LAYOUTS = ("auto", "classes", "groups", "splits", "splits_groups", "reid")
NEAR_DUPLICATES = ("together", "as_is")
MISSING_FILES = ("error", "skip")
FACE_CROPS = ("none", "haar", "mtcnn")
YUNET_PREFIX = "yunet:"
"""A YuNet network file finds faces, too: this, then its path."""
FACES_MISSING = ("whole", "skip", "error")
"""What becomes of an image in which no face is found."""

_EXTRACTOR_SPECS = EXTRACTOR_REGISTRY.all()
EXTRACTORS = tuple(_EXTRACTOR_SPECS)
FROM_SCRATCH = tuple(name for name, spec in _EXTRACTOR_SPECS.items() if spec.from_scratch)
"""Extractors without published weights: all of one is trained, unless `weights` is a path."""
ENGINES = ("auto", "openvino", "tensorflow")
PRECISIONS = ("auto", "float32", "bfloat16", "int8")

LOSSES: tuple[str, ...] = tuple(LOSS_REGISTRY.all())
PAIR_LOSSES = LOSS_REGISTRY.names("pair")
"""Losses that compare the images of a batch with each other: they need two images of a class in it."""
OFFLINE_LOSSES = LOSS_REGISTRY.names("offline")
"""Losses over triplets that are drawn from the whole training set before an epoch."""
PROXY_LOSSES = LOSS_REGISTRY.names("proxy")
"""Losses that compare each image with one learnt vector for each training class."""

CALLBACKS: tuple[str, ...] = tuple(CALLBACK_REGISTRY.all())

OPTIMIZERS = ("adam", "adamw", "sgd")
LR_SCHEDULES = ("constant", "cosine", "ramp_sustain_decay", "bit_hyperrule")
TRAINING_PRECISIONS = ("float32", "bfloat16")

NAMED_CRITERIA = ("balanced_accuracy", "accuracy", "f1", "eer")
"""Thresholds that are chosen by a name alone; `far`, `frr` and `cost` take a value."""

SAMPLERS = ("tpe", "random", "grid", "qmc", "cmaes")
RECIPES_KEYWORD = "recipes"
"""In `start_from`: every shipped recipe that lies in the search space."""
REFITS = ("none", "train_and_validation")
PRUNERS = ("median", "asha", "hyperband", "none")

Direction = Literal["maximize", "minimize"]

_OF_IMAGES: dict[str, Direction] = {
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

METRIC_DIRECTIONS: Mapping[str, Direction] = MappingProxyType(
    {f"val_{name}": direction for name, direction in _OF_IMAGES.items()} | _OF_THE_MODEL
)
"""Metric -> what is better. Metrics of the validation images carry `val_`; those of the model alone do not."""

_FIRST = ("val_map_at_r", "val_r_precision", "val_recall_at_1", "val_roc_auc", "val_eer", "val_loss")
_NEED_A_THRESHOLD = ("val_precision", "val_recall")  # which is chosen after training, and decides them

OBJECTIVES = (
    *_FIRST,
    *(n for n in METRIC_DIRECTIONS if n.startswith("val_") and n not in (*_FIRST, *_NEED_A_THRESHOLD)),
)
"""What training can select its best epoch by, and a study its trials; the first are computed after every epoch."""

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
    if bare not in _OF_IMAGES:
        raise ConfigError(f"no metric is called {name!r}", do=did_you_mean(name, (*METRIC_DIRECTIONS, *_OF_IMAGES)))
    return _OF_IMAGES[bare]
