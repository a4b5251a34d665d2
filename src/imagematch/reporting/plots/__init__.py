"""Plotly figures, the same in notebooks, reports and the dashboard."""

from __future__ import annotations

from imagematch.reporting.plots.importance import Importance, importance_sentence, importances
from imagematch.reporting.plots.neighbours import neighbours_plot
from imagematch.reporting.plots.pairs import det_plot, histogram_plot, reliability_plot, roc_plot
from imagematch.reporting.plots.projection import projection_plot
from imagematch.reporting.plots.study import StudyPlots, TitledPlot

__all__ = [
    "Importance",
    "StudyPlots",
    "TitledPlot",
    "det_plot",
    "histogram_plot",
    "importance_sentence",
    "importances",
    "neighbours_plot",
    "projection_plot",
    "reliability_plot",
    "roc_plot",
]
