"""The distances of all genuine and impostor pairs, from which every verification metric is computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imagematch.errors import DataError
from imagematch.evaluation.blocks import (
    ClassOrder,
    DistanceBlock,
    class_segments,
    cosine_distance_blocks,
    genuine_values,
    impostor_values,
    in_class_order,
)
from imagematch.evaluation.collectors import CountingCollector, SortingCollector
from imagematch.evaluation.distance_multiset import DistanceMultiset

_SORTED_AT_MOST = 1 << 20
"""More genuine, or more impostor, pairs than this are counted, not sorted: faster, and 300 MB of memory at most."""


@dataclass(frozen=True, eq=False)
class PairDistances:
    """The distances of all genuine and all impostor pairs.

    Attributes:
        genuine: distances of pairs of the same class.
        impostor: distances of pairs of different classes.
    """

    genuine: DistanceMultiset
    impostor: DistanceMultiset

    def require(self, *, genuine: bool = True, impostor: bool = True) -> None:
        """Checks that there are pairs of both kinds, or of those that are wanted.

        Raises:
            DataError: there are none.
        """
        if genuine and not self.genuine.count:
            raise DataError("no genuine pair: no class has two images", do="use classes with two images or more")
        if impostor and not self.impostor.count:
            raise DataError("no impostor pair: there is only one class", do="use images of two classes or more")


def pair_distances(embeddings: np.ndarray, labels: np.ndarray) -> PairDistances:
    """Computes the Euclidean distance of every pair i < j, blockwise over the upper triangle.

    On the unit sphere d = sqrt(2 - 2 cos). Cosines are float32 matrix products with an error of about 1e-7, so
    distances have one of 1e-7 / d. Distances below 0.0014 count as exactly 0: identical images are ties, and the AUC of
    a collapsed model is 0.5. No N x N matrix is held. Metrics over 5 x 10^9 pairs are as exact as over ten, because
    1 - cos has at most 2^25 values in float32, and pairs are counted by value.

    Args:
        embeddings: (n, d) float32, L2-normalised.
        labels: (n,) class of each row, of any sortable type.

    Returns:
        The distances; `genuine` or `impostor` is empty where there is no such pair.

    Raises:
        ValueError: the shapes do not fit.
        DataError: embeddings are NaN, infinite or not L2-normalised.

    Examples:
        >>> pairs = pair_distances(np.array([[1, 0], [0.6, 0.8], [0, 1]]), np.array(["a", "a", "b"]))
        >>> print(pairs.genuine.elements(), pairs.impostor.elements())
        [0.8944272] [0.6324555 1.4142135]
    """
    order = in_class_order(embeddings, labels)
    collectors = PairCollector(order)
    for block in cosine_distance_blocks(order.rows, upper_triangle=True):
        collectors.add(block)
    return collectors.finish()


def listed_pairs(distances: np.ndarray, same: np.ndarray) -> PairDistances:
    """Builds `PairDistances` from listed pairs.

    Args:
        distances: (n,), 0 or more.
        same: (n,) bool, whether a pair is genuine.

    Raises:
        ValueError: the shapes differ.
        DataError: a distance is NaN, infinite or negative.

    Examples:
        >>> pairs = listed_pairs(np.array([0.2, 1.1, 0.9]), np.array([True, False, False]))
        >>> pairs.genuine.count, pairs.impostor.count
        (1, 2)
    """
    distances, same = np.asarray(distances, dtype=np.float32), np.asarray(same, dtype=bool)
    if distances.ndim != 1 or distances.shape != same.shape:
        raise ValueError(f"distances and same must be (n,) both, not {distances.shape} and {same.shape}")
    if not (np.isfinite(distances) & (distances >= 0)).all():
        raise DataError("a pair's distance is not a finite number of 0 or more", do="check the embeddings for NaN")
    return PairDistances(DistanceMultiset.of(distances[same]), DistanceMultiset.of(distances[~same]))


class PairCollector:
    """Collects the pairs of the upper triangle from blocks of cosine distances."""

    def __init__(self, order: ClassOrder) -> None:
        self._order = order
        self._genuine = _collector(order.genuine_pairs)
        self._impostor = _collector(order.impostor_pairs)

    def add(self, block: DistanceBlock) -> None:
        """Adds the pairs whose first row is in the block."""
        for part in class_segments(self._order, block.first, block.stop):
            self._genuine.add(genuine_values(block, part))
            self._impostor.add(impostor_values(block, part))

    def finish(self) -> PairDistances:
        """The distances of all pairs that were added."""
        return PairDistances(self._genuine.finish(), self._impostor.finish())


def _collector(count: int) -> SortingCollector | CountingCollector:
    return SortingCollector(count) if count <= _SORTED_AT_MOST else CountingCollector(count)
