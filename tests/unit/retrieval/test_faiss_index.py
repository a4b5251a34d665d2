"""IVF-PQ: of the candidates that FAISS gives, the nearest are found, by a naive ranking of them."""

import numpy as np
import pytest

from imagematch.retrieval import distances, make_index

pytest.importorskip("faiss")


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-6])
def test_a_naive_ranking_of_the_candidates_agrees(metric: str, spread: float) -> None:
    random = np.random.default_rng(3)
    centres = random.standard_normal((4, 16)).astype(np.float32)
    gallery = (centres[random.integers(0, 4, 800)] + spread * random.standard_normal((800, 16))).astype(np.float32)
    gallery[400:420] = gallery[7]  # equal distances rank by row
    queries = (centres[random.integers(0, 4, 30)] + spread * random.standard_normal((30, 16))).astype(np.float32)
    queries[0] = gallery[7]
    index = make_index("ivfpq", metric, 16)
    index.add(gallery)
    found = index.search(queries, 5)
    held = index._vectors  # type: ignore[attr-defined]
    unit = queries / np.linalg.norm(queries, axis=1, keepdims=True) if metric == "cosine" else queries
    candidates = index._index.search(unit, 20)[1]  # type: ignore[attr-defined]
    for query, rows in enumerate(candidates):
        own = np.sort(rows[rows >= 0])
        exact = distances(queries[query : query + 1], held[own], metric)[0]
        assert found.rows[query].tolist() == own[np.argsort(exact, kind="stable")[:5]].tolist()
