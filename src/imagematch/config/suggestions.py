"""The nearest valid name to what was typed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(typed: str, valid: Iterable[str]) -> str | None:
    """The valid name most like `typed`, whatever its case and with '-' for '_'; None where none is near."""
    names = list(valid)
    matches = difflib.get_close_matches(typed[:100].lower().replace("-", "_").replace(" ", "_"), names, n=1, cutoff=0.6)
    return matches[0] if matches else None


def did_you_mean(typed: str, valid: Iterable[str]) -> str:
    """ "did you mean NAME?", or an empty text where no valid name is near."""
    name = nearest(typed, valid)
    return f"did you mean {name}?" if name else ""
