from collections.abc import Callable

import numpy as np
import pytest

from imagematch.evaluation import retrieval_metrics
from imagematch.retrieval import LeftOut, Neighbours, nearest, search_metrics

RANDOM = np.random.default_rng(3)


def sphere(count: int, dim: int = 6) -> np.ndarray:
    rows = RANDOM.standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def finder(
    queries: np.ndarray, gallery: np.ndarray, left_out: LeftOut | None = None
) -> Callable[[slice, int], Neighbours]:
    return lambda part, k: nearest(queries[part], gallery, k, left_out=left_out and left_out.of(part))


def test_naive_loops_agree() -> None:
    queries, gallery = sphere(25), sphere(60)
    query_labels, gallery_labels = RANDOM.integers(0, 6, 25), RANDOM.integers(0, 5, 60)
    query_labels[:2] = 5  # nothing relevant in the gallery
    pairs = [[3, 7], [3, 8], [9, 0], [11, 7], [11, 8]]
    left_out = LeftOut.where_same(
        [{3: "a", 9: "b", 11: "a"}.get(row) for row in range(25)],
        [{7: "a", 8: "a", 0: "b"}.get(n, n) for n in range(60)],
    )
    found = search_metrics(finder(queries, gallery, left_out), query_labels, gallery_labels, left_out=left_out)
    recalls, averages, precisions, hits = [], [], [], []
    for query in range(25):
        order = np.argsort(np.linalg.norm(gallery - queries[query], axis=1), kind="stable")
        order = [row for row in order if [query, row] not in pairs]
        right = [gallery_labels[row] == query_labels[query] for row in order]
        hits.append(any(right[:5]))
        if r := sum(right):
            recalls.append(any(right[:5]))
            averages.append(sum(sum(right[: i + 1]) / (i + 1) for i in range(r) if right[i]) / r)
            precisions.append(sum(right[:r]) / r)
    assert found is not None
    assert found.recall_at_k[5] == pytest.approx(np.mean(recalls))
    assert found.top_k_accuracy[5] == pytest.approx(np.mean(hits))
    assert found.map_at_r == pytest.approx(np.mean(averages))
    assert found.r_precision == pytest.approx(np.mean(precisions))
    assert found.queries == 25
    assert found.without_relevant == 25 - len(recalls) == int((query_labels == 5).sum())


def test_a_few_queries_at_a_time_come_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, gallery = sphere(41), sphere(90)
    labels, gallery_labels = RANDOM.integers(0, 9, 41), np.minimum(RANDOM.integers(0, 20, 90), 7)
    left_out = LeftOut(np.arange(41) % 5, np.arange(90))
    whole = search_metrics(finder(queries, gallery, left_out), labels, gallery_labels, left_out=left_out)
    monkeypatch.setattr("imagematch.retrieval.metrics._AT_ONCE", 150)
    sizes = []

    def find(part: slice, depth: int) -> Neighbours:
        found = finder(queries, gallery, left_out)(part, depth)
        sizes.append(found.rows.size)
        return found

    found = search_metrics(find, labels, gallery_labels, left_out=left_out)
    assert found is not None
    assert whole is not None
    assert len(sizes) > 10
    assert max(sizes) <= 150
    assert min(sizes) < max(sizes)  # each part is as deep as its own queries need
    assert (found.map_at_r, found.r_precision) == pytest.approx((whole.map_at_r, whole.r_precision))
    assert (found.queries, found.without_relevant) == (whole.queries, whole.without_relevant)
    assert (found.recall_at_k, found.top_k_accuracy) == (whole.recall_at_k, whole.top_k_accuracy)
    assert found.knn_accuracy == whole.knn_accuracy


def test_a_gallery_against_itself_is_what_evaluation_says() -> None:
    rows, labels = sphere(80), RANDOM.integers(0, 7, 80)
    own = LeftOut(np.arange(80), np.arange(80))
    found = search_metrics(finder(rows, rows, own), labels, labels, left_out=own)
    expected = retrieval_metrics(rows, labels)
    assert found is not None
    assert found.map_at_r == pytest.approx(expected.map_at_r)
    assert found.r_precision == pytest.approx(expected.r_precision)
    assert found.recall_at_k == pytest.approx(expected.recall_at_k)


def test_no_relevant_image_at_all_has_no_metrics() -> None:
    assert search_metrics(finder(sphere(2), sphere(3)), np.zeros(2, int), np.ones(3, int)) is None
