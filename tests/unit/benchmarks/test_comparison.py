"""The comparison of recipes: means, both intervals, order, and the files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from comparison import COMPARED_METRICS, Recipe, comparison_plot, comparison_table, comparison_text, write_comparison


def block(value: float) -> dict[str, object]:
    figures = {"map_at_r": value, "recall_at_1": value + 0.2, "roc_auc": value + 0.4}
    return {**figures, "ci95": {name: [figure - 0.05, figure + 0.04] for name, figure in figures.items()}}


def bare(value: float) -> dict[str, object]:
    return {**block(value), "ci95": {}}


@pytest.fixture(name="table")
def table_fixture() -> pd.DataFrame:
    worse = Recipe("=worse", [block(0.2), bare(0.3), bare(0.22)], {"trials": "8", "search_minutes": 1.25})
    better = Recipe("better", [block(0.4)], {"trials": "8", "search_minutes": 2.5})
    return comparison_table([worse, better], block(0.1))


def test_means_and_intervals_over_runs_are_scipys(table: pd.DataFrame) -> None:
    row = table.set_index("recipe").loc["=worse"]
    values = [0.2, 0.3, 0.22]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert row["runs"] == 3
    assert (row["map_at_r"], row["map_at_r_runs_low"], row["map_at_r_runs_high"]) == pytest.approx((0.24, low, high))
    assert (row["map_at_r_classes_low"], row["map_at_r_classes_high"]) == pytest.approx((0.15, 0.24))


def test_the_best_comes_first_and_the_baseline_last(table: pd.DataFrame) -> None:
    assert list(table["recipe"]) == ["better", "=worse", "baseline"]


def test_one_run_has_no_interval_over_runs(table: pd.DataFrame) -> None:
    assert table[table["recipe"] == "better"].filter(like="_runs_").isna().all(axis=None)


def test_the_text_has_a_line_for_each_recipe_and_its_facts(table: pd.DataFrame) -> None:
    head, better, worse, baseline = comparison_text(table).splitlines()
    assert "search minutes" in head
    assert better.split()[:3] == ["better", "0.4000", "[0.3500"]
    assert worse.split()[:3] == ["=worse", "0.2400", f"±{stats.t.ppf(0.975, 2) * stats.sem([0.2, 0.3, 0.22]):.4f}"]
    assert better.endswith("8       2.5")
    assert baseline.endswith("–")


@pytest.mark.parametrize("name", COMPARED_METRICS)
def test_the_figure_shows_every_recipe_with_both_intervals(table: pd.DataFrame, name: str) -> None:
    classes, runs = comparison_plot(table, name).data
    assert list(classes.y) == list(runs.y) == ["=worse", "better"]
    mean, low = table.set_index("recipe").loc["=worse", [name, f"{name}_runs_low"]]
    assert runs.error_x.arrayminus[0] == pytest.approx(mean - low)
    assert runs.error_x.array[1] == 0


def test_the_files_are_written_and_the_csv_runs_no_formula(table: pd.DataFrame, tmp_path: Path) -> None:
    write_comparison(tmp_path, "compared", table, ["a <remark>"])
    read = pd.read_csv(tmp_path / "recipes.csv")
    assert read["map_at_r"].to_list() == pytest.approx(table["map_at_r"].to_list())
    assert not read["recipe"].str.startswith("=").any()
    assert "a <remark>" in (tmp_path / "recipes.txt").read_text()
    page = (tmp_path / "recipes.html").read_text()
    assert page.count('class="plot"') == len(COMPARED_METRICS)
    assert "a &lt;remark&gt;" in page
