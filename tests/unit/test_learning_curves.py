from __future__ import annotations

from xml.etree import ElementTree

import pytest
from tests.unit.reporting.samples import make_history

from imagematch.learning_curves import best_epoch, learning_curves_svg, write_learning_curves

SVG = "{http://www.w3.org/2000/svg}"


def drawn(history: list[dict], **options: bool) -> ElementTree.Element:
    return ElementTree.fromstring(learning_curves_svg(history, "val_map_at_r", **options))


def words(svg: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in svg.iter(f"{SVG}text")]


@pytest.mark.parametrize(("objective", "expected"), [("val_map_at_r", 3), ("val_loss", 1)])
def test_the_best_epoch_is_the_first_best_in_the_objectives_direction(objective, expected):
    assert best_epoch(make_history(), objective) == expected


def test_the_curves_hold_every_series_and_mark_the_best_epoch_in_every_panel():
    svg = drawn(make_history())
    assert set(words(svg)) >= {"loss", "val_loss", "val_map_at_r", "active", "spread", "learning_rate"}
    assert len(list(svg.iter(f"{SVG}polyline"))) == 6
    marks = [line.get("x1") for line in svg.iter(f"{SVG}line") if line.get("stroke-dasharray")]
    assert marks == ["200.0"] * 4, "epoch 3 of 1 to 5, in each of four panels"
    assert "epoch 3: val_map_at_r 0.8" in [title.text for title in svg.iter(f"{SVG}title")]


@pytest.mark.parametrize("epochs", [0, 1, 5, 100])
def test_the_image_is_valid_svg_without_script(tmp_path, epochs):
    path = write_learning_curves(tmp_path, make_history(epochs), "val_map_at_r")
    root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    assert root.tag == f"{SVG}svg"
    assert not list(root.iter(f"{SVG}script"))


def test_gaps_and_nan_are_left_out():
    history = make_history()
    del history[1]["val_loss"]
    history[2]["loss"] = float("nan")
    titles = [title.text for title in drawn(history).iter(f"{SVG}title")]
    assert [title.split(":")[0] for title in titles if " val_loss " in title] == [f"epoch {n}" for n in (1, 3, 4, 5)]
    assert [title.split(":")[0] for title in titles if " loss " in title] == [f"epoch {n}" for n in (1, 2, 4, 5)]


def test_a_constant_learning_rate_is_drawn_on_an_axis_from_zero():
    shown = words(drawn([{"epoch": epoch, "learning_rate": 1e-3} for epoch in (1, 2, 3)]))
    assert {"0", "0.0002", "0.001"} <= set(shown)


def test_of_several_folds_there_is_a_line_each_and_no_best_epoch():
    history = [{**record, "fold": fold} for fold in (0, 1) for record in make_history()]
    svg = drawn(history)
    assert len(list(svg.iter(f"{SVG}polyline"))) == 12
    assert not [line for line in svg.iter(f"{SVG}line") if line.get("stroke-dasharray")]
    assert "epoch 2, fold 2: loss 0.5" in [title.text for title in svg.iter(f"{SVG}title")]


def test_embedded_in_a_page_it_takes_the_pages_colours():
    assert drawn(make_history()).find(f"{SVG}rect").get("fill") == "white"
    assert drawn(make_history(), embedded=True).find(f"{SVG}rect") is None


def test_names_are_escaped():
    svg = learning_curves_svg([{"epoch": 1, "val_<script>\u202e": 1.0}], "val_loss")
    assert "<script>" not in svg
    assert "val_&lt;script&gt;\\u202e" in svg
