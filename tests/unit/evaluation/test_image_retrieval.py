import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from imagematch.errors import DataError
from imagematch.evaluation import eer, epoch_metrics, pair_distances, retrieval_metrics, roc_auc


def naive(rows: np.ndarray, labels: np.ndarray, ks: tuple[int, ...]) -> dict:
    """Sorts each query's gallery by (distance, relevant): ties are pessimistic."""
    metrics: dict = {"r": [], "map_at_r": [], "ap": [], **{k: [] for k in ks}}
    for query in range(len(rows)):
        gallery = [
            (float(np.float32(1) - rows[query] @ rows[other]), bool(labels[other] == labels[query]))
            for other in range(len(rows))
            if other != query
        ]
        relevant = [is_relevant for _, is_relevant in sorted(gallery)]
        r = sum(relevant)
        if not r:
            continue
        precisions = [sum(relevant[: i + 1]) / (i + 1) if hit else 0 for i, hit in enumerate(relevant)]
        metrics["r"].append(sum(relevant[:r]) / r)
        metrics["map_at_r"].append(sum(precisions[:r]) / r)
        metrics["ap"].append(sum(precisions) / r)
        for k in ks:
            metrics[k].append(any(relevant[:k]))
    return {name: np.mean(values) for name, values in metrics.items()} | {"queries": len(metrics["r"])}


def check(rows: np.ndarray, labels: np.ndarray) -> None:
    ks = (1, 3, 10, 500)
    expected = naive(rows, labels, ks)
    for whole in (False, True):
        found = retrieval_metrics(rows, labels, ks, whole_ranking=whole)
        assert found.queries == expected["queries"]
        assert found.queries + found.excluded == len(rows)
        assert found.r_precision == pytest.approx(expected["r"])
        assert found.map_at_r == pytest.approx(expected["map_at_r"])
        assert found.recall_at_k == pytest.approx({k: expected[k] for k in ks})
        assert found.mean_average_precision == (pytest.approx(expected["ap"]) if whole else None)


def test_random_embeddings(random_sample, small_blocks) -> None:
    rows, labels = random_sample(classes=30)
    labels[:2] = 98, 99
    check(rows, labels)


@pytest.mark.parametrize("classes", [1, 2, 6])
def test_ties(tied_sample, small_blocks, classes: int) -> None:
    check(*tied_sample(classes=classes))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 4)), min_size=2, max_size=25))
def test_any_tied_sample(images: list[tuple[int, int]]) -> None:
    rows = np.array([[0.5 if code >> bit & 1 else -0.5 for bit in range(4)] for code, _ in images], dtype=np.float32)
    labels = np.array([label for _, label in images])
    if len(set(labels)) < len(labels):
        check(rows, labels)


def test_average_precision_of_a_query_is_scikit_learns(random_sample) -> None:
    rows, labels = random_sample(n=50, classes=4)
    per_query = retrieval_metrics(rows, labels, whole_ranking=True).per_query
    for query, average in zip(per_query.rows, per_query.average_precision, strict=True):
        others = np.arange(50) != query
        expected = average_precision_score(labels[others] == labels[query], (rows @ rows[query])[others])
        assert average == pytest.approx(expected)


def test_hand_computed() -> None:
    """Query 0 sees, by distance: 1 (relevant), 2, 3 (relevant); R = 2."""
    angles = np.array([0, 0.1, 0.2, 0.3])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = retrieval_metrics(rows, np.array([0, 0, 1, 0]), (1, 2), whole_ranking=True)
    per_query = found.per_query
    assert per_query.rows.tolist() == [0, 1, 3]
    assert per_query.map_at_r[0] == 0.5
    assert per_query.r_precision[0] == 0.5
    assert per_query.average_precision[0] == pytest.approx((1 + 2 / 3) / 2)
    assert found.excluded == 1


def test_a_collapsed_model_scores_nothing() -> None:
    row = np.random.default_rng(0).standard_normal(300)
    rows = np.repeat((row / np.linalg.norm(row))[None], 40, axis=0)
    found = retrieval_metrics(rows, np.arange(40) % 4)
    assert (found.recall_at_k[1], found.map_at_r, found.r_precision) == (0, 0, 0)


def test_quick_metrics_are_the_same(random_sample, tied_sample, small_blocks) -> None:
    for rows, labels in (random_sample(), tied_sample()):
        quick, slow = epoch_metrics(rows, labels), retrieval_metrics(rows, labels)
        pairs = pair_distances(rows, labels)
        assert quick == pytest.approx(
            {
                "roc_auc": roc_auc(pairs),
                "eer": eer(pairs),
                "map_at_r": slow.map_at_r,
                "recall_at_1": slow.recall_at_k[1],
                "r_precision": slow.r_precision,
            }
        )


def test_bad_input() -> None:
    with pytest.raises(DataError, match="no query has a relevant image"):
        retrieval_metrics(np.eye(3), np.arange(3))
    with pytest.raises(DataError, match="no genuine pair"):
        epoch_metrics(np.eye(3), np.arange(3))
    with pytest.raises(DataError, match="no impostor pair"):
        epoch_metrics(np.eye(3), np.zeros(3))
    with pytest.raises(ValueError, match="K must be 1 or more"):
        retrieval_metrics(np.eye(3), np.zeros(3), (0,))
