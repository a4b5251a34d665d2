"""Stages: a training in several steps, each with a few fields of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from imagematch.config.problems import Problem, shown, told
from imagematch.config.suggestions import did_you_mean

STAGE_FIELDS = (
    "trainable",
    "image_augmentation",
    "augmented_views",
    "batch_classes",
    "batch_images",
    "batch_size",
    "optimizer",
    "learning_rate",
    "lr_schedule",
    "layer_decay",
    "weight_decay",
    "gradient_clipping",
    "epochs",
    "early_stopping_patience",
)
"""What a stage may have of its own; else it has what the file says."""
STAGES_FORM = "a list of mappings, as [{trainable: false, epochs: 10}, {trainable: 30, learning_rate: 1.0e-5}]"
_MAX_STAGES = 16

Stages = tuple[dict[str, Any], ...]


def checked_stages(value: Any, check: Callable[[dict[str, Any]], tuple[dict[str, Any], Problem | None]]) -> Stages:
    """The stages with their values as fields take them, else raises what pydantic shows.

    Args:
        value: what the file has.
        check: fields -> their values, or the first problem.
    """
    if not isinstance(value, (list, tuple)) or not all(isinstance(stage, Mapping) for stage in value):
        raise told(f"stages must be {STAGES_FORM}, not {shown(value)}")
    if len(value) > _MAX_STAGES:
        raise told(f"there are {len(value)} stages, over {_MAX_STAGES}")
    stages = []
    for number, stage in enumerate(value, 1):
        for key in stage:
            if key not in STAGE_FIELDS:
                raise _told_in(number, Problem(key, *_not_of_a_stage(key)))
        values, problem = check(dict(stage))
        if problem:
            raise _told_in(number, problem)
        stages.append(values)
    return tuple(stages)


def stage_key(number: int, key: str) -> str:
    """The name of a key of a stage, counted from 1, wherever problems and lines are told."""
    return f"stages[{number}].{key}"


def freezing(stages: Sequence[Mapping[str, Any]], values: Mapping[str, Any]) -> Iterator[Problem]:
    """The stages that train less of the extractor than the stage before: its training would be lost.

    Layers and blocks are compared when the network is known.
    """
    parts = [stage.get("trainable", values["trainable"]) for stage in stages]
    for number, (before, now) in enumerate(itertools.pairwise(parts), 2):
        if _comparable(before, now) and _extent(before) > _extent(now):
            what = (
                f"stage {number} freezes what stage {number - 1} trains: trainable {shown(before)}, then {shown(now)}"
            )
            yield Problem(
                stage_key(number, "trainable"), what, "let each stage train as much as the one before, or more"
            )


def _comparable(one: Any, other: Any) -> bool:
    return isinstance(one, bool) or isinstance(other, bool) or isinstance(one, dict) == isinstance(other, dict)


def _extent(trainable: Any) -> float:
    if isinstance(trainable, bool):
        return float("inf") if trainable else 0
    return float(trainable["blocks"] if isinstance(trainable, dict) else trainable)


def _not_of_a_stage(key: str) -> tuple[str, str]:
    near = did_you_mean(key, STAGE_FIELDS)
    return f"{key!r} is no field of a stage", near or f"a stage has {', '.join(STAGE_FIELDS)}"


def _told_in(number: int, problem: Problem) -> Exception:
    return told(f"stage {number}: {problem.what}", problem.do, key=stage_key(number, problem.key))
