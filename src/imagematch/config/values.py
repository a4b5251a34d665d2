"""Values that are more than a number or a name: paths, lists, splits, thresholds, what is trained of an extractor."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from imagematch.config.names import FACE_CROPS, NAMED_CRITERIA, YUNET_PREFIX
from imagematch.config.problems import did_you_mean, invalid, shown
from imagematch.errors import ConfigError
from imagematch.files import checked_name
from imagematch.registry import KERASHUB_PREFIX, ONNX_PREFIX

THRESHOLD_FORMS = (
    f"{', '.join(NAMED_CRITERIA)}, {{far: 0.001}}, {{frr: 0.01}} (either with confidence: 0.95 beside it) or "
    "{cost: {false_match: 10, false_non_match: 1}}"
)
TRAINABLE_FORMS = "true, false, the number of last layers to train or {blocks: the number of last blocks}"
FLIP_FORMS = "true, false or auto"
JOIN_FORMS = "none, whitened or {features: whitened, power: 0.5, dim: 512, weight: auto, reduce: false}"
VALUE_RANGE_FORMS = "auto, full or two numbers, the lower first, as [0, 4095]"
JOIN_DEFAULTS: Mapping[str, Any] = {
    "features": "whitened",
    "power": 0.5,
    "dim": None,
    "weight": "auto",
    "reduce": False,
}
_MAX_JOIN_WEIGHT = 1_000
_MOST_NAMES = 16
_MAX_LAYERS = 10_000
_COST = 1e9
_COSTS = ("false_match", "false_non_match")

_BETWEEN = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
_COST_SCHEMA = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": _COST}
_LAYERS = {"type": "integer", "minimum": 1, "maximum": _MAX_LAYERS}


def _object(properties: Mapping[str, Any], optional: Sequence[str] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required, "additionalProperties": False}


PATH: Mapping[str, Any] = {"type": "string", "minLength": 1}
TEXT_OR_TEXTS: Mapping[str, Any] = {"anyOf": [PATH, {"type": "array", "items": PATH, "minItems": 1}]}
SPLIT: Mapping[str, Any] = {"type": "array", "items": _BETWEEN, "minItems": 2, "maxItems": 3}
TRAINABLE: Mapping[str, Any] = {"anyOf": [{"type": "boolean"}, _LAYERS, _object({"blocks": _LAYERS})]}
VALUE_RANGE: Mapping[str, Any] = {
    "anyOf": [
        {"type": "string", "enum": ["auto", "full"]},
        {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
    ]
}
_WEIGHT = {"type": "number", "minimum": 0, "maximum": _MAX_JOIN_WEIGHT}
JOIN: Mapping[str, Any] = {
    "anyOf": [
        {"type": "string", "enum": ["none", "whitened"]},
        _object(
            {
                "features": {"enum": ["whitened"]},
                "power": {"type": "number", "minimum": 0, "maximum": 1},
                "dim": {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 65_536}, {"type": "null"}]},
                "weight": {"anyOf": [{"enum": ["auto"]}, _WEIGHT]},
                "reduce": {"type": "boolean"},
            },
            optional=tuple(JOIN_DEFAULTS),
        ),
    ]
}
THRESHOLD: Mapping[str, Any] = {
    "anyOf": [
        {"type": "string", "enum": list(NAMED_CRITERIA)},
        _object({"far": _BETWEEN, "confidence": _BETWEEN}, optional=["confidence"]),
        _object({"frr": _BETWEEN, "confidence": _BETWEEN}, optional=["confidence"]),
        _object({"cost": _object({**dict.fromkeys(_COSTS, _COST_SCHEMA), "prior": _BETWEEN}, optional=["prior"])}),
    ]
}


def _path(value: Any) -> Any:
    if isinstance(value, str) and value.strip() and "\0" not in value:
        return Path(_at_home(value))
    return value  # a Path passes; anything else is refused by the type


def _text_of_path(value: Any) -> Any:
    return _at_home(str(value)) if isinstance(value, str | Path) else value


def _at_home(path: str) -> str:
    """`path` with a leading "~" expanded as the shell does it; unchanged for a user without a home."""
    return os.path.expanduser(path)  # noqa: PTH111 - Path's own raises where there is no home


def _list_as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


PathField = Annotated[Path, BeforeValidator(_path)]
"""A path, given as text or as a Path."""
PathText = Annotated[str, BeforeValidator(_text_of_path)]
"""Text that may be a path."""
Units = Annotated[tuple[Annotated[int, Field(ge=1, le=65_536)], ...], BeforeValidator(_list_as_tuple)]
"""Numbers of units, one for each block."""
Heads = Annotated[tuple[Units, ...], BeforeValidator(_list_as_tuple)]
"""The blocks of several heads."""
Names = Annotated[tuple[str, ...], BeforeValidator(_list_as_tuple)]
"""Several names."""
PathTexts = Annotated[tuple[PathText, ...], BeforeValidator(_list_as_tuple)]
"""Several texts that may be paths."""
Shares = Annotated[tuple[float, ...], BeforeValidator(_list_as_tuple)]
"""Parts of a whole."""


def checked_run_name(key: str, value: str) -> str:
    """`value` if it can name a folder, else raises a validation error."""
    try:
        return checked_name(value, where=key)
    except ConfigError as error:
        raise invalid(f"{key}: {error.what}", error.do) from error


def checked_choice(field: str, value: str, names: Sequence[str]) -> str:
    """`value` if it is one of `names`, else raises a validation error."""
    if value not in names:
        listed = names if len(names) <= _MOST_NAMES else [*names[:6], f"and {len(names) - 6} more"]
        raise invalid(f"{field} must be one of {', '.join(listed)}, not {shown(value)}", did_you_mean(value, names))
    return value


def checked_extractors(value: str | tuple[str, ...], names: Sequence[str]) -> str | tuple[str, ...]:
    """A name, or several different ones (a list of one is that one), else raises a validation error."""
    if isinstance(value, str):
        prefixed = any(value.startswith(prefix) and value != prefix for prefix in (KERASHUB_PREFIX, ONNX_PREFIX))
        return value if prefixed else checked_choice("feature_extractor", value, names)
    if not value:
        raise invalid("feature_extractor is an empty list", "name at least one extractor")
    for name in value:
        checked_extractors(name, names)
        if value.count(name) > 1:
            raise invalid(f"feature_extractor names {name} twice", "leave one of them out")
    return value if len(value) > 1 else value[0]


def checked_face_crop(value: str) -> str:
    """none, a detector's name or a YuNet file, else raises a validation error."""
    prefixed = value.startswith(YUNET_PREFIX) and value != YUNET_PREFIX
    return value if prefixed else checked_choice("face_crop", value, FACE_CROPS)


def checked_split(value: tuple[float, ...]) -> tuple[float, ...]:
    """Two or three shares over 0 that sum to 1, else raises a validation error."""
    whole_is_one = math.isclose(sum(value), 1, abs_tol=1e-6)
    if len(value) not in (2, 3) or not all(0 < share < 1 for share in value) or not whole_is_one:
        what = f"split must be two or three numbers over 0 that sum to 1, not {shown(list(value))}"
        raise invalid(what, "train, validation and test; with two numbers there is no test split")
    return value


def checked_value_range(value: Any) -> str | tuple[float, float]:
    """auto, full or (low, high), else raises a validation error."""
    if value in ("auto", "full"):
        return str(value)
    if isinstance(value, list | tuple) and len(value) == 2 and all(type(end) in (int, float) for end in value):
        low, high = float(value[0]), float(value[1])
        if math.isfinite(low) and math.isfinite(high) and low < high:
            return low, high
    do = did_you_mean(value, ("auto", "full")) if isinstance(value, str) else ""
    raise invalid(f"value_range must be {VALUE_RANGE_FORMS}, not {shown(value)}", do)


def checked_weights(value: str) -> str:
    """imagenet, random or what can be a file, else raises a validation error."""
    if value in ("imagenet", "random"):
        return value
    if not value.strip() or "\0" in value or ("." not in value and "/" not in value):
        what = f"weights must be imagenet, random or the path of a weights file, not {shown(value)}"
        raise invalid(what, did_you_mean(value, ("imagenet", "random")))
    return value


def checked_trainable(value: Any) -> bool | int | dict[str, int]:
    """What is trained of the extractor, else raises a validation error."""
    if isinstance(value, bool) or _counts_layers(value):
        return value
    if isinstance(value, Mapping) and list(value) == ["blocks"] and _counts_layers(value["blocks"]):
        return {"blocks": value["blocks"]}
    raise invalid(f"trainable must be {TRAINABLE_FORMS}, not {shown(value)}")


def _counts_layers(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MAX_LAYERS


def checked_flip(value: Any) -> bool | str:
    """true, false or auto, else raises a validation error."""
    if isinstance(value, bool) or value == "auto":
        return value
    raise invalid(f"test_time_flip must be {FLIP_FORMS}, not {shown(value)}")


def checked_join(value: Any) -> str | dict[str, Any]:
    """none, or every option of a join with its value, else raises a validation error."""
    if value == "none":
        return "none"
    given = {} if value == "whitened" else value
    if not isinstance(given, Mapping):
        do = did_you_mean(value, ("none", "whitened")) if isinstance(value, str) else ""
        raise invalid(f"join must be {JOIN_FORMS}, not {shown(value)}", do)
    for name in given:
        if name not in JOIN_DEFAULTS:
            what = f"join: unknown key {shown(name)}, not one of {', '.join(JOIN_DEFAULTS)}"
            raise invalid(what, did_you_mean(str(name), tuple(JOIN_DEFAULTS)))
    join = {**JOIN_DEFAULTS, **given}
    power, dim, weight = join["power"], join["dim"], join["weight"]
    if join["features"] != "whitened":
        raise invalid(f"join: features must be whitened, not {shown(join['features'])}")
    if not _is_number(power) or not 0 <= power <= 1:
        do = "1 whitens fully, 0.5 by half, 0 not at all"
        raise invalid(f"join: power must be a number from 0 to 1, not {shown(power)}", do)
    if dim is not None and not (_is_number(dim) and isinstance(dim, int) and 1 <= dim <= 65_536):
        raise invalid(f"join: dim must be a whole number from 1 to 65,536, not {shown(dim)}")
    if weight != "auto" and not (_is_number(weight) and 0 <= weight <= _MAX_JOIN_WEIGHT):
        what = f"join: weight must be auto or a number from 0 to {_MAX_JOIN_WEIGHT:,}, not {shown(weight)}"
        raise invalid(what, "0 leaves the head out, and join: none leaves the features out")
    if not isinstance(join["reduce"], bool):
        raise invalid(f"join: reduce must be true or false, not {shown(join['reduce'])}")
    return {**join, "power": float(power), "weight": weight if weight == "auto" else float(weight)}


def checked_threshold(value: Any) -> str | dict[str, Any]:
    """A criterion by name, or with its value, else raises a validation error."""
    if isinstance(value, str):
        if value in NAMED_CRITERIA:
            return value
        raise _not_a_threshold(value, did_you_mean(value, NAMED_CRITERIA))
    if not isinstance(value, Mapping) or not value:
        raise _not_a_threshold(value)
    rest = dict(value)
    kind = next((rate for rate in ("far", "frr") if rate in rest), next(iter(rest)))
    given = rest.pop(kind)
    if kind in ("far", "frr") and rest.keys() <= {"confidence"}:
        if not _is_between(given, 1):
            raise invalid(f"threshold: {kind} must be a number between 0 and 1, not {shown(given)}")
        confidence = rest.get("confidence", 0.95)
        if not _is_between(confidence, 1) or confidence <= 0.5:
            what = f"threshold: confidence must be a number between 0.5 and 1, not {shown(confidence)}"
            raise invalid(what, "0.95 keeps the rate in 95 of 100 draws of classes")
        return {kind: float(given)} | ({"confidence": float(confidence)} if rest else {})
    if rest:
        raise _not_a_threshold(value)
    if kind == "cost":
        return {"cost": _costs(given)}
    raise _not_a_threshold(value, did_you_mean(str(kind), ("far", "frr", "cost")))


def _costs(given: Any) -> dict[str, float]:
    well_formed = isinstance(given, Mapping) and set(_COSTS) <= set(given) <= {*_COSTS, "prior"}
    if not well_formed or not all(_is_between(value, _COST) for value in given.values()):
        form = "{false_match: 10, false_non_match: 1}, two numbers over 0"
        raise invalid(
            f"threshold: cost must have the form {form}, not {shown(given)}", "prior may be given beside them"
        )
    if not _is_between(given.get("prior", 0.5), 1):
        what = f"threshold: cost: prior must be a number between 0 and 1, not {shown(given['prior'])}"
        raise invalid(what, "it is the share of genuine pairs")
    return {name: float(given[name]) for name in (*_COSTS, "prior") if name in given}


def _not_a_threshold(value: Any, do: str = "") -> Exception:
    return invalid(f"threshold must be {THRESHOLD_FORMS}, not {shown(value)}", do)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_between(value: Any, high: float) -> bool:
    return _is_number(value) and 0 < value < high
