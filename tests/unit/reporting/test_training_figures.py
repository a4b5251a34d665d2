from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from imagematch.reporting import learning_curve_svg, learning_curves, write_learning_curves
from imagematch.reporting.training_figures import best_epoch

from .samples import make_history


@pytest.mark.parametrize(("objective", "expected"), [("val_map_at_r", 3), ("val_loss", 1)])
def test_the_best_epoch_is_the_first_best_in_the_objectives_direction(objective, expected):
    assert best_epoch(make_history(), objective) == expected


def test_the_curves_hold_every_series_and_mark_the_best_epoch():
    figure = learning_curves(make_history(), "val_map_at_r")
    assert {trace.name for trace in figure.data} == {
        "loss", "val_loss", "val_map_at_r", "active", "spread", "learning_rate"
    }  # fmt: skip
    assert {shape.x0 for shape in figure.layout.shapes} == {3}


@pytest.mark.parametrize("epochs", [0, 1, 5])
def test_the_picture_is_valid_svg_without_script(tmp_path, epochs):
    path = write_learning_curves(tmp_path, make_history(epochs), "val_map_at_r")
    root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "script" not in path.read_text(encoding="utf-8")


def test_gaps_and_nan_are_left_out():
    history = make_history()
    del history[1]["val_loss"]
    history[2]["loss"] = float("nan")
    assert "nan" not in learning_curve_svg(history, "val_map_at_r")
    traces = {trace.name: trace for trace in learning_curves(history, "val_map_at_r").data}
    assert traces["val_loss"].x == (1, 3, 4, 5)
    assert traces["loss"].x == (1, 2, 4, 5)


def test_a_constant_learning_rate_is_not_drawn_at_zero():
    history = [{"epoch": epoch, "learning_rate": 1e-3} for epoch in (1, 2, 3)]
    figure = learning_curves(history, "val_map_at_r")
    assert tuple(figure.layout.yaxis.range) == (0, pytest.approx(1.1e-3))
