"""Classification by the nearest neighbours: the most frequent label among them."""

from __future__ import annotations

import numpy as np

from imagematch.retrieval.search import Neighbours


def knn_classify(neighbours: Neighbours, labels: np.ndarray, k: int) -> np.ndarray:
    """The label that most of each query's k nearest have.

    Of labels with equally many votes the one whose voters are nearer (smaller sum of distances) wins; if even that is
    equal, the one that comes first in the ranking.

    Args:
        neighbours: of each query, k or more deep; where fewer were found, those vote.
        labels: (g,) int, 0 and more: the gallery's.
        k: how many vote.

    Returns:
        (q,) int64; -1 where a query has no neighbour.

    Raises:
        ValueError: k is under 1.
    """
    if k < 1:
        raise ValueError(f"k must be 1 or more, not {k}")
    near = neighbours.first(k)
    queries, depth = near.rows.shape
    answers = np.full(queries, -1, np.int64)
    found = near.rows >= 0
    if not found.any():
        return answers
    owners, places = np.nonzero(found)
    voted = np.asarray(labels, np.int64)[near.rows[found]]
    classes = int(voted.max()) + 1
    ballots, inverse = np.unique(owners * classes + voted, return_inverse=True)
    votes = np.bincount(inverse)
    reach = np.bincount(inverse, weights=near.distances[found].astype(np.float64))
    first = np.full(len(ballots), depth)
    np.minimum.at(first, inverse, places)
    owner, label = ballots // classes, ballots % classes
    order = np.lexsort((first, reach, -votes, owner))
    winners = order[np.unique(owner[order], return_index=True)[1]]
    answers[owner[winners]] = label[winners]
    return answers
