from functools import partial

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from imagematch.errors import DataError
from imagematch.evaluation import (
    bootstrap_interval,
    bootstrap_intervals,
    eer,
    listed_pairs,
    pair_distances,
    retrieval_figures,
    retrieval_intervals,
    roc_auc,
    split_figures,
    tar_at_far,
)
from imagematch.evaluation.bootstrap import class_weights, rate_name


def naive_resample(rows: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances and kinds of all pairs of explicit copies; two copies of one class make no pair."""
    copies = [
        (place, name, copy)
        for weight, name in zip(weights, np.unique(labels), strict=True)
        for copy in range(weight)
        for place in np.flatnonzero(labels == name)
    ]
    distances, same = [], []
    for at, (i, one, copy) in enumerate(copies):
        for j, other, other_copy in copies[at + 1 :]:
            if one == other and copy != other_copy:
                continue
            distances.append(np.sqrt(2 * max(0.0, 1 - float(rows[i] @ rows[j]))))
            same.append(one == other)
    return np.array(distances), np.array(same)


def test_intervals_against_explicit_copies(random_sample, small_blocks) -> None:
    rows, labels = random_sample(n=50, classes=8)
    found = bootstrap_intervals(rows, labels, resamples=20, seed=4, fars=(0.1,))
    samples: dict[str, list[float]] = {"roc_auc": [], "eer": [], "tar_at_far_0.1": []}
    for weights in class_weights(8, 20, 4):
        distances, same = naive_resample(rows, labels, weights)
        pairs = listed_pairs(distances, same)
        samples["roc_auc"].append(roc_auc_score(same, -distances))
        samples["eer"].append(eer(pairs))
        samples["tar_at_far_0.1"].append(float((pairs.genuine.each() < tar_at_far(pairs, [0.1])[0].distance).mean()))
    for name, sample in samples.items():
        low, high = np.percentile(sample, [2.5, 97.5])
        tolerance = 1e-9 + found[name].error_bound if name == "roc_auc" else 0.03
        assert found[name].low == pytest.approx(low, abs=tolerance)
        assert found[name].high == pytest.approx(high, abs=tolerance)
    assert found["roc_auc"].error_bound < 1e-3
    assert found["roc_auc"].classes == 8
    assert not found["roc_auc"].trustworthy


def test_the_rate_of_tied_distances_is_the_figures_own(tied_sample) -> None:
    rows, labels = tied_sample(n=90, classes=8)
    found = bootstrap_intervals(rows, labels, resamples=20, seed=1, fars=(0.3,))["tar_at_far_0.3"]
    sample = []
    for weights in class_weights(len(set(labels)), 20, 1):
        distances, same = naive_resample(rows, labels, weights)
        pairs = listed_pairs(distances, same)
        sample.append(float((pairs.genuine.each() < tar_at_far(pairs, [0.3])[0].distance).mean()))
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(sample, [2.5, 97.5])), abs=1e-12)


AT_THRESHOLD = {
    "accuracy": accuracy_score,
    "balanced_accuracy": balanced_accuracy_score,
    "precision": partial(precision_score, zero_division=np.nan),
    "recall": recall_score,
    "tar": recall_score,
    "far": lambda same, match: match[~same].mean(),
    "f1": f1_score,
}


@pytest.mark.parametrize("threshold", [0.8, 1.0, 1.3, 2.5])
def test_intervals_at_a_threshold_against_explicit_copies(random_sample, small_blocks, threshold: float) -> None:
    rows, labels = random_sample(n=50, classes=8)
    found = bootstrap_intervals(rows, labels, resamples=20, seed=4, fars=(), threshold=threshold)
    resamples = [naive_resample(rows, labels, weights) for weights in class_weights(8, 20, 4)]
    for name, score in AT_THRESHOLD.items():
        sample = [score(same, distances < threshold) for distances, same in resamples]
        ends = (found[name].low, found[name].high)
        assert ends == pytest.approx(tuple(np.nanpercentile(sample, [2.5, 97.5])), abs=1e-12)
    sample = [average_precision_score(same, -distances) for distances, same in resamples]
    ends = (found["average_precision"].low, found["average_precision"].high)
    assert ends == pytest.approx(tuple(np.percentile(sample, [2.5, 97.5])), abs=1e-4)


def test_what_is_undefined_at_a_threshold_has_no_interval(random_sample) -> None:
    rows, labels = random_sample()
    found = bootstrap_intervals(rows, labels, threshold=0.0)
    assert "precision" not in found
    assert (found["recall"].low, found["recall"].high, found["f1"].high) == (0, 0, 0)
    low = pair_distances(rows, labels).genuine.values[0]
    assert 0 < bootstrap_intervals(rows, labels, threshold=float(low) + 1e-4)["precision"].resamples < 200


def test_few_bins_keep_the_bound(random_sample, monkeypatch: pytest.MonkeyPatch) -> None:
    from imagematch.evaluation import bootstrap

    rows, labels = random_sample(n=400, classes=40)
    fine = bootstrap_interval(rows, labels)
    monkeypatch.setattr(bootstrap, "_BUDGET", 1)
    coarse = bootstrap_interval(rows, labels)
    assert fine.error_bound < coarse.error_bound < 5e-3
    assert coarse.low == pytest.approx(fine.low, abs=coarse.error_bound)
    assert coarse.high == pytest.approx(fine.high, abs=coarse.error_bound)


def test_the_interval_holds_the_figure_and_is_reproducible(random_sample) -> None:
    rows, labels = random_sample(n=400, classes=40)
    pairs = pair_distances(rows, labels)
    found = bootstrap_interval(rows, labels, pairs=pairs)
    assert found.low < roc_auc(pairs) < found.high
    assert found.trustworthy
    assert found.resamples == 200
    few = [bootstrap_interval(rows, labels, resamples=20, seed=seed, pairs=pairs) for seed in (0, 0, 1)]
    assert few[0] == few[1] != few[2]
    narrow = bootstrap_interval(rows, labels, confidence=0.5, pairs=pairs)
    assert found.low < narrow.low < narrow.high < found.high


def test_resamples_of_one_class_do_not_count() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((10, 5))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = bootstrap_interval(rows, np.arange(10) % 3)
    usable = ((class_weights(3, 200, 0) > 0).sum(axis=1) > 1).sum()
    assert found.resamples == usable < 200


def test_no_usable_split() -> None:
    with pytest.raises(DataError, match="no genuine pair"):
        bootstrap_interval(np.eye(4), np.arange(4))
    with pytest.raises(DataError, match="no impostor pair"):
        bootstrap_interval(np.eye(4), np.zeros(4))


def test_retrieval_intervals_against_loops(random_sample) -> None:
    rows, labels = random_sample(n=80, classes=9)
    labels[0] = 50
    per_query = retrieval_figures(rows, labels, (1, 5)).per_query
    found = retrieval_intervals(per_query, resamples=30, seed=2)
    names = np.unique(per_query.classes)
    for name, values in (("map_at_r", per_query.map_at_r), ("recall_at_5", per_query.recall_at_k[5])):
        sample = []
        for weights in class_weights(len(names), 30, 2):
            drawn: list[float] = []
            for weight, c in zip(weights, names, strict=True):
                drawn += list(values[per_query.classes == c]) * weight
            sample.append(np.mean(drawn))
        assert (found[name].low, found[name].high) == pytest.approx(tuple(np.percentile(sample, [2.5, 97.5])))
    assert set(found) == {"map_at_r", "r_precision", "recall_at_1", "recall_at_5"}


def test_rate_names_are_decimal() -> None:
    assert [rate_name(rate) for rate in (0.1, 1e-3, 1e-6)] == ["0.1", "0.001", "0.000001"]


def test_two_classes_have_no_interval(random_sample) -> None:
    rows, labels = random_sample(classes=2)
    assert bootstrap_intervals(rows, labels) == {}
    with pytest.raises(DataError, match="two classes"):
        bootstrap_interval(rows, labels)
    figures = split_figures(rows, labels)
    assert figures["roc_auc"] is not None
    assert figures["roc_auc_ci95"] is None
    assert (figures["ci95_classes"], figures["ci95_trustworthy"]) == (2, False)
