from __future__ import annotations

import pytest
from tests.unit.reporting.samples import make_metrics, make_view

from imagematch.evaluation import Threshold
from imagematch.reporting import gallery_table, metrics_table, rates_lines, threshold_table, warnings_of
from imagematch.reporting.numbers import number_text

THRESHOLD = Threshold(0.9, "balanced_accuracy")


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
    assert "the test images are of classes seen in training" in told
    assert "6 classes" in told


def test_nothing_is_warned_of_where_nothing_is_wrong():
    many = make_view(images=80, classes=40)
    assert warnings_of(make_metrics(many, many, THRESHOLD, split_by="class")) == []


def test_a_split_that_made_the_matcher_is_warned_of():
    assert "no metrics of a test split" in warnings_of({"validation": {"roc_auc": 0.9}, "test": None})[0]


def test_rates_below_the_resolution_are_said_to_be(view):
    block = make_metrics(view, view, THRESHOLD)["test"]
    table = threshold_table(block)
    assert list(table["distance"]) == [f"{point['distance']:.4f}" for point in block["threshold_curve"]]
    assert list(table) == ["distance", "FAR", "FRR", "FPIR", "FNIR"]
    assert min(point["far"] for point in block["threshold_curve"]) * block["impostor_pairs"] > 29
    metrics = {"test": {"tar_at_far": {"0.001": None}, "tar_at_far_below_resolution": ["0.001"]}}
    metrics["validation"] = {"tar_at_far": {"0.001": 0.9}}
    row = metrics_table(metrics).set_index("metric").loc["TAR at FAR 0.001"]
    assert (row["test"], row["baseline"], row["validation"]) == ("below resolution", "–", "0.9000")


def test_a_gallery_multiplies_the_false_matches(view):
    block = make_metrics(view, view, THRESHOLD)["test"]
    table = gallery_table(block).set_index("gallery (images)")
    far, (low, high) = block["threshold"]["far"], block["ci95"]["far"]
    assert 0 <= low < far < high
    shown = table.loc["1,000", "false matches of a search"]
    about, lowest, highest = (float(f"{1000 * rate:.2g}") for rate in (far, low, high))
    assert shown == f"about {about:g}, {lowest:g} to {highest:g}"
    assert table.loc["1,000,000", "searches with a false match (FPIR)"] == "larger than measured"


def test_numbers_are_rounded_to_what_is_known():
    galleries = [{"images": 10**6, "false_matches": 44_444.44, "false_matches_ci95": [7_123.0, 0.0123], "fpir": 0.2}]
    (row,) = gallery_table({"identification": {"galleries": galleries}}).itertuples(index=False)
    assert list(row) == ["1,000,000", "about 44,000, 7,100 to 0.012", "20 %"]


def test_what_was_asked_and_what_one_gets_stand_together():
    rates = {"far": 0.0, "far_ci95": None, "frr": 0.5, "frr_ci95": None, "note": "FAR 0.01 takes 3,000 pairs"}
    threshold = {"criterion": {"far": 0.01, "confidence": 0.9}, "chosen_on": "calibration", "calibration": rates}
    threshold |= {"far": 0.22, "far_ci95": [0.1, 0.4], "frr": None}
    assert rates_lines({"threshold": threshold}, "test") == [
        "FAR asked 0.01 with confidence 0.9, on calibration 0, on test 0.22 (0.1 to 0.4)",
        "FRR on calibration 0.5",
        "not resolved: FAR 0.01 takes 3,000 pairs",
    ]


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
