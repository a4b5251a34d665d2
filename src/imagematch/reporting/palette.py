"""Colours and layout that all figures share."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MODEL = "#2f6fde"
BASELINE = "#8b929c"
GENUINE = "#1a936f"
IMPOSTOR = "#e0702b"
MARK = "#b3261e"
SERIES = (MODEL, IMPOSTOR, GENUINE, "#9654c8", "#c49a00", "#d6498f", "#3aa6b9", "#7a5c43")

_TWENTY = (
    *("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#9498a0"),
    *("#1b4f9c", "#b57f00", "#b3261e", "#2f8f7b", "#1f6e2e", "#c2418f", "#6b2fb3", "#5a8fd6", "#5f3f2b", "#5b5f66"),
)


def class_colours(classes: int) -> list[str]:
    """A colour for each class: distinct ones for twenty, then evenly spaced hues of three lightnesses."""
    if classes <= len(_TWENTY):
        return list(_TWENTY[:classes])
    colours = []
    for number in range(classes):
        red, green, blue = colorsys.hls_to_rgb((number * 0.618034) % 1.0, (0.42, 0.55, 0.66)[number % 3], 0.62)
        colours.append(f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}")
    return colours


def laid_out(figure: Figure, *, height: int = 420, title: str = "") -> Figure:
    """`figure` in the house's layout: white (a page's script makes it fit its colours), small margins."""
    figure.update_layout(
        template="plotly_white",
        colorway=SERIES,
        height=height,
        margin={"l": 60, "r": 20, "t": 50 if title else 30, "b": 50},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        title=title or None,
        hoverlabel={"align": "left"},
    )
    return figure
