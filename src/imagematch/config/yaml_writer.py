"""Settings as YAML that reads back as the same values, by this package and by YAML 1.1 readers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PLAIN = re.compile(r"[a-z][a-z0-9_]*")
_NOT_TEXT = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def to_yaml(values: Mapping[str, Any]) -> str:
    """One `key: value` a line; lists and mappings in flow style."""
    return "".join(f"{key}: {_text(value)}\n" for key, value in values.items())


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        text = repr(value)
        return text.replace("e", ".0e") if "e" in text and "." not in text else text  # YAML 1.1 reads 1e-05 as text
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_text(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_text(inner) for inner in value) + "]"
    return _quoted(str(value)) if isinstance(value, (str, Path)) else _quoted(repr(value))


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text) and text not in _NOT_TEXT:
        return text
    return '"' + "".join(_escaped(letter) for letter in text) + '"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return "\\" + letter
    return letter if letter.isprintable() else f"\\U{ord(letter):08x}"
