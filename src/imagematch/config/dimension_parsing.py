"""`FIELD_grid` and `FIELD_range` as a file gives them -> dimensions whose every value the field would take."""

from __future__ import annotations

import json
import math
from typing import Any

from pydantic import ValidationError

from imagematch.config.fields import Kind
from imagematch.config.problems import Problem, did_you_mean, problems_of, shown
from imagematch.config.space import Choices, Dimension, FloatRange, IntRange
from imagematch.config.train_keys import KEYS, TrainKeys

_RANGE_KEYS = ("low", "high", "step", "log")
MAX_CHOICES = 10_000


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
    if KEYS[field].kind == "list" and isinstance(choice, str):
        try:
            plain = json.loads(choice)
        except (ValueError, RecursionError):
            what = f"{key}: the choice {shown(choice)} is no list"
            return None, Problem(key, what, 'write it as [512, 256] or "[512, 256]"')
    return _checked(key, field, plain, f"{key}: the choice {shown(choice)}: ")


def _checked(key: str, field: str, value: Any, prefix: str) -> tuple[Any, Problem | None]:
    """The value as the field takes it, or the problem, under the name of `key`."""
    try:
        fields = TrainKeys.model_validate({"experiment_name": "x", field: value})
    except ValidationError as error:
        problem = problems_of(error, TrainKeys)[0]
        return None, Problem(key, prefix + problem.what, problem.do)
    return getattr(fields, field), None


def parse_range(key: str, field: str, given: Any) -> FloatRange | IntRange | Problem:
    """The range of `FIELD_range`, or what is wrong with it."""
    kind = KEYS[field].kind
    if kind not in ("int", "float"):
        return Problem(key, f"{field} is not a number and has no range", f"give {field}_grid: [...]")
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
