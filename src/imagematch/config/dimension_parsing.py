"""`FIELD_grid` and `FIELD_range` as a file gives them -> dimensions whose every value the field would take."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from pydantic import ValidationError

from imagematch.config.problems import Problem, problems_of, shown
from imagematch.config.space import Choices, Dimension, FloatRange, IntRange
from imagematch.config.suggestions import did_you_mean
from imagematch.config.train_fields import TrainFields

Kind = Literal["other", "list", "int", "float"]

TUNABLE: Mapping[str, Kind] = MappingProxyType(
    {
        "image_size": "int",
        "feature_extractor": "other",
        "weights": "other",
        "trainable": "other",
        "image_augmentation": "other",
        "augmented_views": "int",
        "feature_whitening": "int",
        "intermediate_ff_block_units": "list",
        "dropout": "float",
        "embedding_dim": "int",
        "loss": "other",
        "margin": "float",
        "loss_distance": "other",
        "triplet_hinge": "other",
        "scale": "float",
        "temperature": "float",
        "angle": "float",
        "relaxation": "float",
        "alpha": "float",
        "beta": "float",
        "base": "float",
        "cross_batch_memory": "int",
        "proxy_rate": "float",
        "batch_classes": "int",
        "batch_images": "int",
        "batch_size": "int",
        "optimizer": "other",
        "learning_rate": "float",
        "lr_schedule": "other",
        "layer_decay": "float",
        "weight_decay": "float",
        "gradient_clipping": "float",
        "training_precision": "other",
        "epochs": "int",
        "early_stopping_patience": "int",
        "stages": "other",
    }
)
"""The fields that may vary between trials; those of kind int and float also as a range."""

_OTHER_DATA = "trials on other data cannot be compared"
_WHY_FIXED: Mapping[str, str] = MappingProxyType(
    {
        "experiment_name": "the study names its trials",
        "seed": "rerun_seeds repeats the best trials with other seeds",
        "training_seed": "rerun_seeds repeats the best trials with other seeds",
        "engine": "it changes how fast features come, not what they are",
        "feature_precision": "it belongs to the machine, not to the model",
        "feature_dir": "it changes where features lie, not what they are",
        "objective": "trials are ranked by one objective",
        "validation_max_images": _OTHER_DATA,
        "test_time_flip": "trials are ranked without it",
        "threshold": "it is chosen after training",
    }
)
_RANGE_KEYS = ("low", "high", "step", "log")
MAX_CHOICES = 10_000


def why_fixed(field: str) -> str:
    """Why a field that is not tunable cannot vary between trials."""
    return _WHY_FIXED.get(field, _OTHER_DATA)


def parse_grid(key: str, field: str, given: Any) -> Choices | Problem:
    """The choices of `FIELD_grid`, or what is wrong with them."""
    if not isinstance(given, list):
        return Problem(key, f"{key} must be a list of choices, as [a, b], not {shown(given)}")
    if not given:
        return Problem(key, f"{key} is empty", f"give at least one choice, or leave it out to have {field}'s default")
    if len(given) > MAX_CHOICES:
        return Problem(key, f"{key} has {len(given)} choices, over {MAX_CHOICES}", f"give {field}_range")
    options: dict[str, Any] = {}
    for choice in given:
        value, problem = _checked_choice(key, field, choice)
        if problem:
            return problem
        identity = json.dumps(value)
        if identity in options:
            return Problem(key, f"{key}: the choice {shown(choice)} is given twice", "leave one of them out")
        options[identity] = value
    return Choices(tuple(options.values()))


def _checked_choice(key: str, field: str, choice: Any) -> tuple[Any, Problem | None]:
    plain = choice
    if TUNABLE[field] == "list" and isinstance(choice, str):
        try:
            plain = json.loads(choice)
        except (ValueError, RecursionError):
            what = f"{key}: the choice {shown(choice)} is no list"
            return None, Problem(key, what, 'write it as [512, 256] or "[512, 256]"')
    return _checked(key, field, plain, f"{key}: the choice {shown(choice)}: ")


def _checked(key: str, field: str, value: Any, prefix: str) -> tuple[Any, Problem | None]:
    """The value as the field takes it, or the problem, told under `key`."""
    try:
        fields = TrainFields.model_validate({"experiment_name": "x", field: value})
    except ValidationError as error:
        problem = problems_of(error, TrainFields)[0]
        return None, Problem(key, prefix + problem.what, problem.do)
    return getattr(fields, field), None


def parse_range(key: str, field: str, given: Any) -> FloatRange | IntRange | Problem:
    """The range of `FIELD_range`, or what is wrong with it."""
    kind = TUNABLE[field]
    if kind not in ("int", "float"):
        return Problem(key, f"{field} is no number and has no range", f"give {field}_grid: [...]")
    if not isinstance(given, dict):
        return Problem(key, f"{key} must be {{low: ..., high: ...}} with step or log, not {shown(given)}")
    for part in given:
        if part not in _RANGE_KEYS:
            what = f"{key}: unknown key {shown(part)}, not one of {', '.join(_RANGE_KEYS)}"
            return Problem(key, what, did_you_mean(str(part), _RANGE_KEYS))
    ends: dict[str, Any] = {}
    for end in ("low", "high"):
        if given.get(end) is None:
            return Problem(key, f"{key}: {end} is missing")
        value, problem = _checked(key, field, given[end], f"{key}: {end}: ")
        if problem:
            return problem
        ends[end] = value
    low, high, step, log = ends["low"], ends["high"], given.get("step"), given.get("log", False)
    if low > high:
        return Problem(key, f"{key}: low {low:g} is over high {high:g}", "swap them")
    if not isinstance(log, bool):
        return Problem(key, f"{key}: log must be true or false, not {shown(log)}")
    if problem := _step_problem(key, kind, step, log):
        return problem
    if log and low <= 0:
        return Problem(key, f"{key}: log needs low over 0, not {low:g}")
    return _last_reached(kind, low, high, step, log)


def _step_problem(key: str, kind: Kind, step: Any, log: bool) -> Problem | None:
    if step is None:
        return None
    types = (int,) if kind == "int" else (int, float)
    if isinstance(step, bool) or not isinstance(step, types) or not math.isfinite(step) or step <= 0:
        number = "whole number" if kind == "int" else "number"
        return Problem(key, f"{key}: step must be a {number} over 0, not {shown(step)}")
    if log and not (kind == "int" and step == 1):
        return Problem(key, f"{key}: step and log do not go together", "leave one of them out")
    return None


def _last_reached(kind: Kind, low: Any, high: Any, step: Any, log: bool) -> FloatRange | IntRange:
    """The range, its high end lowered to the last value that the steps reach."""
    if kind == "int":
        step = step or 1
        return IntRange(low, low + (high - low) // step * step, step, log)
    if step is None:
        return FloatRange(low, high, None, log)
    size = FloatRange(low, high, float(step)).size or 1
    return FloatRange(low, FloatRange(low, high, float(step)).canonical(low + (size - 1) * step), float(step), log)


def parse_dimension(key: str, field: str, given: Any) -> Dimension | Problem:
    """The dimension that `FIELD_grid` or `FIELD_range` gives, or what is wrong with it."""
    return parse_grid(key, field, given) if key.endswith("_grid") else parse_range(key, field, given)
