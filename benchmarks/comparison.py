"""Recipes compared on one test split: their metrics with intervals as a table, as text, and as a page with plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.files import write_text
from imagematch.reporting import Page, plot_label, plot_or_note, spreadsheet_cell, t_interval, visible
from imagematch.reporting.plots.style import BASELINE_COLOUR, MODEL_COLOUR, laid_out
from imagematch.reporting.tables.metrics import interval, title_of

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

COMPARED_METRICS = ("map_at_r", "recall_at_1", "roc_auc")
"""The metrics that are compared; the first decides the order."""
HOW_SURE = (
    "Two 95 % intervals: over the runs, which differ in their seed (of the mean, Student's t: how sure the mean is on "
    "these images), and over the classes of the first run's test images (how far it would change with other "
    "classes). Recipes share the test images, so the latter overlap also where one recipe is reliably better."
)
_ENDS = ("_runs_low", "_runs_high", "_classes_low", "_classes_high")
_CAPTION = "Thick: over runs with other seeds; thin: over classes. Dashed: the frozen extractor without a head."
_ROW_PX = 26


@dataclass(frozen=True)
class Recipe:
    """What is compared.

    Attributes:
        name: of the recipe.
        runs: of each run the test metrics, as `metrics.json` has them; the first with its intervals over classes.
        facts: more columns of the table.
    """

    name: str
    runs: Sequence[Mapping[str, Any]]
    facts: Mapping[str, Any] = field(default_factory=dict)


def comparison_table(recipes: Sequence[Recipe], baseline: Mapping[str, Any]) -> pd.DataFrame:
    """One row a recipe, the best MAP@R first, then the baseline.

    Columns: `recipe`, `runs`; of each metric its mean over the runs under its name, and the ends of its intervals as
    `METRIC_runs_low`, `_runs_high`, `_classes_low`, `_classes_high` (missing where there is none); the facts.

    Args:
        recipes: what is compared.
        baseline: the test metrics of the frozen extractor alone.
    """
    import pandas as pd

    rows = sorted(map(_row, recipes), key=lambda row: -row[COMPARED_METRICS[0]])
    return pd.DataFrame([*rows, _row(Recipe("baseline", [baseline]))])


def _row(recipe: Recipe) -> dict[str, Any]:
    row: dict[str, Any] = {"recipe": recipe.name, "runs": len(recipe.runs)}
    for name in COMPARED_METRICS:
        values = [float(run[name]) for run in recipe.runs]
        row[name] = float(np.mean(values))
        for kind, ends in (("runs", t_interval(values)), ("classes", interval(recipe.runs[0], name))):
            row[f"{name}_{kind}_low"], row[f"{name}_{kind}_high"] = ends or (None, None)
    return {**row, **recipe.facts}


def comparison_text(table: pd.DataFrame) -> str:
    """The table for people: of each metric the mean, ± half its interval over runs, and its interval over classes."""
    heads = [f"{title_of(name)} ± runs [classes]" for name in COMPARED_METRICS]
    facts = _facts(table)
    lines = [["", *heads, *(fact.replace("_", " ") for fact in facts)]]
    for row in table.to_dict("records"):
        lines.append([visible(row["recipe"]), *(_metric_text(row, name) for name in COMPARED_METRICS)])
        lines[-1] += [_fact_text(row[fact]) for fact in facts]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )


def _facts(table: pd.DataFrame) -> list[str]:
    metrics = {name + end for name in COMPARED_METRICS for end in ("", *_ENDS)}
    return [name for name in table.columns if name not in metrics and name != "recipe"]


def _metric_text(row: Mapping[Any, Any], name: str) -> str:
    low, high, classes_low, classes_high = (row[name + end] for end in _ENDS)
    runs = f" ±{(high - low) / 2:.4f}" if _is_finite(low) else " " * 8
    classes = f" [{classes_low:.4f} {classes_high:.4f}]" if _is_finite(classes_low) else ""
    return f"{row[name]:.4f}{runs}{classes}"


def _fact_text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if np.isfinite(value) else "–"
    return "–" if value is None else visible(value)


def _is_finite(value: float | None) -> bool:
    return value is not None and bool(np.isfinite(value))


def comparison_plot(table: pd.DataFrame, name: str) -> Figure:
    """One metric of all recipes: a dot with both intervals, the best on top; the baseline is a dashed line.

    Args:
        table: of `comparison_table`.
        name: one of COMPARED_METRICS.
    """
    import plotly.graph_objects as go

    recipes, baseline = table[table["recipe"] != "baseline"].iloc[::-1], table[table["recipe"] == "baseline"]
    figure = go.Figure()
    for kind, colour, width in (("classes", BASELINE_COLOUR, 1.5), ("runs", MODEL_COLOUR, 4)):
        values = recipes[name].astype(float)
        low, high = (recipes[f"{name}_{kind}_{end}"].astype(float).fillna(values) for end in ("low", "high"))
        figure.add_trace(
            go.Scatter(
                x=values,
                y=[plot_label(recipe) for recipe in recipes["recipe"]],
                mode="markers",
                name=f"95 % over {kind}",
                marker={"color": MODEL_COLOUR, "size": 7},
                error_x={"array": high - values, "arrayminus": values - low, "color": colour, "thickness": width},
                hovertemplate="%{y}: %{x:.4f}<extra></extra>",
            )
        )
    figure.add_vline(x=float(baseline[name].iloc[0]), line={"color": BASELINE_COLOUR, "dash": "dash"})
    laid_out(figure, height=140 + _ROW_PX * len(recipes))
    figure.update_xaxes(title=title_of(name))
    figure.update_layout(margin={"l": 180})
    return figure


def write_comparison(folder: Path, title: str, table: pd.DataFrame, remarks: Sequence[str] = ()) -> None:
    """Writes `recipes.csv`, `recipes.txt` and `recipes.html`.

    Args:
        folder: where to.
        title: of the page.
        table: of `comparison_table`.
        remarks: what a reader must know, one sentence or more each.

    Raises:
        StudyError: the folder cannot be written.
    """
    harmless = table.map(lambda value: spreadsheet_cell(value) if isinstance(value, str) else value)
    write_text(folder / "recipes.csv", harmless.to_csv(index=False))
    all_remarks = [*remarks, HOW_SURE]
    write_text(folder / "recipes.txt", comparison_text(table) + "\n" + "\n".join(all_remarks) + "\n")
    page = Page(title, "comparison")
    for remark in all_remarks:
        page.text(remark)
    page.plots(
        [
            (plot_or_note(lambda name=name: comparison_plot(table, name), title_of(name)), _CAPTION)  # type: ignore[misc]
            for name in COMPARED_METRICS
        ]
    )
    page.table(harmless)
    page.write(folder / "recipes.html")
