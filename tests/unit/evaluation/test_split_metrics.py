import json
from typing import Any

import numpy as np
import pytest

from imagematch.errors import DataError
from imagematch.evaluation import (
    Probability,
    at_threshold,
    calibration_error,
    choose_threshold,
    eer,
    fit_probability,
    listed_pairs,
    open_set_searches,
    pair_distances,
    retrieval_metrics,
    roc_auc,
    split_metrics,
    verification_intervals,
)

DESIGNED = {
    "roc_auc",
    "roc_auc_ci95",
    "eer",
    "tar_at_far",
    "recall_at_1",
    "map_at_r",
    "r_precision",
    "images",
    "classes",
    "genuine_pairs",
    "impostor_pairs",
    "split_by",
    "threshold",
}
DESIGNED_THRESHOLD = {
    "distance",
    "chosen_on",
    "criterion",
    "accuracy",
    "balanced_accuracy",
    "precision",
    "recall",
    "f1",
    "confusion",
}


def as_json(metrics: dict[str, Any]) -> dict[str, Any]:
    again: dict[str, Any] = json.loads(json.dumps(metrics, allow_nan=False))
    assert again == metrics
    return again


def test_a_whole_block(random_sample) -> None:
    rows, labels = random_sample(n=400, classes=35)
    pairs, retrieved = pair_distances(rows, labels), retrieval_metrics(rows, labels, whole_ranking=True)
    threshold = choose_threshold(pairs, {"far": 0.01}, chosen_on="validation")
    probability = fit_probability(listed_pairs(np.array([0.2, 0.9, 0.7, 1.4]), np.array([True, True, False, False])))
    given = {"threshold": threshold, "probability": probability, "whole_ranking": True}
    found = as_json(split_metrics(rows, labels, split_by="image", **given))
    assert set(found) >= DESIGNED
    assert found["roc_auc"] == roc_auc(pairs)
    interval = verification_intervals(rows, labels, threshold=threshold.distance)["roc_auc"]
    assert found["roc_auc_ci95"] == found["ci95"]["roc_auc"] == [interval.low, interval.high]
    assert found["eer"] == eer(pairs)
    assert found["recall_at_1"] == found["recall_at_k"]["1"] == retrieved.recall_at_k[1]
    assert found["map_at_r"] == retrieved.map_at_r
    assert found["mean_average_precision"] == retrieved.mean_average_precision
    assert found["probability"] == {
        "method": "platt",
        "prior": 0.5,
        "fitted_error": probability.calibration_error,
        "calibration_error": calibration_error(probability, pairs),
    }
    assert (found["images"], found["classes"]) == (400, len(set(labels)))
    assert found["genuine_pairs"] + found["impostor_pairs"] == 400 * 399 // 2
    assert (found["split_by"], found["shared_classes"], found["ci95_trustworthy"]) == ("image", True, True)
    assert list(found["tar_at_far"]) == ["0.1", "0.01", "0.001", "0.0001", "0.00001", "0.000001"]
    assert found["tar_at_far"]["0.0001"] is None
    assert found["tar_at_far_below_resolution"] == ["0.0001", "0.00001", "0.000001"]
    assert "tar_at_far_0.001" in found["ci95"]
    assert "tar_at_far_0.0001" not in found["ci95"]
    for name in ("eer", "average_precision", "map_at_r", "mean_average_precision", "r_precision", "recall_at_1"):
        assert found["ci95"][name][0] < found[name] < found["ci95"][name][1]
    for name in ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "far"):
        assert found["ci95"][name][0] < found["threshold"][name] < found["ci95"][name][1]
    block, at = found["threshold"], at_threshold(pairs, threshold.distance)
    assert set(block) >= DESIGNED_THRESHOLD
    assert (block["criterion"], block["chosen_on"]) == ({"far": 0.01}, "validation")
    assert (block["f1"], block["confusion"]) == (at.f1, at.confusion)
    assert (block["far_ci95"], block["frr"]) == (found["ci95"]["far"], at.frr)
    low, high = found["ci95"]["tar"]
    assert block["frr_ci95"] == [1 - high, 1 - low]
    searches = open_set_searches(rows, labels, threshold.distance)
    assert block["fpir"] == searches.false_positive().mean()
    assert block["fnir"] == searches.false_negative().mean()
    galleries = found["identification"]["galleries"]
    assert [gallery["images"] for gallery in galleries] == [10, 100, 1000, 10**4, 10**5, 10**6]
    assert galleries[1]["false_matches_ci95"] == [100 * end for end in block["far_ci95"]]
    assert [gallery["fpir"] is None for gallery in galleries] == [False, False, True, True, True, True]
    assert galleries[0]["fpir"] < galleries[1]["fpir"] < block["fpir"]
    curve = found["threshold_curve"]
    assert curve == sorted(curve, key=lambda point: point["distance"])
    assert (curve[-1]["far"], len(curve)) == (pytest.approx(0.5, abs=0.01), 10)


@pytest.mark.parametrize("labels", [[], [0], [0, 0, 0], [0, 1, 2]])
def test_what_is_undefined_is_null(labels: list[int]) -> None:
    rows = np.eye(3, dtype=np.float32)[: len(labels)]
    threshold = choose_threshold(pair_distances(np.eye(4), np.array([0, 0, 1, 1])), "eer")
    probability = Probability("platt", 0.5, (), (4.0, -4.0), 0.01)
    given = {"threshold": threshold, "probability": probability}
    found = as_json(split_metrics(rows, np.array(labels), split_by="class", **given))
    assert found["roc_auc"] is found["roc_auc_ci95"] is found["eer"] is None
    assert set(found["tar_at_far"].values()) == {None}
    assert found["images"] == len(labels)
    relevant = labels == [0, 0, 0]
    assert found["map_at_r"] == (1 if relevant else None)
    assert found["threshold"]["balanced_accuracy"] is None
    assert found["shared_classes"] is False
    assert found["probability"]["calibration_error"] is None


def test_intervals_and_threshold_can_be_left_out(random_sample) -> None:
    found = as_json(split_metrics(*random_sample(), intervals=False))
    assert found["roc_auc_ci95"] is found["threshold"] is found["split_by"] is found["shared_classes"] is None
    assert found["ci95"] == {}
    assert found["map_at_r"] > 0


def test_broken_embeddings_are_refused() -> None:
    with pytest.raises(DataError, match="not finite"):
        split_metrics(np.full((3, 2), np.nan), np.arange(3))
