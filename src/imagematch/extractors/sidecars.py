"""The preprocessing of a network file as the file beside it says: Hugging Face's or timm's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagematch.config import wrong_input
from imagematch.errors import ConfigError
from imagematch.files import os_reason
from imagematch.reading import KB, read_file

_MAX_BYTES = 64 * KB
_HUGGING_FACE, _TIMM = "preprocessor_config.json", "config.json"
_FILTERS = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers, as Hugging Face writes them; its others have no name here."""
_TIMM_CROPS = {"center": "center", "squash": "squash", "border": "pad"}


def read_preprocessing(path: Path) -> tuple[dict[str, Any], str]:
    """What the file beside a network says of `input`, and its name; nothing and "input" where there is none.

    Raises:
        ConfigError: there is one, and it cannot be read as preprocessing.
    """
    for name, read in ((_HUGGING_FACE, _of_hugging_face), (_TIMM, _of_timm)):
        try:
            found = read(json.loads(read_file(path.with_name(name), max_bytes=_MAX_BYTES)))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, ArithmeticError) as error:
            why = os_reason(error) if isinstance(error, OSError) else "it is no JSON, or says it in another way"
            what = f"cannot be read as preprocessing: {why}"
            raise ConfigError(what, where=str(path.with_name(name)), do="give input: {mean, std} instead") from error
        if wrong := wrong_input(found):
            raise ConfigError(wrong, where=str(path.with_name(name)), do="give input: {mean, std} instead")
        if found:
            return found, name
    return {}, "input"


def three_numbers(value: Any) -> list[float]:
    """Three numbers, of red, green and blue."""
    return [float(one) for one in value] if isinstance(value, list | tuple) else [float(value)] * 3


def _of_hugging_face(values: Mapping[str, Any]) -> dict[str, Any]:
    normalized = values.get("do_normalize", True)
    mean, std = values.get("image_mean"), values.get("image_std")
    if normalized and (mean is None or std is None):
        return {}
    found: dict[str, Any] = {
        "mean": three_numbers(mean) if normalized else [0.0] * 3,
        "std": three_numbers(std) if normalized else [1.0] * 3,
        "scale": float(values.get("rescale_factor", 1 / 255)) if values.get("do_rescale", True) else 1.0,
    }
    found |= {"interpolation": _FILTERS[values["resample"]]} if values.get("resample") in _FILTERS else {}
    resized = _side(values.get("size")) if values.get("do_resize", True) else None
    if not values.get("do_center_crop"):
        # In proportion with nothing cut off is no square: all of it is squashed to one.
        return found | ({"size": resized} if resized else {})
    seen = _side(values.get("crop_size"))
    share = seen / resized if seen and resized else 1.0
    return found | {"crop": "center", "crop_share": min(1.0, share)} | ({"size": seen} if seen else {})


def _side(size: Any) -> int | None:
    """Of a square, or the shorter side of an image that is resized in proportion."""
    if isinstance(size, dict):
        size = size.get("height", size.get("shortest_edge"))
    return int(size) if size else None


def _of_timm(values: Mapping[str, Any]) -> dict[str, Any]:
    inner = values.get("pretrained_cfg", values)
    if not {"mean", "std"} <= inner.keys():
        return {}
    found: dict[str, Any] = {"mean": three_numbers(inner["mean"]), "std": three_numbers(inner["std"])}
    size, filtered = inner.get("input_size"), inner.get("interpolation")
    found |= {"size": int(size[-1])} if size else {}
    found |= {"interpolation": filtered} if filtered in _FILTERS.values() else {}
    if "crop_pct" in inner:
        crop = _TIMM_CROPS[inner.get("crop_mode") or "center"]
        found |= {"crop": crop} | ({"crop_share": min(1.0, float(inner["crop_pct"]))} if crop == "center" else {})
    return found
