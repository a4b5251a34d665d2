"""Plots of genuine and impostor pairs: ROC, DET, histogram of distances, reliability of match probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from imagematch.errors import DataError
from imagematch.evaluation import (
    PairDistances,
    Probability,
    at_threshold,
    det_curve,
    distance_histogram,
    reliability,
    roc_auc,
    roc_curve,
)
from imagematch.reporting.escaping import plot_label
from imagematch.reporting.plots.style import (
    BASELINE_COLOUR,
    GENUINE_COLOUR,
    IMPOSTOR_COLOUR,
    MARK_COLOUR,
    MODEL_COLOUR,
    SERIES_COLOURS,
    laid_out,
)

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_TINY_GENUINE_SHARE = 0.2
_SMALLEST_RATE = 1e-7
_CURVE_POINTS = 300
_DET_TICKS = (1e-6, 1e-5, 1e-4, 0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


def _colours(names: Mapping[str, PairDistances]) -> list[tuple[str, str]]:
    """Colour and dash of each curve: the model first, whatever is called a baseline grey."""
    others = iter(SERIES_COLOURS[1:] * len(names))
    styles = []
    for number, name in enumerate(names):
        if "baseline" in name.lower():
            styles.append((BASELINE_COLOUR, "dash"))
        else:
            styles.append((MODEL_COLOUR if number == 0 else next(others), "solid"))
    return styles


def _threshold_point(pairs: PairDistances, threshold: float) -> tuple[float, float] | None:
    """FAR and TAR at the threshold."""
    at = at_threshold(pairs, threshold)
    return None if at.far is None or at.tar is None else (at.far, at.tar)


def roc_plot(curves: Mapping[str, PairDistances], threshold: float | None = None) -> Figure:
    """The ROC: true accept rate over false accept rate, all pairs, the latter on a logarithmic axis.

    Args:
        curves: name -> distances of all pairs; the first is the model, a name with "baseline" in it is drawn grey.
        threshold: marked on the first curve.

    Raises:
        DataError: there is no genuine or no impostor pair.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    smallest = 1.0
    for (name, pairs), (colour, dash) in zip(curves.items(), _colours(curves), strict=True):
        curve = roc_curve(pairs, _CURVE_POINTS)
        shown = curve.far > 0
        if shown.any():
            smallest = min(smallest, float(curve.far[shown][0]))
        figure.add_trace(
            go.Scatter(
                x=curve.far[shown].tolist(),  # lists: the page looks its slider's threshold up in them
                y=curve.tar[shown].tolist(),
                customdata=curve.distance[shown].tolist(),
                mode="lines",
                name=f"{plot_label(name)} (AUC {roc_auc(pairs):.4f})",
                line={"color": colour, "dash": dash, "width": 2.2},
                hovertemplate="FAR %{x:.3g}<br>TAR %{y:.4f}<br>threshold %{customdata:.4f}<extra></extra>",
            )
        )
    _add_chance(figure, smallest)
    if threshold is not None and (point := _threshold_point(next(iter(curves.values())), threshold)) is not None:
        _add_mark(figure, max(point[0], smallest), point[1], f"threshold {threshold:.4f}")
    laid_out(figure)
    figure.update_xaxes(type="log", title="false accept rate (FAR)", exponentformat="power", dtick=1)
    figure.update_yaxes(title="true accept rate (TAR)", range=[-0.02, 1.02])
    return figure


def _add_chance(figure: Figure, smallest: float) -> None:
    import plotly.graph_objects as go

    rates = np.geomspace(min(smallest, 0.1), 1, 60)
    figure.add_trace(
        go.Scatter(
            x=rates,
            y=rates,
            mode="lines",
            name="chance",
            line={"color": BASELINE_COLOUR, "dash": "dot", "width": 1},
            hoverinfo="skip",
        )
    )


def _add_mark(figure: Figure, x: float, y: float, name: str) -> None:
    import plotly.graph_objects as go

    marker = {"color": MARK_COLOUR, "size": 10, "symbol": "x"}
    mark = go.Scatter(x=[x], y=[y], mode="markers", name=name, marker=marker, hoverinfo="name", meta="threshold")
    figure.add_trace(mark)


def _probit(rates: np.ndarray) -> np.ndarray:
    from statistics import NormalDist

    inverse = NormalDist().inv_cdf
    return np.array([inverse(float(rate)) for rate in np.clip(rates, _SMALLEST_RATE, 1 - _SMALLEST_RATE)])


def det_plot(curves: Mapping[str, PairDistances], threshold: float | None = None) -> Figure:
    """The detection error tradeoff: false reject rate over false accept rate, both on a normal-deviate scale.

    Args:
        curves: as for `roc_plot`.
        threshold: marked on the first curve.

    Raises:
        DataError: there is no genuine or no impostor pair, or no threshold with errors of both kinds.

    Source: Martin et al., The DET curve in assessment of detection task performance, Eurospeech 1997.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    floors = []
    for (name, pairs), (colour, dash) in zip(curves.items(), _colours(curves), strict=True):
        curve = det_curve(pairs, _CURVE_POINTS)
        shown = (curve.far > 0) & (curve.frr > 0) & (curve.far < 1) & (curve.frr < 1)
        floors += [float(rates[shown].min()) for rates in (curve.far, curve.frr) if shown.any()]
        figure.add_trace(
            go.Scatter(
                x=_probit(curve.far[shown]).tolist(),
                y=_probit(curve.frr[shown]).tolist(),
                customdata=np.stack([curve.far[shown], curve.frr[shown], curve.distance[shown]], axis=1).tolist(),
                mode="lines",
                name=plot_label(name),
                line={"color": colour, "dash": dash, "width": 2.2},
                hovertemplate="FAR %{customdata[0]:.3g}<br>FRR %{customdata[1]:.3g}"
                "<br>threshold %{customdata[2]:.4f}<extra></extra>",
            )
        )
    if threshold is not None and (point := _threshold_point(next(iter(curves.values())), threshold)) is not None:
        far, frr = point[0], 1 - point[1]
        if 0 < far < 1 and 0 < frr < 1:
            _add_mark(
                figure,
                float(_probit(np.array([far]))[0]),
                float(_probit(np.array([frr]))[0]),
                f"threshold {threshold:.4f}",
            )
    if not floors:
        raise DataError("at every threshold one kind of error is 0, so there is nothing to trade off")
    floor = min(floors)
    ticks = [rate for rate in _DET_TICKS if rate >= floor / 3]
    axis = {
        "tickvals": _probit(np.array(ticks)).tolist(),
        "ticktext": [f"{100 * rate:g}%" for rate in ticks],
        "range": [float(_probit(np.array([max(floor / 2, _SMALLEST_RATE)]))[0]), float(_probit(np.array([0.85]))[0])],
        "zeroline": False,
    }
    laid_out(figure)
    figure.update_xaxes(title="false accept rate (FAR)", **axis)
    figure.update_yaxes(title="false reject rate (FRR)", **axis)
    return figure


def histogram_plot(pairs: PairDistances, threshold: float | None = None, bins: int = 120) -> Figure:
    """Distances of genuine and impostor pairs with the threshold.

    Where genuine pairs are few beside impostor pairs, both are drawn as densities (each with area 1), else as counts.

    Args:
        pairs: all pairs.
        threshold: drawn as a line; left of it is a match.
        bins: how many intervals.
    """
    import plotly.graph_objects as go

    histogram = distance_histogram(pairs, bins)
    width = float(histogram.edges[1] - histogram.edges[0])
    genuine, impostor = pairs.genuine.count, pairs.impostor.count
    tiny = min(genuine, impostor) < _TINY_GENUINE_SHARE * max(genuine, impostor)
    figure = go.Figure()
    for name, counts, total, colour in (
        ("genuine", histogram.genuine, genuine, GENUINE_COLOUR),
        ("impostor", histogram.impostor, impostor, IMPOSTOR_COLOUR),
    ):
        heights = counts / (max(total, 1) * width) if tiny else counts
        figure.add_trace(
            go.Bar(
                x=(histogram.edges[:-1] + histogram.edges[1:]) / 2,
                y=heights,
                width=width,
                customdata=np.stack([counts, histogram.edges[:-1], histogram.edges[1:]], axis=1),
                name=f"{name} ({total:,} pairs)",
                marker={"color": colour, "line": {"width": 0}},
                opacity=0.6,
                hovertemplate="%{customdata[0]:,} pairs at %{customdata[1]:.3f} to %{customdata[2]:.3f}<extra></extra>",
            )
        )
    laid_out(figure)
    figure.update_layout(barmode="overlay", bargap=0)
    if threshold is not None:
        figure.add_vline(
            x=threshold,
            line={"color": MARK_COLOUR, "width": 2},
            name="threshold",
            annotation_text=f"threshold {threshold:.4f}",
            annotation_font_color=MARK_COLOUR,
            annotation_name="threshold",
        )
    figure.update_xaxes(title="distance")
    figure.update_yaxes(title="density (each kind has area 1)" if tiny else "pairs")
    return figure


def reliability_plot(probability: Probability, pairs: PairDistances) -> Figure:
    """Claimed probability against the share of genuine pairs observed there, at the probability's prior.

    Raises:
        DataError: there is no genuine or no impostor pair.
    """
    import plotly.graph_objects as go

    binned = reliability(probability, pairs)
    figure = go.Figure()
    figure.add_trace(
        go.Scatter(
            x=[0, 1],
            y=[0, 1],
            mode="lines",
            line={"color": BASELINE_COLOUR, "dash": "dot"},
            name="as claimed",
            hoverinfo="skip",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=binned.claimed,
            y=binned.observed,
            customdata=100 * binned.weight,
            mode="lines+markers",
            line={"color": MODEL_COLOUR},
            marker={"size": 6 + 24 * binned.weight**0.5},
            name="observed (larger: more pairs)",
            hovertemplate="claimed %{x:.3f}<br>observed %{y:.3f}<br>%{customdata:.2f} % of the pairs<extra></extra>",
        )
    )
    laid_out(figure, height=380)
    figure.update_xaxes(title="claimed probability of a match", range=[-0.03, 1.03])
    figure.update_yaxes(title="share of genuine pairs", range=[-0.03, 1.03])
    return figure
