from importlib import import_module

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_distances, euclidean_distances

from imagematch.errors import ConfigError
from imagematch.retrieval import SEARCH_DISTANCES, distances
from imagematch.retrieval.distances import make_distance

RANDOM = np.random.default_rng(0)


def naive(a: np.ndarray, b: np.ndarray, metric: str) -> float:
    if metric == "euclidean":
        return sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5
    if metric == "jaccard":
        smaller = sum(min(float(x), float(y)) for x, y in zip(a, b, strict=True))
        larger = sum(max(float(x), float(y)) for x, y in zip(a, b, strict=True))
        return 1 - smaller / larger if larger else 0.0
    dot = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    lengths = sum(float(x) ** 2 for x in a) ** 0.5 * sum(float(y) ** 2 for y in b) ** 0.5
    return 1 - dot / lengths if lengths else 1.0


def vectors(count: int, dim: int = 7) -> np.ndarray:
    rows = np.maximum(RANDOM.standard_normal((count, dim)), 0).astype(np.float32)
    rows[0] = 0
    return rows


@pytest.mark.parametrize("metric", SEARCH_DISTANCES)
def test_a_naive_loop_agrees(metric: str) -> None:
    queries, gallery = vectors(6), vectors(9)
    expected = [[naive(a, b, metric) for b in gallery] for a in queries]
    np.testing.assert_allclose(distances(queries, gallery, metric), expected, rtol=1e-6, atol=1e-7)


def test_scikit_learn_agrees() -> None:
    queries, gallery = RANDOM.standard_normal((2, 30, 12)).astype(np.float32)
    np.testing.assert_allclose(distances(queries, gallery), euclidean_distances(queries, gallery), rtol=1e-4)
    np.testing.assert_allclose(distances(queries, gallery, "cosine"), cosine_distances(queries, gallery), atol=1e-6)


@pytest.mark.parametrize("metric", SEARCH_DISTANCES)
def test_blocks_give_the_same(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    queries, gallery = vectors(6), vectors(9)
    whole = distances(queries, gallery, metric)
    monkeypatch.setattr(import_module("imagematch.retrieval.distances"), "_EXACT_VALUES", 4 * 7)
    np.testing.assert_array_equal(distances(queries, gallery, metric), whole)


@pytest.mark.parametrize("metric", SEARCH_DISTANCES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 300.0])
def test_keys_rank_like_the_distances_within_their_tolerance(metric: str, scale: float) -> None:
    measure = make_distance(metric)
    queries, gallery = (np.abs(RANDOM.standard_normal((n, 40)).astype(np.float32)) * scale for n in (5, 200))
    a, b = measure.prepared(queries), measure.prepared(gallery)
    keys, rows = measure.nearest(a, b, 150)
    assert all(len(set(own)) == 150 for own in rows.tolist())
    exact = np.array([measure.between(np.repeat(q[None], 200, 0), gallery) for q in queries])
    exact = {"euclidean": exact**2, "cosine": exact - 1, "jaccard": exact}[metric]
    assert (np.abs(keys - np.take_along_axis(exact, rows, 1)) <= measure.tolerance(a, measure.reach(b))[:, None]).all()


def test_small_distances_are_not_lost_to_cancellation() -> None:
    row = np.full((1, 128), 1 / np.sqrt(128), np.float32)
    near = row.copy()
    near[0, 0] += 1e-6
    assert distances(row, near)[0, 0] == pytest.approx(abs(float(near[0, 0]) - float(row[0, 0])), rel=1e-5)
    assert distances(row, row)[0, 0] == 0


def test_jaccard_refuses_negative_values_in_one_line() -> None:
    with pytest.raises(ConfigError, match="values of 0 and more"):
        distances(np.array([[1.0, -0.5]]), np.array([[1.0, 1.0]]), "jaccard")


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ConfigError, match="'manhattan' is not one of euclidean, cosine, jaccard"):
        distances(np.ones((1, 2)), np.ones((1, 2)), "manhattan")
