"""A line of text that stands where a figure or a table cannot be made."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imagematch.errors import ImagematchError
from imagematch.reporting.escaping import markup, visible

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure


@dataclass(frozen=True)
class Note:
    """One line in place of a figure or a table. A notebook shows it as text."""

    text: str

    def __str__(self) -> str:
        return visible(self.text, None)

    def _repr_html_(self) -> str:
        return f"<p><em>{markup(self.text, None)}</em></p>"


def figure_or_note(make: Callable[[], Figure], what: str) -> Figure | Note:
    """The figure, or why there is none. Libraries raise many kinds for data they cannot draw; none may end a report."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make()
    except ImagematchError as error:
        return Note(f"{what}: {error}")
    except Exception as error:
        reason = str(error).strip().splitlines()
        return Note(f"{what}: not possible here ({reason[0] if reason else type(error).__name__})")


def table_or_note(make: Callable[[], pd.DataFrame], what: str) -> pd.DataFrame | Note:
    """The table, or why there is none."""
    try:
        frame = make()
    except ImagematchError as error:
        return Note(f"{what}: {error}")
    return frame if len(frame) else Note(f"{what}: none.")
