"""Optuna's plots of a study in the layout and the colours of all plots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imagematch.reporting.plots.drawable import drawable_copy
from imagematch.reporting.plots.style import WORST_TO_BEST, laid_out

if TYPE_CHECKING:
    import optuna
    from plotly.graph_objects import Figure

_ENTRIES_IN_LEGEND = 12


def restyled(figure: Figure, height: int, sample: str = "") -> Figure:
    """Optuna's figure in our layout and colours.

    Args:
        figure: changed.
        height: in pixels.
        sample: what part of the study is drawn; it stands over the plot. Empty where all of it is.
    """
    title: Any = figure.layout.title.text
    legend = figure.layout.legend.to_plotly_json()
    laid_out(figure, height=height, title=title or "")
    if figure.layout.showlegend is not False and len(figure.data) > _ENTRIES_IN_LEGEND:
        figure.update_layout(showlegend=False)
    figure.update_layout(legend={"orientation": "v", "x": 1.01, "y": 1, "xanchor": "left", "yanchor": "top", **legend})
    scale = [list(stop) for stop in WORST_TO_BEST]
    for trace in figure.data:  # Optuna's blues end in a blue that no dark screen shows
        for part in (trace, getattr(trace, "marker", None), getattr(trace, "line", None)):
            if getattr(part, "colorscale", None) is not None:
                part.colorscale = scale
    if sample:
        figure.add_annotation(
            text=sample, showarrow=False, xref="paper", yref="paper", x=0, y=1, xanchor="left", yanchor="bottom"
        )
    return figure


def timeline(study: optuna.Study, *, bare: bool) -> Figure:
    """Optuna's timeline without the trials that never began, which it would draw at the end.

    Args:
        study: whose duplicate trials are drawn too.
        bare: without the parameters, which it shows at each bar.
    """
    from optuna.visualization import plot_timeline

    figure = plot_timeline(drawable_copy(study, duplicates=True, bare=bare))
    figure.data = [bar for bar in figure.data if bar.name != "WAITING"]
    return figure
