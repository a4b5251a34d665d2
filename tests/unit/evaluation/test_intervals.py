from collections.abc import Callable
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
    at_threshold,
    eer,
    pair_distances,
    retrieval_intervals,
    retrieval_metrics,
    roc_auc,
    split_metrics,
    tar_at_far,
    verification_intervals,
)
from imagematch.evaluation import intervals as module
from imagematch.evaluation.blocks import in_class_order
from imagematch.evaluation.class_counts import class_counts
from imagematch.evaluation.intervals import rate_name
from imagematch.evaluation.jackknife import StandardError, jackknife_error, logit_interval

Score = Callable[[np.ndarray, np.ndarray], float]


def distances_of(rows: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances and kinds of all pairs, by explicit loops."""
    distances, same = [], []
    for i in range(len(rows)):
        for j in range(i + 1, len(rows)):
            distances.append(np.sqrt(2 * max(0.0, 1 - float(rows[i] @ rows[j]))))
            same.append(labels[i] == labels[j])
    return np.array(distances), np.array(same)


def without_each(rows: np.ndarray, labels: np.ndarray, score: Score) -> np.ndarray:
    """A metric of the pairs that are left when one class is left out, for each class."""
    return np.array(
        [score(*distances_of(rows[labels != name], labels[labels != name])[::-1]) for name in np.unique(labels)]
    )


def tar_on_straight_lines(far: float, same: np.ndarray, distances: np.ndarray) -> float:
    thresholds = np.append(np.unique(distances), np.inf)
    fars, tars = (np.array([(distances[kind] < t).mean() for t in thresholds]) for kind in (~same, same))
    last = np.flatnonzero(fars <= far)[-1]
    share = (far - fars[last]) / (fars[last + 1] - fars[last])
    return float(tars[last] + share * (tars[last + 1] - tars[last]))


def test_metrics_without_each_class_against_loops(random_sample, small_blocks) -> None:
    rows, labels = random_sample(n=60, classes=8)
    pairs = pair_distances(rows, labels)
    found = module._left_out(class_counts(in_class_order(rows, labels), pairs, None), [0.1], eer(pairs))
    scores: dict[str, Score] = {
        "roc_auc": lambda same, distances: roc_auc_score(same, -distances),
        "average_precision": lambda same, distances: average_precision_score(same, -distances),
        "tar_at_far_0.1": partial(tar_on_straight_lines, 0.1),
        "eer": lambda same, distances: 1 - tar_on_straight_lines(eer(pairs), same, distances),
    }
    tolerances = {"roc_auc": 5e-4, "average_precision": 5e-3, "tar_at_far_0.1": 1e-2, "eer": 1e-2}
    for name, score in scores.items():
        np.testing.assert_allclose(found[name], without_each(rows, labels, score), atol=tolerances[name])


AT_THRESHOLD = {
    "accuracy": accuracy_score,
    "balanced_accuracy": balanced_accuracy_score,
    "precision": partial(precision_score, zero_division=np.nan),
    "recall": recall_score,
    "tar": recall_score,
    "far": lambda same, match: match[~same].mean(),
    "f1": f1_score,
}


@pytest.mark.parametrize("threshold", [0.8, 1.0, 1.3])
def test_intervals_at_a_threshold_against_loops(random_sample, small_blocks, threshold: float) -> None:
    rows, labels = random_sample(n=60, classes=8)
    labels = np.sort(labels)
    found = verification_intervals(rows, labels, threshold=threshold)
    sizes = np.bincount(labels)
    distances, same = distances_of(rows, labels)
    first, second = labels[np.array([(i, j) for i in range(60) for j in range(i + 1, 60)]).T]
    for name, score in AT_THRESHOLD.items():
        left_out = without_each(rows, labels, lambda same, d, score=score: score(same, d < threshold))
        step = 1e-6  # of a pair of classes: what its pairs change in the metric, on their own
        twice = 0.0
        for a in range(8):
            for b in range(a + 1, 8):
                weights = np.where((first == a) & (second == b), 1 + step, 1.0)
                whole = weighted(name, same, distances < threshold, np.ones(len(same)))
                twice += ((weighted(name, same, distances < threshold, weights) - whole) / step) ** 2
        shares = sizes if name == "far" else sizes * (sizes - 1) // 2
        error = jackknife_error(left_out, shares, twice)
        assert error is not None
        expected = logit_interval(score(same, distances < threshold), error, 0.95, 28)
        assert (found[name].low, found[name].high) == pytest.approx(expected, abs=1e-3)


def weighted(name: str, same: np.ndarray, match: np.ndarray, weights: np.ndarray) -> float:
    genuine, impostor = weights[same].sum(), weights[~same].sum()
    tp, fp = weights[same & match].sum(), weights[~same & match].sum()
    return {
        "accuracy": (tp + impostor - fp) / (genuine + impostor),
        "balanced_accuracy": (tp / genuine + 1 - fp / impostor) / 2,
        "precision": tp / (tp + fp),
        "recall": tp / genuine,
        "tar": tp / genuine,
        "far": fp / impostor,
        "f1": 2 * tp / (tp + fp + genuine),
    }[name]


def test_counts_at_the_threshold_are_exact(random_sample, small_blocks) -> None:
    rows, labels = random_sample(n=90, classes=7)
    order, pairs = in_class_order(rows, labels), pair_distances(rows, labels)
    threshold = float(pairs.impostor.value_at(900))
    found = class_counts(order, pairs, threshold).matches
    assert found is not None
    at = at_threshold(pairs, threshold)
    assert (found.genuine.sum(), found.impostor.sum()) == (at.tp, 2 * at.fp)
    distances, _ = distances_of(order.rows, order.classes_of_rows)
    a, b = order.classes_of_rows[np.array([(i, j) for i in range(90) for j in range(i + 1, 90)]).T]
    matched = np.zeros((7, 7))
    np.add.at(matched, (a, b), distances.astype(np.float32) < np.float32(threshold))
    np.fill_diagonal(matched, 0)
    assert found.squares == pytest.approx((matched**2).sum(), rel=0.02)  # the loops round distances otherwise
    assert found.products == pytest.approx((matched * np.outer(order.sizes, order.sizes)).sum(), rel=0.02)


def test_bins_hold_every_pair_once(random_sample, small_blocks) -> None:
    rows, labels = random_sample(n=150, classes=30)
    pairs = pair_distances(rows, labels)
    found = class_counts(in_class_order(rows, labels), pairs, None)
    assert found.matches is None
    sizes = np.unique(labels, return_counts=True)[1]
    np.testing.assert_array_equal(found.genuine.sum(axis=1), sizes * (sizes - 1) // 2)
    np.testing.assert_array_equal(found.impostor.sum(axis=1), sizes * (150 - sizes))
    fine = module._left_out(found, [], 0.1)["roc_auc"]
    for index, name in enumerate(np.unique(labels)):
        left = labels != name
        assert fine[index] == pytest.approx(roc_auc(pair_distances(rows[left], labels[left])), abs=1e-3)


def test_many_classes_have_fewer_bins(random_sample, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, labels = random_sample(n=400, classes=40)
    fine = verification_intervals(rows, labels)
    monkeypatch.setattr("imagematch.evaluation.class_counts._CELLS", 1)
    assert class_counts(in_class_order(rows, labels), pair_distances(rows, labels), None).genuine.shape[1] <= 128
    coarse = verification_intervals(rows, labels)
    for name in ("roc_auc", "eer", "average_precision", "tar_at_far_0.01"):
        width = fine[name].high - fine[name].low
        assert coarse[name].low == pytest.approx(fine[name].low, abs=0.03 * width)
        assert coarse[name].high == pytest.approx(fine[name].high, abs=0.03 * width)


def test_intervals_hold_their_metrics_and_are_the_same_every_time(random_sample) -> None:
    rows, labels = random_sample(n=400, classes=40)
    pairs = pair_distances(rows, labels)
    found = verification_intervals(rows, labels, pairs=pairs, threshold=1.0)
    assert found == verification_intervals(rows, labels, threshold=1.0)
    metrics = split_metrics(rows, labels)
    for name in ("roc_auc", "eer", "average_precision"):
        assert found[name].low < metrics[name] < found[name].high
    assert found["tar_at_far_0.01"].low < tar_at_far(pairs, [0.01])[0].tar < found["tar_at_far_0.01"].high
    assert "tar_at_far_0.0001" not in found, "it is below the resolution"
    assert (found["far"].classes, found["far"].trustworthy) == (40, True)
    narrow = verification_intervals(rows, labels, confidence=0.5)["roc_auc"]
    assert found["roc_auc"].low < narrow.low < narrow.high < found["roc_auc"].high


def test_ends_of_the_error_rate_are_where_its_false_rejects_would_move_it(random_sample) -> None:
    """The EER's interval holds e exactly where the interval of the FRR at a FAR of e holds e."""
    rows, labels = random_sample(n=500, classes=50)
    pairs = pair_distances(rows, labels)
    found, value = verification_intervals(rows, labels)["eer"], eer(pairs)
    counts = class_counts(in_class_order(rows, labels), pairs, None)
    error = jackknife_error(module._left_out(counts, [], value)["eer"], counts.genuine.sum(axis=1))
    assert error is not None
    half_width = np.diff(np.log([p / (1 - p) for p in logit_interval(value, error, 0.95, 50)]))[0] / 2
    for end, bound in ((found.low, half_width), (found.high, -half_width)):
        frr = 1 - tar_at_far(pairs, [end])[0].tar
        assert np.log(frr / (1 - frr)) - np.log(end / (1 - end)) == pytest.approx(bound, abs=0.05)


@pytest.mark.parametrize("same", [True, False])
def test_metrics_at_their_limits_have_intervals(same: bool) -> None:
    """Perfect and collapsed embeddings: a rate of 0 or 1 is not certain after a few classes."""
    rows = np.eye(12, dtype=np.float32)[np.repeat(np.arange(12), 3) if same else np.zeros(36, int)]
    found = verification_intervals(rows, np.repeat(np.arange(12), 3), threshold=0.5)
    if same:
        for name in ("roc_auc", "average_precision", "tar", "accuracy", "precision"):
            assert (found[name].low, found[name].high) == pytest.approx((0.025 ** (1 / 12), 1.0))
        assert (found["eer"].low, found["eer"].high) == pytest.approx((0, 1 - 0.025 ** (1 / 12)))
        assert (found["far"].low, found["far"].high) == pytest.approx((0, 1 - 0.025 ** (1 / 66)))
    else:
        assert (found["roc_auc"].low, found["roc_auc"].high) == (0.5, 0.5)
        assert found["far"].high == 1


def test_what_is_undefined_at_a_threshold_has_no_interval(random_sample) -> None:
    rows, labels = random_sample()
    found = verification_intervals(rows, labels, threshold=0.0)
    assert "precision" not in found
    assert found["recall"].low == 0 < found["recall"].high < 0.3


def test_too_few_classes_have_no_interval(random_sample) -> None:
    rows, labels = random_sample(classes=2)
    assert verification_intervals(rows, labels, threshold=1.0) == {}
    metrics = split_metrics(rows, labels)
    assert metrics["roc_auc"] is not None
    assert metrics["roc_auc_ci95"] is None
    assert metrics["ci95"] == {}
    assert (metrics["ci95_classes"], metrics["ci95_trustworthy"]) == (2, False)


def test_one_class_with_all_genuine_pairs() -> None:
    """Without it no genuine pair is left: only what needs none has an interval."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((10, 5))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = verification_intervals(rows, np.array([0, 0, 0, 1, 2, 3, 4, 5, 6, 7]), threshold=1.2)
    assert "far" in found
    assert not {"roc_auc", "eer", "average_precision", "tar", "accuracy"} & set(found) - {"accuracy"}


def test_no_usable_split() -> None:
    with pytest.raises(DataError, match="no genuine pair"):
        verification_intervals(np.eye(4), np.arange(4))
    with pytest.raises(DataError, match="no impostor pair"):
        verification_intervals(np.eye(4), np.zeros(4))


def test_retrieval_intervals_against_loops(random_sample) -> None:
    rows, labels = random_sample(n=80, classes=9)
    labels[0] = 50
    per_query = retrieval_metrics(rows, labels, (1, 5)).per_query
    found = retrieval_intervals(per_query)
    names, sizes = np.unique(per_query.classes, return_counts=True)
    for name, values in (("map_at_r", per_query.map_at_r), ("recall_at_5", per_query.recall_at_k[5])):
        error = jackknife_error(np.array([values[per_query.classes != c].mean() for c in names]), sizes)
        assert error is not None
        expected = logit_interval(values.mean(), error, 0.95, len(names))
        assert (found[name].low, found[name].high) == pytest.approx(expected)
    assert set(found) == {"map_at_r", "r_precision", "recall_at_1", "recall_at_5"}
    few = retrieval_metrics(rows[labels < 2], labels[labels < 2]).per_query
    assert retrieval_intervals(few) == {}


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(1).standard_normal(50)
    left_out = np.array([np.delete(values, i).mean() for i in range(50)])
    found = jackknife_error(left_out, np.ones(50))
    assert found is not None
    assert found.value == pytest.approx(values.std(ddof=1) / np.sqrt(50))
    assert found.freedom <= 49
    halved = jackknife_error(left_out, np.r_[np.ones(25), np.zeros(25)])
    assert halved is not None
    assert halved.freedom == pytest.approx(24)
    assert jackknife_error(left_out[:2], np.ones(2)) is None
    assert jackknife_error(np.append(left_out, np.nan), np.ones(51)) is None


def test_the_variance_of_pairs_of_classes_is_counted_once() -> None:
    """A mean over all pairs of independent noise: the pairs of a class share nothing but their class's name."""
    rng = np.random.default_rng(2)
    plain, corrected, means = [], [], []
    for _ in range(300):
        noise = np.triu(rng.standard_normal((20, 20)), 1)
        noise += noise.T
        total, own = noise.sum() / 2, noise.sum(axis=0)
        left_out = (total - own) / (19 * 18 / 2)
        once = float(np.square(np.triu(noise, 1)).sum()) / 190**2
        for found, twice in ((plain, 0.0), (corrected, once)):
            error = jackknife_error(left_out, np.ones(20), twice)
            assert error is not None
            found.append(error.value**2)
        means.append(total / 190)
    assert 1.7 * np.var(means) < np.mean(plain)
    assert np.var(means) < np.mean(corrected) < 0.8 * np.mean(plain), "a variance that is never negative is a bit high"


def test_the_logit_interval_at_many_degrees_of_freedom_is_normal() -> None:
    low, high = logit_interval(0.5, StandardError(0.01, 1e9), 0.95, 10)
    assert (low, high) == pytest.approx((0.5 - 0.0196, 0.5 + 0.0196), abs=2e-5)
    assert logit_interval(0.0, StandardError(0.0, 5.0), 0.95, 100) == pytest.approx((0, 1 - 0.025**0.01))


def test_rate_names_are_decimal() -> None:
    assert [rate_name(rate) for rate in (0.1, 1e-3, 1e-6)] == ["0.1", "0.001", "0.000001"]
