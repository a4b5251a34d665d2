"""Learning curves: what each epoch of a training gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.config import direction_of
from imagematch.files import write_text
from imagematch.reporting.escaping import label, markup
from imagematch.reporting.palette import MARK, SERIES, laid_out

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

History = Sequence[Mapping[str, Any]]

LEARNING_CURVE_FILE = "learning_curve.svg"

_PANEL_WIDTH, _PANEL_HEIGHT, _MARGIN = 400, 220, 60


def best_epoch(history: History, objective: str) -> int | None:
    """The epoch, from 1, whose `objective` was best; of equals the first; None where no epoch has it."""
    measured = [record for record in history if record.get(objective) is not None]
    if not measured:
        return None
    sign = 1.0 if direction_of(objective) == "maximize" else -1.0
    return int(max(measured, key=lambda record: sign * record[objective])["epoch"])


def _panels(history: History, objective: str) -> dict[str, list[str]]:
    """Title of a panel -> the series in it; empty panels are left out."""
    names = [name for record in history for name in record if name != "epoch"]
    known = list(dict.fromkeys(names))
    figures = [name for name in known if name.startswith("val_") and name != "val_loss"]
    figures.sort(key=lambda name: name != objective)
    panels: dict[str, list[str]] = {
        "Loss": [name for name in ("loss", "val_loss") if name in known],
        "Validation figures": figures,
        "Active share and spread": [n for n in ("active", "spread") if n in known],
        "Learning rate": [name for name in ("learning_rate",) if name in known],
    }
    return {title: series for title, series in panels.items() if series}


def _points(history: History, name: str) -> tuple[list[int], list[float]]:
    pairs = [(int(r["epoch"]), float(r[name])) for r in history if r.get(name) is not None and np.isfinite(r[name])]
    return [epoch for epoch, _ in pairs], [value for _, value in pairs]


def learning_curves(history: History, objective: str) -> Figure:
    """Loss, validation figures, active share, spread and learning rate by epoch; the best epoch is marked.

    Args:
        history: one record an epoch, as training gives it: "epoch" from 1, then figures by name.
        objective: the figure the best epoch was chosen by.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    panels = _panels(history, objective)
    rows = max(1, (len(panels) + 1) // 2)
    figure = make_subplots(
        rows=rows,
        cols=2,
        subplot_titles=list(panels),
        vertical_spacing=0.16 if rows > 1 else 0.2,
        horizontal_spacing=0.09,
    )
    best = best_epoch(history, objective)
    for place, series in enumerate(panels.values()):
        row, column = place // 2 + 1, place % 2 + 1
        for number, name in enumerate(series):
            epochs, values = _points(history, name)
            shown = label(name)
            figure.add_trace(
                go.Scatter(
                    x=epochs,
                    y=values,
                    name=shown,
                    mode="lines+markers" if len(epochs) < 60 else "lines",
                    line={"color": SERIES[number % len(SERIES)], "width": 3 if name == objective else 1.6},
                    marker={"size": 4},
                    showlegend=len(series) > 1,
                    legend=f"legend{place + 1}" if place else "legend",
                    hovertemplate=f"epoch %{{x}}<br>{shown} %{{y:.5g}}<extra></extra>",
                ),
                row=row,
                col=column,
            )
        if best is not None:
            figure.add_vline(x=best, line={"color": MARK, "dash": "dot", "width": 1.5}, row=row, col=column)
    laid_out(figure, height=300 * rows + 60)
    titled = list(panels.items())
    for place in range(len(panels)):
        axes = "" if place == 0 else str(place + 1)
        across, down = figure.layout[f"xaxis{axes}"].domain, figure.layout[f"yaxis{axes}"].domain
        place_in_panel = {"x": across[1], "xanchor": "right", "orientation": "v", "bgcolor": "rgba(128,128,128,0.12)"}
        middle = len(titled[place][1]) > 2 or "spread" in titled[place][1]  # the values lie near 1 and near 0
        height = {"y": sum(down) / 2, "yanchor": "middle"} if middle else {"y": down[1], "yanchor": "top"}
        figure.update_layout({f"legend{axes}": {**place_in_panel, **height}})
        rates = [rate for name in titled[place][1] if name == "learning_rate" for rate in _points(history, name)[1]]
        if rates and max(rates) > 0:  # a constant one would get an axis from -1 to 1
            figure.update_layout({f"yaxis{axes}": {"range": [0, 1.1 * max(rates)]}})
    figure.update_xaxes(title="epoch")
    return figure


def write_learning_curves(folder: Path, history: History, objective: str) -> Path:
    """Writes `learning_curve.svg` into `folder` (a small picture that any browser shows) and returns its path."""
    path = folder / LEARNING_CURVE_FILE
    write_text(path, learning_curve_svg(history, objective))
    return path


def learning_curve_svg(history: History, objective: str) -> str:
    """The learning curves as one SVG picture, without any script."""
    panels = list(_panels(history, objective).items())
    columns = 2
    rows = max(1, -(-len(panels) // columns))
    width, height = columns * (_PANEL_WIDTH + 2 * _MARGIN), rows * (_PANEL_HEIGHT + 2 * _MARGIN)
    best = best_epoch(history, objective)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for place, (title, series) in enumerate(panels):
        left = (place % columns) * (_PANEL_WIDTH + 2 * _MARGIN) + _MARGIN
        top = (place // columns) * (_PANEL_HEIGHT + 2 * _MARGIN) + _MARGIN
        parts.append(f'<g transform="translate({left} {top})">{_panel_svg(history, title, series, best)}</g>')
    return "".join([*parts, "</svg>\n"])


def _panel_svg(history: History, title: str, series: Sequence[str], best: int | None) -> str:
    lines = [(name, *_points(history, name)) for name in series]
    every_x = [x for _, xs, _ in lines for x in xs] or [0]
    every_y = [y for _, _, ys in lines for y in ys] or [0.0]
    first, last = min(every_x), max(every_x)
    low, high = min(every_y), max(every_y)
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - room, high + room

    def across(epoch: float) -> float:
        return _PANEL_WIDTH * ((epoch - first) / (last - first) if last > first else 0.5)

    def down(value: float) -> float:
        return _PANEL_HEIGHT * (high - value) / (high - low)

    parts = [f'<text y="-12" font-weight="600">{markup(title)}</text>']
    for value in np.linspace(low, high, 5):
        y = down(float(value))
        parts.append(f'<line x1="0" x2="{_PANEL_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e6ea"/>')
        parts.append(f'<text x="-6" y="{y + 4:.1f}" text-anchor="end" fill="#5b6470">{value:.3g}</text>')
    parts += [
        f'<text x="{across(epoch):.1f}" y="{_PANEL_HEIGHT + 18}" text-anchor="middle" fill="#5b6470">{epoch}</text>'
        for epoch in sorted({round(float(e)) for e in np.linspace(first, last, 6)})
    ]
    if best is not None:
        x = f"{across(best):.1f}"
        parts.append(f'<line x1="{x}" x2="{x}" y1="0" y2="{_PANEL_HEIGHT}" stroke="{MARK}" stroke-dasharray="3 3"/>')
    for number, (name, xs, ys) in enumerate(lines):
        colour = SERIES[number % len(SERIES)]
        points = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in zip(xs, ys, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        parts += [
            f'<circle cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="2" fill="{colour}"/>' for p in points.split()
        ]
        parts.append(
            f'<text x="{_PANEL_WIDTH - 4}" y="{14 + 15 * number}" text-anchor="end" fill="{colour}">'
            f"{markup(name)}</text>"
        )
    return "".join(parts)
