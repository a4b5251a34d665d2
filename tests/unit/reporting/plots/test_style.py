from __future__ import annotations

import pytest

from imagematch.reporting.plots import style

WHITE, DARK = "#ffffff", "#14171b"


def contrast(one: str, other: str) -> float:
    """Source: WCAG 2.2, contrast ratio."""
    low, high = sorted((style.luminance(one), style.luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("paper", [WHITE, DARK])
def test_every_colour_is_legible_on_white_and_on_a_dark_screen(paper):
    scale = [colour for _, colour in style.WORST_TO_BEST]
    for colour in (*style.class_colours(200), *scale, style.BASELINE_COLOUR, style.MARK_COLOUR):
        assert contrast(colour, paper) >= 3, colour


def test_the_colours_of_twenty_classes_are_distinct():
    assert len(set(style.class_colours(20))) == 20


def test_the_luminance_of_white_and_black():
    assert style.luminance(WHITE) == pytest.approx(1)
    assert style.luminance("#000000") == 0
