"""A line of text in place of a plot or a table that cannot be made."""

from __future__ import annotations

import html
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imagematch.errors import ImagematchError
from imagematch.reporting.escaping import visible

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure


@dataclass(frozen=True)
class Note:
    """One line in place of a plot or a table. A notebook shows it as text."""

    text: str

    def __str__(self) -> str:
        return visible(self.text, None)

    def _repr_html_(self) -> str:
        return f"<p><em>{html.escape(str(self))}</em></p>"


def plot_or_note(make: Callable[[], Figure], title: str) -> Figure | Note:
    """The plot, or a note why there is none: an exception of a plotting library must not end a report."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make()
    except ImagematchError as error:
        return Note(f"{title}: {error}")
    except Exception as error:
        reason = str(error).strip().splitlines()
        return Note(f"{title}: not possible here ({reason[0] if reason else type(error).__name__})")


def table_or_note(make: Callable[[], pd.DataFrame], title: str) -> pd.DataFrame | Note:
    """The table, or why there is none."""
    try:
        frame = make()
    except ImagematchError as error:
        return Note(f"{title}: {error}")
    return frame if len(frame) else Note(f"{title}: none.")
