"""One self-contained HTML page: text, tables, figures and pictures, with plotly embedded once and no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from imagematch.files import write_text
from imagematch.reporting.escaping import markup
from imagematch.reporting.metrics_tables import number
from imagematch.reporting.notes import Note

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)
_TEXT_AT_MOST = 160
_TALL_ROWS = 30


@dataclass(frozen=True)
class Card:
    """A figure at the top of a page.

    Attributes:
        title: what it is.
        value: the figure, for people.
        below: lines under it: its interval, the baseline's.
    """

    title: str
    value: str
    below: tuple[str, ...] = ()


class Page:
    """Collects a page's parts and writes it. All text given to it is escaped; only `html` takes markup.

    Args:
        title: of the page.
        kind: one or two words above the title.
    """

    def __init__(self, title: str, kind: str) -> None:
        self._title = title
        self._kind = kind
        self._sections: list[tuple[str, list[str]]] = [("", [])]
        self._has_figure = False

    @property
    def _parts(self) -> list[str]:
        return self._sections[-1][1]

    def section(self, title: str, intro: str = "") -> None:
        """Begins a section."""
        self._sections.append((title, []))
        if intro:
            self.text(intro)

    def heading(self, title: str) -> None:
        """A heading inside the section."""
        self._parts.append(f"<h3>{markup(title, None)}</h3>")

    def text(self, text: str) -> None:
        """A paragraph."""
        self._parts.append(f"<p>{markup(text, None)}</p>")

    def warning(self, text: str) -> None:
        """A paragraph that must not be overlooked."""
        self._parts.append(f'<p class="warning" role="note">{markup(text, None)}</p>')

    def html(self, code: str) -> None:
        """Markup as it is: everything foreign in it must have been escaped."""
        self._parts.append(code)

    def cards(self, cards: Sequence[Card]) -> None:
        """A row of figures."""
        boxes = "".join(
            f'<div class="card"><div class="card-title">{markup(card.title)}</div>'
            f'<div class="card-value">{markup(card.value)}</div>'
            + "".join(f'<div class="card-below">{markup(line)}</div>' for line in card.below)
            + "</div>"
            for card in cards
        )
        self._parts.append(f'<div class="cards">{boxes}</div>')

    def code(self, text: str) -> None:
        """Preformatted text; its lines are kept."""
        lines = "\n".join(markup(line, None) for line in text.splitlines())
        self._parts.append(f"<pre><code>{lines}</code></pre>")

    def table(self, table: pd.DataFrame | Note, *, at_most: int = 500) -> None:
        """A table of at most so many rows, or the note in its place."""
        if isinstance(table, Note):
            self._note(table)
            return
        head = "".join(f'<th scope="col"{_alignment(table[name])}>{markup(name)}</th>' for name in table.columns)
        rows = "".join(
            f"<tr>{''.join(_cell(value) for value in row)}</tr>"
            for row in table.head(at_most).itertuples(index=False, name=None)
        )
        body = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        self._parts.append(f'<div class="scroll{" tall" if len(table) > _TALL_ROWS else ""}">{body}</div>')
        if len(table) > at_most:
            self.text(f"The first {at_most:,} of {len(table):,} rows.")

    def figure(self, shown: Figure | Note, caption: str = "") -> None:
        """A figure, or the note in its place."""
        self._parts.append(self._figure_html(shown, caption))

    def figures(self, shown: Sequence[tuple[Figure | Note, str]]) -> None:
        """Figures with their captions, beside each other where there is room."""
        self._parts.append(f'<div class="grid">{"".join(self._figure_html(*one) for one in shown)}</div>')

    def _note(self, note: Note) -> None:
        self._parts.append(f'<p class="note">{markup(note.text, None)}</p>')

    def _figure_html(self, shown: Figure | Note, caption: str) -> str:
        if isinstance(shown, Note):
            return f'<p class="note">{markup(shown.text, None)}</p>'
        self._has_figure = True
        height = int(shown.layout.height or 450)
        shown.update_layout(title=None)
        data = (shown.to_json() or "").replace("<", "\\u003c").replace(">", "\\u003e")
        below = f"<figcaption>{markup(caption, None)}</figcaption>" if caption else ""
        return (
            f'<figure class="plot"><div class="canvas" style="height:{height}px"></div>'
            f'<script type="application/json">{data}</script>{below}</figure>'
        )

    def render(self) -> str:
        """The page's HTML."""
        titled = [(place, title) for place, (title, _) in enumerate(self._sections) if title]
        links = "".join(f'<a href="#s{place}">{markup(title)}</a>' for place, title in titled)
        body = "".join(
            f'<section id="s{place}">{f"<h2>{markup(title)}</h2>" if title else ""}{"".join(parts)}</section>'
            for place, (title, parts) in enumerate(self._sections)
        )
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{markup(self._title)}</title><style>{_file('page.css')}</style></head><body>"
            f'<header><div class="kind">{markup(self._kind)}</div><h1>{markup(self._title)}</h1></header>'
            f"<nav>{links}</nav><main>{body}</main>{self._scripts()}</body></html>\n"
        )

    def _scripts(self) -> str:
        if not self._has_figure:
            return ""
        from plotly.offline import get_plotlyjs

        library = get_plotlyjs().replace("</script", "<\\/script")
        scripts = f"<script>{library}</script><script>{_file('page.js')}</script>"
        return f"<noscript>The figures need JavaScript.</noscript>{scripts}"

    def write(self, path: Path) -> None:
        """Writes the page atomically. Raises StudyError where that is impossible."""
        write_text(path, self.render())


def _alignment(column: pd.Series) -> str:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return ' class="number"' if is_numeric_dtype(column) and not is_bool_dtype(column) else ""


def _cell(value: object) -> str:
    if isinstance(value, (bool, str)) or value is None:
        return f"<td>{'–' if value is None else markup(value, _TEXT_AT_MOST)}</td>"
    text = number(value.item() if hasattr(value, "item") else value)
    return f'<td class="number">{markup(text, _TEXT_AT_MOST)}</td>'


def _file(name: str) -> str:
    return resources.files("imagematch.reporting").joinpath(name).read_text(encoding="utf-8")
