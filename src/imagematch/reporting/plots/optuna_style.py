"""Optuna's plots of a study in the layout and the colours of all plots."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.reporting.plots.style import (
    BASELINE_COLOUR,
    GENUINE_COLOUR,
    IMPOSTOR_COLOUR,
    MARK_COLOUR,
    MODEL_COLOUR,
    WORST_TO_BEST,
    laid_out,
)

if TYPE_CHECKING:
    import optuna
    from plotly.graph_objects import Figure

    from imagematch.reporting.plots.importance import Importance

_ENTRIES_IN_LEGEND = 12
_FEWEST_FOR_FOCUS = 5
_WHISKERS = 3.0
_STATE_COLOURS = {
    "COMPLETE": MODEL_COLOUR,
    "PRUNED": IMPOSTOR_COLOUR,
    "FAIL": MARK_COLOUR,
    "RUNNING": GENUINE_COLOUR,
}


def restyled(figure: Figure, height: int, sample: str = "", scale: str = "Blues") -> Figure:
    """Optuna's figure in our layout and colours.

    Args:
        figure: changed.
        height: in pixels.
        sample: what part of the study is drawn; it stands over the plot. Empty where all of it is.
        scale: the colour scale that Optuna took single colours from.
    """
    title: Any = figure.layout.title.text
    legend = figure.layout.legend.to_plotly_json()
    laid_out(figure, height=height, title=title or "")
    if figure.layout.showlegend is not False and len(figure.data) > _ENTRIES_IN_LEGEND:
        figure.update_layout(showlegend=False)
    figure.update_layout(legend={"orientation": "v", "x": 1.01, "y": 1, "xanchor": "left", "yanchor": "top", **legend})
    _recolour(figure, scale)
    _unquote_choices(figure)
    _fill_diagonals(figure)
    if sample:
        figure.add_annotation(
            text=sample, showarrow=False, xref="paper", yref="paper", x=0, y=1, xanchor="left", yanchor="bottom"
        )
    return figure


def _recolour(figure: Figure, scale: str) -> None:
    """Puts our scale in place of Optuna's, whose darkest blue is illegible on a dark screen, its yellow on paper."""
    from plotly.colors import sample_colorscale, unlabel_rgb

    own = [list(stop) for stop in WORST_TO_BEST]
    steps = [step / 100 for step in range(101)]
    theirs, ours = sample_colorscale(scale, steps), sample_colorscale(own, steps)
    palette = np.array([unlabel_rgb(colour) for colour in theirs])

    @functools.cache
    def recoloured(colour: Any) -> Any:
        if isinstance(colour, tuple):
            return [recoloured(one) for one in colour]
        if not isinstance(colour, str) or not colour.startswith("rgb("):
            return colour
        return ours[int(np.argmin(np.abs(palette - unlabel_rgb(colour)).sum(axis=1)))]

    for trace in figure.data:
        parts: list[Any] = [trace, getattr(trace, "marker", None), getattr(trace, "line", None)]
        for part in parts:
            if getattr(part, "colorscale", None) is not None:
                part.colorscale = own
            elif getattr(part, "color", None) is not None:
                part.color = recoloured(part.color)
    for annotation in figure.layout.annotations:
        annotation.font.color = None


def _unquote_choices(figure: Figure) -> None:
    """Choices as they were written: Optuna puts those that are text in quotes."""
    for axis in figure.select_xaxes():
        if axis.categoryarray is not None:
            axis.categoryarray = [_unquoted(choice) for choice in axis.categoryarray]
    for trace in figure.data:
        if trace.type == "scatter" and trace.x is not None and any(isinstance(x, str) for x in trace.x):
            trace.x = [_unquoted(x) for x in trace.x]


def _unquoted(choice: Any) -> Any:
    quoted = isinstance(choice, str) and len(choice) > 2 and choice[0] == choice[-1] == "'"
    return choice[1:-1] if quoted else choice


def _fill_diagonals(figure: Figure) -> None:
    """Gives the empty panels of a contour plot their parameter's values: plotly cannot draw an axis of no choices."""
    if not any(trace.type == "contour" for trace in figure.data):
        return
    scatter = [trace for trace in figure.data if trace.type == "scatter"]

    def row(trace: Any) -> tuple[float, ...] | None:
        return figure.layout[f"yaxis{(trace.yaxis or 'y')[1:]}"].domain

    for empty in scatter:
        others = [trace for trace in scatter if row(trace) == row(empty) and trace.x is not None and len(trace.x)]
        if empty.x is None and empty.xaxis and others:
            empty.update(x=others[0].y, y=others[0].y, mode="markers", marker={"opacity": 0}, hoverinfo="skip")


def timeline(study: optuna.Study) -> Figure:
    """Optuna's timeline without the trials that never began, which it would draw at the end.

    Args:
        study: a copy for plots, whose duplicate trials are drawn too.
    """
    from optuna.visualization import plot_timeline

    figure = plot_timeline(study)
    figure.data = [bar for bar in figure.data if bar.name != "WAITING"]
    for bar in figure.data:
        bar.marker.color = _STATE_COLOURS.get(bar.name, BASELINE_COLOUR)
    return figure


def importance_plot(found: Sequence[Importance], sample: str = "") -> Figure:
    """Bars of importance with their intervals, and a cross where chance alone would be; `sample` as for `restyled`."""
    import plotly.graph_objects as go

    names = [one.name for one in found][::-1]
    ordered = list(found)[::-1]
    spread = {
        "type": "data",
        "symmetric": False,
        "array": [max(min(one.high, 1.0) - one.share, 0.0) for one in ordered],
        "arrayminus": [max(one.share - one.low, 0.0) for one in ordered],
        "color": BASELINE_COLOUR,
    }
    colours = [MODEL_COLOUR if one.established else BASELINE_COLOUR for one in ordered]
    figure = go.Figure()
    figure.add_trace(
        go.Bar(
            x=[one.share for one in ordered],
            y=names,
            orientation="h",
            error_x=spread,
            marker={"color": colours},
            name="importance (grey: not told from chance)",
            hovertemplate="%{y}: %{x:.2f}<extra></extra>",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=[one.by_chance for one in ordered],
            y=names,
            mode="markers",
            marker={"symbol": "x-thin", "size": 10, "line": {"width": 2, "color": IMPOSTOR_COLOUR}},
            name="by chance",
            hovertemplate="by chance up to %{x:.2f}<extra></extra>",
        )
    )
    figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0})
    figure.update_xaxes(title=f"share of the importance{f' ({sample})' if sample else ''}", rangemode="tozero")
    return figure


def focus_history(figure: Figure, values: Sequence[float]) -> Figure:
    """Optuna's history, on the range of most trials: one far off would flatten all others.

    What lies outside (over three times the middle half's range beyond it) is counted in a line over the plot.
    """
    finite = np.array([value for value in values if np.isfinite(value)])
    if len(finite) < _FEWEST_FOR_FOCUS:
        return figure
    low, high = np.quantile(finite, (0.25, 0.75))
    room = _WHISKERS * (high - low)
    inside = finite[(finite >= low - room) & (finite <= high + room)]
    outside = finite[(finite < low - room) | (finite > high + room)]
    if room == 0 or not len(outside):
        return figure
    margin = 0.08 * float(np.ptp(inside)) or room
    figure.update_yaxes(range=[float(inside.min()) - margin, float(inside.max()) + margin])
    are = "trial is" if len(outside) == 1 else "trials are"
    text = f"{len(outside)} {are} outside of this range: {outside.min():.4g}"
    text += f" to {outside.max():.4g}" if len(outside) > 1 else ""
    return figure.add_annotation(
        text=text, showarrow=False, xref="paper", yref="paper", x=0, y=1, xanchor="left", yanchor="bottom"
    )
