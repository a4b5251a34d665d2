"""Class against class: between which classes the false matches are."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import nlargest
from typing import Any

import numpy as np

from imagematch.evaluation.blocks import class_segments, cosine_distance_blocks, in_class_order, to_euclidean


@dataclass(frozen=True)
class ConfusedClasses:
    """Two classes with their false matches.

    Attributes:
        first, second: the labels.
        matches: pairs of an image of each that match.
        pairs: all pairs of an image of each.
    """

    first: Any
    second: Any
    matches: int
    pairs: int


def confused_classes(
    embeddings: np.ndarray, labels: np.ndarray, distance: float, count: int = 20
) -> list[ConfusedClasses]:
    """The pairs of classes with the most false matches at a threshold, the most first; those without any are left out.

    Blockwise; no table of all pairs of classes is held. Of equals the larger share of the pairs comes first.

    Args:
        embeddings: (n, d) float32, L2-normalised.
        labels: (n,).
        distance: the threshold.
        count: how many, at most.

    Raises:
        DataError: as in `pair_distances`.

    Examples:
        >>> rows = np.array([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]])
        >>> confused_classes(rows, np.array(["a", "a", "b", "b"]), 0.5)
        [ConfusedClasses(first='a', second='b', matches=1, pairs=4)]
    """
    order = in_class_order(embeddings, labels)
    sizes, found = order.sizes, []
    of_class = np.zeros(len(sizes), dtype=np.int64)
    for block in cosine_distance_blocks(order.rows, upper_triangle=False):
        matched = to_euclidean(block.cosine_distances) < np.float32(distance)
        by_class = np.add.reduceat(matched, order.starts[:-1], axis=1, dtype=np.int32)
        for part in class_segments(order, block.first, block.stop):
            own = part.class_index
            of_class += by_class[part.first - block.first : part.stop - block.first].sum(axis=0)
            if part.stop < part.end:  # the class goes on in the next block
                continue
            later = of_class[own + 1 :]
            for other in (own + 1 + np.argsort(-later, kind="stable")[:count]).tolist():
                pairs = int(sizes[own] * sizes[other])
                if matches := int(of_class[other]):
                    found.append((matches, matches / pairs, -own, -other))
            found = nlargest(count, found)
            of_class[:] = 0
    return [
        ConfusedClasses(order.names[-own].item(), order.names[-other].item(), matches, int(sizes[-own] * sizes[-other]))
        for matches, _, own, other in found
    ]
