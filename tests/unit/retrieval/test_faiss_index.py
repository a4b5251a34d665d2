"""IVF-PQ: of the candidates that FAISS gives, the nearest are found, by a naive ranking of them."""

import numpy as np
import pytest

from imagematch.retrieval import NeighbourIndex, distances
from imagematch.retrieval.distances import make_distance


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-6])
def test_a_naive_ranking_of_the_candidates_agrees(metric: str, spread: float) -> None:
    random = np.random.default_rng(3)
    centres = random.standard_normal((4, 16)).astype(np.float32)
    gallery = (centres[random.integers(0, 4, 800)] + spread * random.standard_normal((800, 16))).astype(np.float32)
    queries = (centres[random.integers(0, 4, 30)] + spread * random.standard_normal((30, 16))).astype(np.float32)
    index = NeighbourIndex("ivfpq", metric, 16)
    index.add(gallery)
    found = index.search(queries, 5)
    candidates = index._index.base_index.search(make_distance(metric).prepared(queries), 20)[1]
    for query, rows in enumerate(candidates):
        own = np.sort(rows[rows >= 0])
        exact = distances(queries[query : query + 1], index.vectors[own], metric)[0]
        np.testing.assert_allclose(found.distances[query], np.sort(exact)[:5], rtol=1e-5, atol=1e-6)
        assert set(found.rows[query].tolist()) <= set(own.tolist())
        assert (np.diff(found.distances[query]) >= 0).all()
