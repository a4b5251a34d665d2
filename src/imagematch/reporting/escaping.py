"""Makes names and other foreign text harmless wherever a report puts them: HTML, plotly, CSV and TSV."""

from __future__ import annotations

import html

from imagematch.events import printable

_ELLIPSIS = "…"
_FORMULA_STARTS = ("=", "+", "-", "@", '"')  # a quote: it hides a formula, or joins rows, where the file quotes nothing


def visible(text: object, at_most: int | None = 100) -> str:
    """`text` as one line: control characters, line feeds and lone surrogates as escapes; cut in the middle if long."""
    line = printable(str(text)).replace("\n", "\\n").replace("\t", "\\t")
    if at_most is None or len(line) <= at_most:
        return line
    kept = at_most - len(_ELLIPSIS)
    return line[: kept - kept // 2] + _ELLIPSIS + line[len(line) - kept // 2 :]


def markup(text: object, at_most: int | None = 100) -> str:
    """`text` for HTML, in elements and in quoted attributes."""
    return html.escape(visible(text, at_most))


def label(text: object, at_most: int | None = 100) -> str:
    """`text` for plotly's names, labels and hovers, which interpret tags but do not decode the entities of quotes."""
    return html.escape(visible(text, at_most), quote=False)


def cell(text: object) -> str:
    """`text` as one field of a CSV or TSV file: one line, and never a formula or a quoted field to a spreadsheet."""
    line = visible(text, None)
    return f"'{line}" if line.lstrip().startswith(_FORMULA_STARTS) else line
