"""Learning curves as one SVG image: beside a matcher, in its report, in the notebook and in optuna-dashboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor, isfinite, log10
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from imagematch.config import direction_of
from imagematch.events import printable
from imagematch.files import write_text

History = Sequence[Mapping[str, Any]]
"""One record an epoch (and fold): "epoch" from 1, metrics by name, "fold" where there are folds."""

LEARNING_CURVES_FILE = "learning_curve.svg"
SERIES_COLOURS = ("#2f6fde", "#d9622b", "#1a936f", "#9654c8", "#a67c00", "#d6498f", "#2a8fa3", "#8f6a4f")
"""Colours with a contrast of 3 or more to white paper and to a dark screen."""

_BEST_COLOUR = "#d13b3b"
_COLUMNS = 2
_WIDTH, _HEIGHT = 400, 200
_LEFT, _RIGHT, _ABOVE, _BELOW = 64, 36, 34, 40
_LEGEND_ROW, _CHARACTER = 16, 6.6
_MOST_MARKED = 60
"""Epochs of a line whose points are marked."""


def best_epoch(history: History, objective: str) -> int | None:
    """The epoch, from 1, whose `objective` was best; of equals the first; None where no epoch has it."""
    measured = [record for record in history if record.get(objective) is not None]
    if not measured:
        return None
    sign = 1.0 if direction_of(objective) == "maximize" else -1.0
    return int(max(measured, key=lambda record: sign * record[objective])["epoch"])


def write_learning_curves(folder: Path, history: History, objective: str) -> Path:
    """Writes `learning_curve.svg` into `folder` and returns its path. Raises StudyError where it cannot."""
    path = folder / LEARNING_CURVES_FILE
    write_text(path, learning_curves_svg(history, objective))
    return path


def learning_curves_svg(history: History, objective: str, *, embedded: bool = False) -> str:
    """Loss, validation metrics, active share, spread and learning rate by epoch, as SVG without any script.

    A dotted line marks the best epoch; of several folds there is a line each, and no best epoch.

    Args:
        history: the epochs; values that are missing or not finite are left out.
        objective: the metric that the best epoch was chosen by.
        embedded: in a page, whose text colour it takes; else dark on white.
    """
    panels = _panels(history, objective)
    rows = max(1, -(-len(panels) // _COLUMNS))
    legends = [_legend_rows(names) for names in panels.values()]
    above = _ABOVE + _LEGEND_ROW * max([len(legend) for legend in legends], default=0)
    cell_width, cell_height = _WIDTH + _LEFT + _RIGHT, _HEIGHT + above + _BELOW
    size = (_COLUMNS * cell_width, rows * cell_height)
    svg = Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {size[0]} {size[1]}")
    svg.attrib |= {"class": "curves", "role": "img", "font-family": "system-ui, sans-serif", "font-size": "12"}
    svg.attrib["aria-label"] = "Learning curves: loss and validation metrics by epoch"
    if not embedded:
        svg.attrib |= {"width": str(size[0]), "height": str(size[1]), "color": "#1f242b"}
        SubElement(svg, "rect", width=str(size[0]), height=str(size[1]), fill="white")
    folds = sorted({int(record.get("fold", 0)) for record in history})
    best = best_epoch(history, objective) if len(folds) == 1 else None
    for number, (title, names) in enumerate(panels.items()):
        left = number % _COLUMNS * cell_width + _LEFT
        top = number // _COLUMNS * cell_height + above
        group = SubElement(svg, "g", transform=f"translate({left} {top})", fill="currentColor")
        _text(group, title, 0, -above + 20, **{"font-weight": "600"})
        _draw_legend(group, legends[number], -above + 20 + _LEGEND_ROW)
        _draw_panel(group, {(n, fold): _points(history, n, fold) for n in names for fold in folds}, names, best)
    return tostring(svg, encoding="unicode") + "\n"


def _panels(history: History, objective: str) -> dict[str, list[str]]:
    """Title of a panel -> the series in it; empty panels are left out."""
    known = list(dict.fromkeys(name for record in history for name in record if name not in ("epoch", "fold")))
    metrics = [name for name in known if name.startswith("val_") and name != "val_loss"]
    metrics.sort(key=lambda name: name != objective)
    panels: dict[str, list[str]] = {
        "Loss": [name for name in ("loss", "val_loss") if name in known],
        "Validation metrics": metrics,
        "Active share and spread": [name for name in ("active", "spread") if name in known],
        "Learning rate": [name for name in ("learning_rate",) if name in known],
    }
    return {title: names for title, names in panels.items() if names}


def _points(history: History, name: str, fold: int) -> list[tuple[int, float]]:
    of_fold = [r for r in history if int(r.get("fold", 0)) == fold and r.get(name) is not None]
    return [(int(record["epoch"]), float(record[name])) for record in of_fold if isfinite(record[name])]


def _legend_rows(names: Sequence[str]) -> list[list[tuple[str, float, str]]]:
    """Rows of name, position and colour that fit over a panel."""
    rows: list[list[tuple[str, float, str]]] = [[]]
    across = 0.0
    for number, name in enumerate(names):
        width = _CHARACTER * len(name) + 14
        if rows[-1] and across + width > _WIDTH:
            rows.append([])
            across = 0.0
        rows[-1].append((name, across, _colour(number)))
        across += width
    return rows


def _colour(number: int) -> str:
    return SERIES_COLOURS[number % len(SERIES_COLOURS)]


def _draw_legend(group: Element, rows: list[list[tuple[str, float, str]]], top: float) -> None:
    for number, row in enumerate(rows):
        for name, across, colour in row:
            _text(group, name, across, top + number * _LEGEND_ROW, fill=colour)


def _draw_panel(
    group: Element, lines: Mapping[tuple[str, int], list[tuple[int, float]]], names: Sequence[str], best: int | None
) -> None:
    epochs = [epoch for points in lines.values() for epoch, _ in points] or [0]
    first, last = min(epochs), max(epochs)
    low, high = _range([value for points in lines.values() for _, value in points], names)

    def across(epoch: float) -> float:
        return _WIDTH * ((epoch - first) / (last - first) if last > first else 0.5)

    def down(value: float) -> float:
        return _HEIGHT * (high - value) / (high - low)

    for value in _ticks(low, high):
        height = f"{down(value):.1f}"
        grid = {"x1": "0", "x2": str(_WIDTH), "y1": height, "y2": height, "stroke": "currentColor"}
        SubElement(group, "line", {**grid, "stroke-opacity": "0.15"})
        _text(group, f"{value:.6g}", -8, down(value) + 4, **{"text-anchor": "end", "fill-opacity": "0.75"})
    for epoch in sorted({round(first + (last - first) * step / 5) for step in range(6)}):
        _text(group, str(epoch), across(epoch), _HEIGHT + 18, **{"text-anchor": "middle", "fill-opacity": "0.75"})
    _text(group, "epoch", _WIDTH, _HEIGHT + 34, **{"text-anchor": "end", "fill-opacity": "0.75"})
    if best is not None:
        where = f"{across(best):.1f}"
        mark = {"x1": where, "x2": where, "y1": "0", "y2": str(_HEIGHT), "stroke": _BEST_COLOUR}
        SubElement(group, "line", {**mark, "stroke-dasharray": "3 3"})
    for (name, fold), points in lines.items():
        colour = _colour(names.index(name))
        corners = " ".join(f"{across(epoch):.1f},{down(value):.1f}" for epoch, value in points)
        SubElement(group, "polyline", {"points": corners, "fill": "none", "stroke": colour, "stroke-width": "1.8"})
        if len(points) > _MOST_MARKED:
            continue
        of_fold = f", fold {fold + 1}" if len(lines) > len(names) else ""
        for epoch, value in points:
            dot = {"cx": f"{across(epoch):.1f}", "cy": f"{down(value):.1f}", "r": "2.5", "fill": colour}
            hover = SubElement(SubElement(group, "circle", dot), "title")
            hover.text = f"epoch {epoch}{of_fold}: {_shown(name)} {value:.5g}"


def _range(values: Sequence[float], names: Sequence[str]) -> tuple[float, float]:
    """Ends of the vertical axis; for learning rates it begins at 0, so that a constant rate is a visible line."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    if list(names) == ["learning_rate"] and high > 0:
        return 0.0, 1.1 * high
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two ends, three to seven of them."""
    power = 10.0 ** floor(log10((high - low) / 4))
    step = next(power * one for one in (1, 2, 5, 10) if (high - low) / (power * one) <= 6)
    return [step * number for number in range(ceil(low / step), floor(high / step) + 1)]


def _shown(name: str) -> str:
    return printable(name).replace("\n", "\\n").replace("\t", "\\t")


def _text(group: Element, text: str, x: float, y: float, **attributes: str) -> None:
    SubElement(group, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", **attributes}).text = _shown(text)
