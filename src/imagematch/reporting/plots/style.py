"""Colours and layout of all plots: every colour is legible on white paper and on a dark screen."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

from imagematch.learning_curves import SERIES_COLOURS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MODEL_COLOUR, IMPOSTOR_COLOUR, GENUINE_COLOUR = SERIES_COLOURS[:3]
BASELINE_COLOUR = "#7f8791"
MARK_COLOUR = "#d13b3b"
WORST_TO_BEST = ((0.0, "#d9622b"), (0.5, "#8d7f8c"), (1.0, "#2f6fde"))
"""A scale of colours that differ in hue, not in lightness: its ends are legible on white and on black."""

_LUMINANCES = (0.17, 0.24, 0.29)
"""Of colours with a contrast of 3 to white and to the dark paper, which is (L + 0.05) / (L + 0.05)."""


def class_colours(classes: int) -> list[str]:
    """A colour for each class: those of the series, then evenly spaced hues of three lightnesses."""
    more = [_of_luminance((number * 0.618034) % 1.0, _LUMINANCES[number % 3]) for number in range(classes)]
    return [*SERIES_COLOURS, *more][:classes]


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb`, 0 to 1. Source: WCAG 2.2."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _of_luminance(hue: float, wanted: float) -> str:
    low, high = 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        red, green, blue = colorsys.hls_to_rgb(hue, middle, 0.6)
        colour = f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"
        low, high = (middle, high) if luminance(colour) < wanted else (low, middle)
    return colour


def laid_out(figure: Figure, *, height: int = 420, title: str = "") -> Figure:
    """`figure` in the layout of all plots: white (a page's script adapts it to the screen), small margins."""
    figure.update_layout(
        template="plotly_white",
        colorway=SERIES_COLOURS,
        height=height,
        margin={"l": 60, "r": 20, "t": 50 if title else 30, "b": 50},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        title=title or None,
        hoverlabel={"align": "left"},
    )
    return figure
