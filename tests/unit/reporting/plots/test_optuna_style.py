from __future__ import annotations

import optuna
import pytest

from imagematch.reporting import StudyPlots
from imagematch.reporting.plots.style import MODEL_COLOUR, WORST_TO_BEST, luminance


def colours_of(figure) -> set[str]:
    """Every colour of lines and markers as `#rrggbb`."""
    found = []
    for trace in figure.data:
        for part in (trace.marker, trace.line):
            colour = getattr(part, "color", None)
            found += [one for one in (colour if isinstance(colour, tuple) else [colour]) if isinstance(one, str)]
    parts = [colour.removeprefix("rgb(").removesuffix(")").split(",") for colour in found if colour.startswith("rgb(")]
    return {"#" + "".join(f"{round(float(part)):02x}" for part in three) for three in parts}


@pytest.mark.parametrize("name", ["parallel_coordinates", "rank"])
def test_single_colours_are_moved_to_our_scale(study, name):
    colours = colours_of(getattr(StudyPlots(study), name)())
    assert len(colours) > 3
    assert all(0.15 < luminance(colour) < 0.31 for colour in colours), "legible on white and on black"


@pytest.mark.parametrize("name", ["slices", "contour"])
def test_scales_are_ours(study, name):
    figure = getattr(StudyPlots(study), name)()
    parts = [part for trace in figure.data for part in (trace, getattr(trace, "marker", None))]
    scales = [part.colorscale for part in parts if hasattr(part, "colorscale")]
    assert {scale for scale in scales if scale} == {WORST_TO_BEST}


def test_choices_are_shown_as_they_were_written(study):
    shown = {x for trace in StudyPlots(study).slices().data for x in trace.x if isinstance(x, str)}
    assert shown >= {"[]", "[256]", "[512, 256]"}
    assert not [choice for choice in shown if "'" in choice]


def test_no_panel_of_a_contour_has_an_axis_without_choices(study):
    traces = [trace for trace in StudyPlots(study).contour().data if trace.type == "scatter"]
    assert traces
    assert all(trace.x is not None and len(trace.x) for trace in traces)


def test_the_timeline_has_one_colour_for_each_state():
    made = optuna.create_study()
    made.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    (bars,) = StudyPlots(made).timeline().data
    assert bars.marker.color == MODEL_COLOUR
