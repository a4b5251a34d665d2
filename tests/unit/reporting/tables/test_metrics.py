from __future__ import annotations

import pytest
from tests.unit.reporting.samples import make_metrics, make_view

from imagematch.evaluation import Threshold
from imagematch.reporting import metrics_table, operating_table, tar_at_far_table, warnings_of
from imagematch.reporting.numbers import number_text

THRESHOLD = Threshold(0.9, "balanced_accuracy")
UPPER = "at most (95 %, if pairs were independent)"


def test_every_figure_stands_beside_the_baselines_with_its_interval(view):
    metrics = make_metrics(view, make_view(noise=3.0), THRESHOLD)
    table = metrics_table(metrics).set_index("metric")
    auc = table.loc["ROC AUC"]
    assert auc["test"] == f"{metrics['test']['roc_auc']:.4f}"
    assert auc["baseline"] == f"{metrics['baseline']['test']['roc_auc']:.4f}"
    low, high = metrics["test"]["roc_auc_ci95"]
    assert auc["95 % interval"] == f"{low:.4f} to {high:.4f}"
    assert table.loc["equal error rate (EER)", "better"] == "lower"
    low, high = metrics["test"]["ci95"]["balanced_accuracy"]
    assert table.loc["balanced accuracy at the threshold", "95 % interval"] == f"{low:.4f} to {high:.4f}"


def test_the_contract_of_metrics_json_alone_is_enough():
    block = {"roc_auc": 0.9, "roc_auc_ci95": [0.8, 0.95], "eer": 0.1, "recall_at_1": 0.7, "tar_at_far": {"0.001": None}}
    table = metrics_table({"validation": None, "test": block, "baseline": {"test": None}})
    assert list(table["metric"]) == ["ROC AUC", "equal error rate (EER)", "Recall@1"]
    assert list(table["baseline"]) == ["–", "–", "–"]


def test_shared_classes_and_few_classes_are_warned_of(view):
    metrics = make_metrics(view, view, THRESHOLD)
    told = " ".join(warnings_of(metrics))
    assert "share their classes" in told
    assert "6 classes" in told


def test_nothing_is_warned_of_where_nothing_is_wrong():
    many = make_view(images=80, classes=40)
    assert warnings_of(make_metrics(many, many, THRESHOLD, split_by="class")) == []


def test_a_split_that_made_the_matcher_is_warned_of():
    assert "no metrics of a test split" in warnings_of({"validation": {"roc_auc": 0.9}, "test": None})[0]


def test_rates_below_the_resolution_are_said_to_be(view):
    table = tar_at_far_table(make_metrics(view, view, THRESHOLD)).set_index("false accept rate")
    assert table.loc["0.000001", "true accept rate"] == "below resolution"
    assert table.loc["0.1", "true accept rate"] != "below resolution"
    metrics = {"test": {"tar_at_far": {"0.001": None}, "tar_at_far_below_resolution": ["0.001"]}}
    metrics["validation"] = {"tar_at_far": {"0.001": 0.9}}
    row = metrics_table(metrics).set_index("metric").loc["TAR at FAR 0.001"]
    assert (row["test"], row["baseline"], row["validation"]) == ("below resolution", "–", "0.9000")


def test_a_gallery_multiplies_the_false_matches(view):
    block = make_metrics(view, view, THRESHOLD)["test"]
    table = operating_table(block)
    assert table["gallery (images)"].iloc[0] == "100"
    expected = 100 * block["threshold"]["far"]
    assert table["expected false matches"].iloc[0] == number_text(expected, 2)
    low, high = block["ci95"]["far"]
    assert 0 <= low < block["threshold"]["far"] < high
    assert table["95 % interval"].iloc[1] == f"{number_text(1000 * low, 2)} to {number_text(1000 * high, 2)}"
    assert UPPER not in table, "false matches were seen: the bound says no more"
    none = make_metrics(view, view, Threshold(1e-4, "eer"))["test"]
    assert none["threshold"]["confusion"]["fp"] == 0
    upper = none["threshold"]["operating_points"][0]["upper_false_matches"]
    assert operating_table(none)[UPPER].iloc[0] == number_text(upper, 2)
    assert "95 % interval" not in operating_table(none), "resamples of no false match have none either"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0.12345, "0.1235"),
        (1234567, "1,234,567"),
        (1e-6, "1e-06"),
        (True, "True"),
        (0.0, "0.0000"),
    ],
)
def test_numbers_for_people(value, shown):
    assert number_text(value) == shown
