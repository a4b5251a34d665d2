"""One self-contained HTML page: text, tables, plots and images, with plotly embedded once and no network."""

from __future__ import annotations

import functools
import json
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from imagematch.files import write_text
from imagematch.reporting.escaping import visible
from imagematch.reporting.notes import Note
from imagematch.reporting.numbers import number_text

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

_TEXT_AT_MOST = 160
_TALL_ROWS = 30
_NOT_IN_HTML = "\0\r<"
"""What a parser of HTML replaces in a script's text, or takes for its end."""

_AXIS_PX = 130
_PANEL_PX = 230
"""Width of one of several panels of a plot below which their titles meet; a narrow screen scrolls instead."""


@dataclass(frozen=True)
class ReportCard:
    """A metric at the top of a page.

    Attributes:
        title: of the metric.
        value: for people.
        below: lines under it: its interval, the baseline's.
    """

    title: str
    value: str
    below: tuple[str, ...] = ()


@functools.cache
def _environment() -> Environment:
    """Templates escape every value, and show its control and bidirectional characters as escapes."""
    environment = Environment(
        loader=PackageLoader("imagematch.reporting", "html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, (Markup, StrictUndefined)) else visible(value, None),
    )
    environment.filters["shortened"] = visible
    return environment


def render(template: str, **values: Any) -> Markup:
    """A template of this room with values: all text in them is escaped, only `Markup` is not."""
    return Markup(_environment().get_template(template).render(**values))  # noqa: S704


class Page:
    """Collects a page's parts and writes it. All text is escaped; only `html` takes markup.

    Args:
        title: of the page.
        kind: one or two words above the title.
    """

    def __init__(self, title: str, kind: str) -> None:
        self._title = title
        self._kind = kind
        self._sections: list[dict[str, Any]] = [{"id": "s0", "title": "", "parts": []}]
        self._plots: list[str] = []
        self._threshold_steps: Markup | None = None
        self._browsed = False

    def _add(self, kind: str, **values: Any) -> None:
        self._sections[-1]["parts"].append({"kind": kind, **values})

    def section(self, title: str, intro: str = "") -> None:
        """Begins a section."""
        self._sections.append({"id": f"s{len(self._sections)}", "title": title, "parts": []})
        if intro:
            self.text(intro)

    def heading(self, title: str) -> None:
        """A heading inside the section."""
        self._add("heading", text=title)

    def text(self, text: str) -> None:
        """A paragraph."""
        self._add("text", text=text)

    def lead(self, text: str) -> None:
        """The summary paragraph at the top of the page."""
        self._add("lead", text=text)

    def bullets(self, lines: Sequence[str]) -> None:
        """A list of sentences."""
        self._add("bullets", lines=lines)

    def link(self, text: str, path: str) -> None:
        """A paragraph that leads to another file, whose path is relative to the page."""
        self._add("link", text=text, href=quote(path))

    def browse(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Rows of images that are filtered by kind and by text, a page at a time, each image enlarged when clicked.

        Args:
            items: in their order, each with `title`, `kind`, `text` (what it is found by), `tiles` as the tiles'
                template wants them, and `more` (how many tiles were left out, in words).
        """
        kinds = Counter(str(item["kind"]) for item in items)
        self.html(render("browse.html.j2", items=items, kinds=sorted(kinds.items())))
        self._browsed = True

    def threshold_steps(self, numbers: Markup) -> None:
        """The numbers that the page's slider shows, as JSON without any user text."""
        self._threshold_steps = numbers

    def warning(self, text: str) -> None:
        """A highlighted paragraph."""
        self._add("warning", text=text)

    def html(self, code: Markup) -> None:
        """What `render` returned."""
        self._add("html", code=code)

    def svg(self, code: Markup) -> None:
        """An SVG image, which a narrow screen scrolls."""
        self._add("svg", code=code)

    def cards(self, cards: Sequence[ReportCard]) -> None:
        """A row of metrics."""
        self._add("cards", cards=cards)

    def code(self, text: str) -> None:
        """Preformatted text with its line breaks."""
        self._add("code", lines=text.splitlines())

    def terms(self, meanings: dict[str, str]) -> None:
        """Words and their meanings."""
        self._add("terms", meanings=meanings)

    def table(self, table: pd.DataFrame | Note, *, at_most: int = 500) -> None:
        """A table of at most so many rows, or the note in its place."""
        if isinstance(table, Note):
            self._add("note", text=table.text)
            return
        self._add(
            "table",
            head=[(name, _is_numeric(table[name])) for name in table.columns],
            rows=[[_cell(value) for value in row] for row in table.head(at_most).itertuples(index=False, name=None)],
            tall=len(table) > _TALL_ROWS,
        )
        if len(table) > at_most:
            self.text(f"The first {at_most:,} of {len(table):,} rows.")

    def plot(self, plot: Figure | Note, caption: str = "") -> None:
        """A plot, or the note in its place."""
        self._add("plots", plots=[self._plot(plot, caption)], beside=False)

    def plots(self, plots: Sequence[tuple[Figure | Note, str]]) -> None:
        """Plots with their captions, beside each other where there is room."""
        self._add("plots", plots=[self._plot(*one) for one in plots], beside=True)

    def _plot(self, plot: Figure | Note, caption: str) -> dict[str, Any]:
        if isinstance(plot, Note):
            return {"note": plot.text}
        specification = json.loads(plot.to_json() or "{}")
        layout = specification["layout"]
        layout.pop("template", None)  # page.js has the one of all plots
        layout.pop("title", None)  # the page has it as a heading
        layout["margin"] = {**layout.get("margin", {}), "t": min(layout.get("margin", {}).get("t", 30), 30)}
        columns = len({tuple(axis["domain"]) for name, axis in layout.items() if _is_panel(name, axis)})
        upright = sum(shape.get("x0") == shape.get("x1") for shape in layout.get("shapes", ()))  # parallel coordinates
        min_width = columns * _PANEL_PX if columns > 1 else upright * _AXIS_PX if upright > 1 else 0
        specification["texts"] = _shared_texts(specification["data"])
        self._plots.append(json.dumps(_rounded(specification), separators=(",", ":"), allow_nan=False))
        return {
            "number": len(self._plots) - 1,
            "height": int(layout.get("height") or 450),
            "min_width": min_width,
            "caption": caption,
        }

    def render(self) -> str:
        """The page's HTML."""
        return render(
            "page.html.j2",
            title=self._title,
            kind=self._kind,
            sections=self._sections,
            style=_own_file("page.css"),
            script=_own_file("page.js"),
            threshold_steps=self._threshold_steps,
            threshold_script=_own_file("threshold.js"),
            browse_script=_own_file("browse.js") if self._browsed else None,
            plotly=_packed_plotly() if self._plots else None,
            plots=_packed(f"[{','.join(self._plots)}]"),
        )

    def write(self, path: Path) -> None:
        """Writes the page atomically. Raises StudyError where that is impossible."""
        write_text(path, self.render() + "\n")


def _rounded(value: Any) -> Any:
    """A specification with floats of six digits: more are never seen, and double the page's data."""
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _shared_texts(traces: list[dict[str, Any]]) -> list[Any]:
    """Takes the hover texts out of traces, each list of them once: panels of one plot have the same many times."""
    texts: list[Any] = []
    for trace in traces:
        if isinstance(trace.get("hovertext"), list):
            if trace["hovertext"] not in texts:
                texts.append(trace["hovertext"])
            trace["hovertext"] = texts.index(trace["hovertext"])
    return texts


def _is_panel(name: str, axis: Any) -> bool:
    return name.startswith("xaxis") and isinstance(axis, dict) and "domain" in axis


def _is_numeric(column: pd.Series) -> bool:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return is_numeric_dtype(column) and not is_bool_dtype(column)


def _cell(value: object) -> tuple[str, bool]:
    """A cell's text, and whether it is a number."""
    if value is None:
        return "–", False
    if isinstance(value, (bool, str)):
        return visible(value, _TEXT_AT_MOST), False
    return visible(number_text(value.item() if hasattr(value, "item") else value), _TEXT_AT_MOST), True


@functools.cache
def _own_file(name: str) -> Markup:
    return Markup(resources.files("imagematch.reporting.html").joinpath(name).read_text(encoding="utf-8"))  # noqa: S704


@functools.cache
def _packed_plotly() -> dict[str, Any]:
    from plotly.offline import get_plotlyjs

    return _packed(get_plotlyjs())


def _packed(text: str) -> dict[str, Any]:
    """Text compressed, seven bits a character, as `page.js` unpacks it: plotly is 1.7 MB of it instead of 4.8.

    The three characters that HTML would not leave as they are stand 256 further up, where they take two bytes.
    """
    packed = np.frombuffer(zlib.compress(text.encode("utf-8"), 9), dtype=np.uint8)
    bits = np.unpackbits(packed)
    sevens = np.pad(bits, (0, -len(bits) % 7)).reshape(-1, 7)
    codes = (np.packbits(sevens, axis=1)[:, 0] >> 1).astype(np.uint32)
    codes[np.isin(codes, [ord(one) for one in _NOT_IN_HTML])] += 256
    return {"bytes": len(packed), "text": Markup(codes.astype("<u4").tobytes().decode("utf-32-le"))}  # noqa: S704
