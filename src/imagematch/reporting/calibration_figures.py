"""Whether claimed match probabilities hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imagematch.reporting.palette import BASELINE, MODEL, laid_out

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from imagematch.evaluation import PairDistances, Probability


def reliability_figure(probability: Probability, pairs: PairDistances) -> Figure:
    """Claimed probability against the share of genuine pairs observed there, at the probability's prior.

    Raises:
        DataError: there is no genuine or no impostor pair.
    """
    import plotly.graph_objects as go

    from imagematch.evaluation import reliability

    found = reliability(probability, pairs)
    figure = go.Figure()
    figure.add_trace(
        go.Scatter(
            x=[0, 1],
            y=[0, 1],
            mode="lines",
            line={"color": BASELINE, "dash": "dot"},
            name="as claimed",
            hoverinfo="skip",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=found.claimed,
            y=found.observed,
            customdata=100 * found.weight,
            mode="lines+markers",
            line={"color": MODEL},
            marker={"size": 6 + 24 * found.weight**0.5},
            name="observed (larger: more pairs)",
            hovertemplate="claimed %{x:.3f}<br>observed %{y:.3f}<br>%{customdata:.2f} % of the pairs<extra></extra>",
        )
    )
    laid_out(figure, height=380)
    figure.update_xaxes(title="claimed probability of a match", range=[-0.03, 1.03])
    figure.update_yaxes(title="share of genuine pairs", range=[-0.03, 1.03])
    return figure
