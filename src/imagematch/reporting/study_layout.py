"""How Optuna's figures of a study look in the house: layout, legend, what of the study is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imagematch.reporting.palette import laid_out
from imagematch.reporting.study_reading import drawable_copy

if TYPE_CHECKING:
    import optuna
    from plotly.graph_objects import Figure


def in_house(figure: Figure, height: int, sample: str = "") -> Figure:
    """The figure in the house's layout.

    Args:
        figure: of Optuna's; changed.
        height: in pixels.
        sample: what part of the study is drawn; it stands over the figure. Empty where all of it is.
    """
    title: Any = figure.layout.title.text
    legend = figure.layout.legend.to_plotly_json()
    laid_out(figure, height=height, title=title or "")
    if figure.layout.showlegend is not False and len(figure.data) > 12:
        figure.update_layout(showlegend=False)
    figure.update_layout(legend={"orientation": "v", "x": 1.01, "y": 1, "xanchor": "left", "yanchor": "top", **legend})
    if sample:
        figure.add_annotation(
            text=sample, showarrow=False, xref="paper", yref="paper", x=0, y=1, xanchor="left", yanchor="bottom"
        )
    return figure


def timeline(study: optuna.Study, *, bare: bool) -> Figure:
    """Optuna's timeline without the trials that never began, which it would draw at the end.

    Args:
        study: whose repeated trials are drawn too.
        bare: without the parameters, which it shows at each bar.
    """
    from optuna.visualization import plot_timeline

    figure = plot_timeline(drawable_copy(study, repeats=True, bare=bare))
    figure.data = [bar for bar in figure.data if bar.name != "WAITING"]
    return figure
