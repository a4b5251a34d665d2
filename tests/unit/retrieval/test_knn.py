from collections import Counter

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from imagematch.retrieval import Neighbours, knn_classify, nearest

RANDOM = np.random.default_rng(2)


def naive(rows: list[int], distances: list[float], labels: list[int], k: int) -> int:
    voters = [(labels[row], d) for row, d in zip(rows[:k], distances[:k], strict=True) if row >= 0]
    if not voters:
        return -1
    votes = Counter(label for label, _ in voters)
    order = [label for label, _ in voters]

    def merit(label: int) -> tuple[float, ...]:
        return -votes[label], sum(d for own, d in voters if own == label), order.index(label)

    return min(votes, key=merit)


@pytest.mark.parametrize("k", [1, 2, 4, 5, 9])
def test_a_naive_vote_agrees(k: int) -> None:
    queries, gallery = RANDOM.integers(0, 3, (40, 2)), RANDOM.integers(0, 3, (30, 2))
    labels = RANDOM.integers(0, 4, 30)
    found = nearest(queries.astype(np.float32), gallery.astype(np.float32), 9)
    found.rows[7, 3:] = -1
    found.distances[7, 3:] = np.inf
    found.rows[8] = -1
    expected = [
        naive(rows, near, labels.tolist(), k)
        for rows, near in zip(found.rows.tolist(), found.distances.tolist(), strict=True)
    ]
    assert knn_classify(found, labels, k).tolist() == expected


def test_scikit_learn_agrees_where_there_is_no_tie() -> None:
    queries, gallery = RANDOM.standard_normal((2, 300, 5)).astype(np.float32)
    labels = RANDOM.integers(0, 2, 300)
    found = nearest(queries, gallery, 5)
    model = KNeighborsClassifier(5, algorithm="brute").fit(gallery, labels)
    np.testing.assert_array_equal(knn_classify(found, labels, 5), model.predict(queries))


def test_equal_votes_go_to_the_nearer() -> None:
    found = Neighbours(np.array([[0, 1, 2, 3]]), np.array([[0.1, 0.5, 0.5, 0.6]], np.float32))
    assert knn_classify(found, np.array([1, 0, 0, 1]), 4).tolist() == [1]
    assert knn_classify(found, np.array([1, 0, 0, 2]), 4).tolist() == [0]


def test_no_neighbour_is_no_class() -> None:
    found = Neighbours(np.full((2, 3), -1), np.full((2, 3), np.inf, np.float32))
    assert knn_classify(found, np.array([0, 1]), 3).tolist() == [-1, -1]


def test_k_must_be_positive() -> None:
    with pytest.raises(ValueError, match="k must be 1 or more"):
        knn_classify(Neighbours(np.zeros((1, 1), int), np.zeros((1, 1))), np.array([0]), 0)
