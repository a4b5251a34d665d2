from typing import Any

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from imagematch.retrieval import SEARCH_DISTANCES, LeftOut, Neighbours, distances, nearest
from imagematch.retrieval import search as module

RANDOM = np.random.default_rng(1)


def naive(queries: np.ndarray, gallery: np.ndarray, k: int, metric: str, left_out: set[tuple[int, int]]) -> Neighbours:
    every = distances(queries, gallery, metric)
    rows = np.full((len(queries), min(k, len(gallery))), -1)
    found = np.full(rows.shape, np.inf, np.float32)
    for query, own in enumerate(every):
        allowed = [(d, row) for row, d in enumerate(own.tolist()) if (query, row) not in left_out]
        for place, (distance, row) in enumerate(sorted(allowed)[: rows.shape[1]]):
            rows[query, place], found[query, place] = row, distance
    return Neighbours(rows, found)


def row_owner(row: int) -> int | str:
    return {5: 0, 12: 3, 42: 3, 59: 10, 0: 10}.get(row, "nobody's")


def same(found: Neighbours, expected: Neighbours) -> None:
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.distances, expected.distances)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SPARE", 1)
    monkeypatch.setattr(module, "_BLOCK_VALUES", 17 * 6)
    monkeypatch.setattr(module, "_CANDIDATES", 24)


@pytest.mark.parametrize("metric", SEARCH_DISTANCES)
@pytest.mark.parametrize("k", [1, 4, 60, 1000])
def test_sorting_all_distances_agrees(metric: str, k: int, small_blocks: None) -> None:
    queries, gallery = np.abs(RANDOM.standard_normal((11, 6))), np.abs(RANDOM.standard_normal((60, 6)))
    gallery[40:50] = gallery[10:20]
    gallery[55] = 0
    queries[3] = gallery[12]
    left_out = {(0, 5), (3, 12), (3, 42), (10, 59), (10, 0), (7, 12), (7, 42)}
    apart = LeftOut.where_same([{7: 3}.get(row, row) for row in range(11)], [row_owner(row) for row in range(60)])
    queries, gallery = queries.astype(np.float32), gallery.astype(np.float32)
    same(nearest(queries, gallery, k, metric, left_out=apart), naive(queries, gallery, k, metric, left_out))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_scikit_learn_agrees(metric: str) -> None:
    queries, gallery = RANDOM.standard_normal((40, 16)), RANDOM.standard_normal((3000, 16))
    expected = NearestNeighbors(n_neighbors=10, metric=metric, algorithm="brute").fit(gallery).kneighbors(queries)
    found = nearest(queries.astype(np.float32), gallery.astype(np.float32), 10, metric)
    np.testing.assert_array_equal(found.rows, expected[1])
    np.testing.assert_allclose(found.distances, expected[0], rtol=1e-4)


def test_equal_distances_rank_in_the_gallerys_order(small_blocks: None) -> None:
    gallery = np.tile(RANDOM.standard_normal((1, 33)).astype(np.float32), (90, 1))
    found = nearest(RANDOM.standard_normal((4, 33)).astype(np.float32), gallery, 7)
    np.testing.assert_array_equal(found.rows, np.tile(np.arange(7), (4, 1)))


def test_what_is_nearly_equal_ranks_by_its_exact_distance(small_blocks: None) -> None:
    """Differences far under the rounding error of a float32 matrix product."""
    base = (RANDOM.standard_normal(256) / 16).astype(np.float32)
    gallery = np.tile(base, (80, 1))
    gallery[:, 0] += np.float32(1e-6) * RANDOM.permutation(80).astype(np.float32)
    same(nearest(base[None], gallery, 9), naive(base[None], gallery, 9, "euclidean", set()))


@pytest.mark.parametrize("seed", range(12))
def test_much_longer_vectors_later_on_are_compared_within_their_own_rounding_error(
    seed: int, small_blocks: None
) -> None:
    random = np.random.default_rng(seed)
    query = np.abs(random.standard_normal((1, 1024))).astype(np.float32)
    short = 1e-6 * random.standard_normal((25, 1024))
    slightly_nearer = 2 * query.astype(np.float64) * (1 - random.uniform(3e-8, 1e-7, (60, 1)))
    gallery = np.concatenate([short, slightly_nearer]).astype(np.float32)
    same(nearest(query, gallery, 3), naive(query, gallery, 3, "euclidean", set()))


def test_what_a_long_query_cannot_tell_apart_ranks_in_the_gallerys_order(small_blocks: None) -> None:
    gallery = (1e-4 * RANDOM.random((60, 2)) + [[1, 0]]).astype(np.float32)
    query = np.array([[1e4, 0]], np.float32)
    same(nearest(query, gallery, 7), naive(query, gallery, 7, "euclidean", set()))


@pytest.mark.parametrize("seed", range(60))
def test_sorting_all_distances_agrees_whatever_the_ties_and_lengths(seed: int, small_blocks: None) -> None:
    random = np.random.default_rng(seed)
    count, dim, k = (int(random.integers(low, high)) for low, high in ((1, 120), (1, 8), (1, 12)))
    looks = random.standard_normal((5, dim))
    gallery = looks[random.integers(0, 5, count)] * np.sort(10.0 ** random.integers(-2, 4, (count, 1)), axis=0)
    gallery += 1e-6 * random.integers(0, 3, gallery.shape)
    if seed % 3 == 0:
        gallery = np.round(gallery)
    queries = (looks[random.integers(0, 5, 7)] * 10.0 ** random.integers(-1, 5, (7, 1))).astype(np.float32)
    left_out = LeftOut(random.integers(-1, 9, 7), random.integers(0, 40, count))
    pairs = set(map(tuple, np.argwhere(left_out.queries[:, None] == left_out.gallery).tolist()))
    gallery = gallery.astype(np.float32, order="F" if seed % 2 else "C")  # what must be copied goes by in blocks
    for metric in ("euclidean", "cosine"):
        found = nearest(queries, gallery, k, metric, left_out=left_out)
        expected = naive(queries, gallery, k, metric, pairs)
        same(found, expected)


def test_a_collapsed_gallery_is_compared_in_bounded_parts(small_blocks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    ranked = module.ranked

    def watched(queries: np.ndarray, gallery: np.ndarray, owners: np.ndarray, *rest: Any) -> Neighbours:
        sizes.append(len(owners))
        return ranked(queries, gallery, owners, *rest)

    monkeypatch.setattr(module, "ranked", watched)
    found = nearest(np.ones((3, 4), np.float32), np.ones((2000, 4), np.float32), 2)
    np.testing.assert_array_equal(found.rows, [[0, 1]] * 3)
    assert max(sizes) == 2000  # of one query at a time


def test_distances_that_float32_cannot_square_are_ranked_all_the_same() -> None:
    gallery = np.float32([[3e25], [-2e25], [1e25], [2.5e25]] * 10)
    same(nearest(np.zeros((1, 1), np.float32), gallery, 12), naive(np.zeros((1, 1)), gallery, 12, "euclidean", set()))


def test_half_precision_features_are_searched_as_they_are() -> None:
    gallery = RANDOM.standard_normal((50, 8)).astype(np.float16)
    same(nearest(gallery[:5], gallery, 3), naive(gallery[:5], gallery, 3, "euclidean", set()))


def test_without_queries_or_gallery_nothing_is_found() -> None:
    assert nearest(np.ones((0, 4), np.float32), np.ones((5, 4), np.float32), 3).rows.shape == (0, 3)
    assert nearest(np.ones((2, 4), np.float32), np.ones((0, 4), np.float32), 3).rows.shape == (2, 0)


def test_all_left_out_gives_nothing() -> None:
    found = nearest(
        np.ones((1, 2), np.float32),
        np.ones((2, 2), np.float32),
        2,
        left_out=LeftOut(np.zeros(1, int), np.zeros(2, int)),
    )
    assert found.rows.tolist() == [[-1, -1]]
    assert np.isinf(found.distances).all()


def test_k_must_be_positive() -> None:
    with pytest.raises(ValueError, match="k must be 1 or more"):
        nearest(np.ones((1, 2)), np.ones((1, 2)), 0)
