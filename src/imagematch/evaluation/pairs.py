"""Every pair's distance, genuine and impostor: what all verification figures are computed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imagematch.errors import DataError
from imagematch.evaluation.blocks import (
    Block,
    ClassOrder,
    genuine_values,
    half_square_blocks,
    impostor_values,
    in_class_order,
    segments,
)
from imagematch.evaluation.distances import CountingCollector, Distances, SortingCollector

_SORTED_AT_MOST = 1 << 23
"""More distances of a kind than these are counted: that takes 300 MB of memory at most, and less time."""


@dataclass(frozen=True, eq=False)
class PairDistances:
    """The distances of all genuine and all impostor pairs, in order.

    Attributes:
        genuine: distances of pairs of the same class.
        impostor: distances of pairs of different classes.
    """

    genuine: Distances
    impostor: Distances

    def require(self, *, genuine: bool = True, impostor: bool = True) -> None:
        """Raises DataError in one line where the pairs that a figure needs do not exist."""
        if genuine and not self.genuine.count:
            raise DataError("no genuine pair: no class has two images", do="use classes with two images or more")
        if impostor and not self.impostor.count:
            raise DataError("no impostor pair: there is only one class", do="use images of two classes or more")


def pair_distances(embeddings: np.ndarray, labels: np.ndarray) -> PairDistances:
    """Computes the Euclidean distance of every pair i < j, blockwise over the upper triangle.

    On the unit sphere d = sqrt(2 - 2 cos). Cosines are float32 matrix products, good to about 1e-7, hence distances
    to 1e-7 / d: near-duplicates lose precision, and distances below 0.0014 are given as exactly 0, so that identical
    images are ties and a collapsed model scores 0.5. No N x N matrix is ever held, and the figures over 5 x 10^9 pairs
    are as exact as those over ten: 1 - cos has 2^25 values at most in float32, so that many pairs are counted by value.

    Args:
        embeddings: (n, d) float32, L2-normalised.
        labels: (n,) class of each row, any sortable kind.

    Returns:
        The distances; a kind of which there is no pair is empty.

    Raises:
        ValueError: the shapes do not fit.
        DataError: embeddings are NaN, infinite or not L2-normalised.
    """
    order = in_class_order(embeddings, labels)
    collectors = PairCollector(order)
    for block in half_square_blocks(order.rows, upper_triangle=True):
        collectors.add(block)
    return collectors.finish()


def listed_pairs(distances: np.ndarray, same: np.ndarray) -> PairDistances:
    """Makes `PairDistances` of a list of pairs: distances (n,) >= 0 and whether each is genuine (n,) bool.

    Raises:
        ValueError: the shapes differ.
        DataError: a distance is NaN, infinite or negative.
    """
    distances, same = np.asarray(distances, dtype=np.float32), np.asarray(same, dtype=bool)
    if distances.ndim != 1 or distances.shape != same.shape:
        raise ValueError(f"distances and same must be (n,) both, not {distances.shape} and {same.shape}")
    if not (np.isfinite(distances) & (distances >= 0)).all():
        raise DataError("a pair's distance is not a finite number of 0 or more", do="check the embeddings for NaN")
    return PairDistances(Distances.of(distances[same]), Distances.of(distances[~same]))


class PairCollector:
    """Collects the pairs of the upper triangle from blocks of half squared distances."""

    def __init__(self, order: ClassOrder) -> None:
        self._order = order
        self._genuine = _collector(order.genuine_pairs)
        self._impostor = _collector(order.impostor_pairs)

    def add(self, block: Block) -> None:
        """Takes the pairs whose first row is in the block."""
        for part in segments(self._order, block.first, block.stop):
            self._genuine.add(genuine_values(block, part))
            self._impostor.add(impostor_values(block, part))

    def finish(self) -> PairDistances:
        """The distances of all that was added."""
        return PairDistances(self._genuine.finish(), self._impostor.finish())


def _collector(count: int) -> SortingCollector | CountingCollector:
    return SortingCollector(count) if count <= _SORTED_AT_MOST else CountingCollector(count)
