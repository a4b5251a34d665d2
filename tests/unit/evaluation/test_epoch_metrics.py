"""The metrics by which models are selected equal those of their own functions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from imagematch.config import OBJECTIVES
from imagematch.errors import DataError
from imagematch.evaluation import EPOCH_METRICS, epoch_metrics, pair_distances, retrieval_metrics, tar_at_far


@pytest.fixture(name="sample")
def sample_fixture() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    labels = np.repeat(np.arange(12), 25)
    rows = random.normal(size=(12, 6))[labels] + 0.9 * random.normal(size=(300, 6))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), labels


def pairs_of(rows: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.triu_indices(len(rows), k=1)
    return np.linalg.norm(rows[first] - rows[second], axis=1), labels[first] == labels[second]


def test_rates_and_average_precision(sample: tuple[np.ndarray, np.ndarray]) -> None:
    found = epoch_metrics(*sample, ["tar_at_far_0.1", "frr_at_far_0.01", "average_precision"])
    at = {one.far: one.tar for one in tar_at_far(pair_distances(*sample), [0.1, 0.01])}
    distances, same = pairs_of(*sample)
    assert found["tar_at_far_0.1"] == at[0.1]
    assert found["frr_at_far_0.01"] == pytest.approx(1 - at[0.01])
    assert found["average_precision"] == pytest.approx(average_precision_score(same, -distances), abs=1e-4)


def test_ranks(sample: tuple[np.ndarray, np.ndarray]) -> None:
    found = epoch_metrics(*sample, ["recall_at_5", "recall_at_10", "mean_average_precision"])
    slow = retrieval_metrics(*sample, whole_ranking=True)
    assert found["recall_at_5"] == slow.recall_at_k[5]
    assert found["recall_at_10"] == slow.recall_at_k[10]
    assert found["mean_average_precision"] == slow.mean_average_precision


def test_the_best_of_every_threshold(sample: tuple[np.ndarray, np.ndarray]) -> None:
    found = epoch_metrics(*sample, ["accuracy", "balanced_accuracy", "f1"])
    distances, same = pairs_of(*sample)
    best = {"accuracy": 0.0, "balanced_accuracy": 0.0, "f1": 0.0}
    for threshold in np.linspace(0, 2, 4001):
        match = distances < threshold
        tp, fp = (match & same).sum(), (match & ~same).sum()
        fn, tn = (~match & same).sum(), (~match & ~same).sum()
        best["accuracy"] = max(best["accuracy"], (tp + tn) / len(same))
        best["balanced_accuracy"] = max(best["balanced_accuracy"], (tp / (tp + fn) + tn / (tn + fp)) / 2)
        best["f1"] = max(best["f1"], 2 * tp / (2 * tp + fp + fn))
    for name, value in best.items():
        assert value <= found[name] + 1e-9
        assert found[name] == pytest.approx(value, abs=1e-3)


def test_a_rate_that_cannot_be_resolved_is_refused(sample: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(DataError, match=r"too few for a false accept rate of 0\.001, which needs 30,000"):
        epoch_metrics(sample[0][:150], sample[1][:150], ["tar_at_far_0.001"])


def test_every_objective_can_be_measured() -> None:
    assert {f"val_{name}" for name in EPOCH_METRICS} | {"val_loss"} == set(OBJECTIVES)
