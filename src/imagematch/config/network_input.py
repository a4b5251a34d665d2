"""How images are made ready for a network file: `input` of the configuration."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from imagematch.config.problems import did_you_mean, invalid, shown
from imagematch.framing import CROPS, INTERPOLATIONS
from imagematch.options import Option

_FORM = "a mapping, as {mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}"
_MOST = 1e9
_NUMBER = {"type": "number"}
_POSITIVE = {"type": "number", "exclusiveMinimum": 0}


def _one_or_three(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "array", "items": schema, "minItems": 3, "maxItems": 3}]}


def _are_numbers(value: Any, *, positive: bool = False) -> bool:
    values = value if isinstance(value, list | tuple) and len(value) == 3 else [value]
    return all(
        isinstance(one, int | float)
        and not isinstance(one, bool)
        and math.isfinite(one)
        and abs(one) < _MOST
        and (one > 0 or not positive)
        for one in values
    )


def _is_positive(value: Any) -> bool:
    return not isinstance(value, list | tuple) and _are_numbers(value, positive=True)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 8 <= value <= 2_048


_POOLINGS = ("cls", "mean", "gem", "none")


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200


_PARTS: Mapping[str, tuple[str, Mapping[str, Any], Callable[[Any], bool]]] = {
    "mean": ("a number, or three of red, green and blue", _one_or_three(_NUMBER), _are_numbers),
    "std": ("a number over 0, or three", _one_or_three(_POSITIVE), lambda value: _are_numbers(value, positive=True)),
    "scale": ("a number over 0", _POSITIVE, _is_positive),
    "size": ("a whole number from 8 to 2048", {"type": "integer", "minimum": 8, "maximum": 2_048}, _is_size),
    "channels": ("rgb or bgr", {"enum": ["rgb", "bgr"]}, lambda value: value in ("rgb", "bgr")),
    "layout": ("nchw or nhwc", {"enum": ["nchw", "nhwc"]}, lambda value: value in ("nchw", "nhwc")),
    "crop": (", ".join(CROPS), {"enum": list(CROPS)}, lambda value: value in CROPS),
    "crop_share": (
        "a number over 0, at most 1",
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        lambda value: _is_positive(value) and value <= 1,
    ),
    "interpolation": (
        " or ".join(INTERPOLATIONS),
        {"enum": list(INTERPOLATIONS)},
        lambda value: value in INTERPOLATIONS,
    ),
    "output": ("the name of an output", {"type": "string", "minLength": 1, "maxLength": 200}, _is_name),
    "pooling": ("cls, mean, gem or none", {"enum": list(_POOLINGS)}, lambda value: value in _POOLINGS),
}
"""What each part must be, in words, as a schema, and checked."""

_SCHEMA = {
    "type": "object",
    "properties": {name: schema for name, (_, schema, _) in _PARTS.items()},
    "additionalProperties": False,
}
NETWORK_INPUT = Option(
    None,
    {"anyOf": [_SCHEMA, {"type": "null"}]},
    "How images are made ready for a network file; by default, as the file beside it says.",
    expects=_FORM,
)


def checked_input(value: Any) -> dict[str, Any] | None:
    """The parts that are given, else raises a validation error. A network sees (pixel * scale - mean) / std."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise invalid(f"input must be {_FORM}, not {shown(value)}")
    for name in value:
        if name not in _PARTS:
            raise invalid(f"input has no {shown(name)}", did_you_mean(str(name), tuple(_PARTS)))
    if wrong := wrong_input(value):
        raise invalid(f"input: {wrong}")
    return dict(value)


def wrong_input(parts: Mapping[str, Any]) -> str:
    """What is wrong with the first part whose value cannot be, in words; "" where all can."""
    for name, given in parts.items():
        form, _, holds = _PARTS[name]
        if not holds(given):
            return f"{name} must be {form}, not {shown(given)}"
    return ""
