"""Labels: spellings that are likely meant to be one."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

MISSING_LABELS = ("", "nan", "none", "null", "n/a", "<na>")
"""Texts in a column of labels that stand for none, in lower case."""


def same_when_folded(labels: Iterable[str]) -> list[tuple[str, ...]]:
    """Labels that are alike but for case, spaces, Unicode form, leading zeros or a decimal point: `007`, `7`, `7.0`."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for label in set(labels):
        spellings[_folded(label)].add(label)
    return sorted(tuple(sorted(found)) for found in spellings.values() if len(found) > 1)


def _folded(label: str) -> str:
    text = " ".join(unicodedata.normalize("NFKC", label).casefold().split())
    if re.fullmatch(r"\d+(\.0+)?", text):
        return text.partition(".")[0].lstrip("0") or "0"
    return text
