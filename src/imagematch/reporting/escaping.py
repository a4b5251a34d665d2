"""Makes class names, file names and other foreign text harmless where no template escapes it: plots, CSV and TSV."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from imagematch.events import printable

if TYPE_CHECKING:
    import pandas as pd

_ELLIPSIS = "…"
_FORMULA_STARTS = ("=", "+", "-", "@", '"')  # a quote: it hides a formula, or joins rows, where the file quotes nothing


def visible(text: object, at_most: int | None = 100) -> str:
    """`text` as one line: control and bidirectional characters, line feeds and lone surrogates as escapes.

    Args:
        text: anything; its `str`.
        at_most: characters; a longer line is cut in the middle. None cuts nothing.
    """
    line = printable(str(text)).replace("\n", "\\n").replace("\t", "\\t")
    if at_most is None or len(line) <= at_most:
        return line
    room = at_most - len(_ELLIPSIS)
    return line[: room - room // 2] + _ELLIPSIS + line[len(line) - room // 2 :]


def plot_label(text: object, at_most: int | None = 100) -> str:
    """`text` for plotly's names, labels and hovers, which interpret tags but do not decode the entities of quotes."""
    return html.escape(visible(text, at_most), quote=False)


def spreadsheet_cell(text: object) -> str:
    """`text` as one field of a CSV or TSV file: one line, and never a formula or a quoted field to a spreadsheet."""
    line = visible(text, None)
    return f"'{line}" if line.lstrip().startswith(_FORMULA_STARTS) else line


def spreadsheet_text(table: pd.DataFrame) -> str:
    """A table as CSV; no spreadsheet takes its texts or headings for formulas."""
    harmless = table.map(lambda value: spreadsheet_cell(value) if isinstance(value, str) else value)
    return str(harmless.set_axis([spreadsheet_cell(name) for name in table], axis=1).to_csv(index=False))
