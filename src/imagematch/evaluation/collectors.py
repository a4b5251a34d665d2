"""Collect the cosine distances of many pairs into a multiset of Euclidean distances, by sorting or by counting."""

from __future__ import annotations

import numpy as np

from imagematch.evaluation.blocks import COINCIDENT, to_euclidean
from imagematch.evaluation.distance_multiset import DistanceMultiset

_BITS_BEFORE = int(np.sqrt(np.float32(2 * COINCIDENT)).view(np.int32)) - 1
"""The bits of the float32 before the smallest distance that does not count as 0 (see `to_euclidean`)."""

_SLOTS = int(np.float32(2).view(np.int32)) - _BITS_BEFORE + 1
"""One for distance 0, and one for each float32 up to 2, the largest distance on the unit sphere."""


class SortingCollector:
    """Sorts a known number of cosine distances: the fastest way for few pairs."""

    def __init__(self, count: int) -> None:
        self._values = np.empty(count, dtype=np.float32)
        self._filled = 0

    def add(self, cosine_distances: np.ndarray) -> None:
        """Adds cosine distances of any shape."""
        stop = self._filled + cosine_distances.size
        self._values[self._filled : stop].reshape(cosine_distances.shape)[...] = cosine_distances
        self._filled = stop

    def finish(self) -> DistanceMultiset:
        """The Euclidean distances of all that was added."""
        values = np.minimum(self._values[: self._filled], np.float32(2))
        return DistanceMultiset.of(to_euclidean(values))


class CountingCollector:
    """Counts how often each float32 distance occurs, without sorting, for up to a known number of pairs.

    Non-negative float32 values sort as their bits do, so the bits are the index of a distance's count. Memory is
    bounded, and the system allocates only the pages of distances that occur.
    """

    _BUFFER = 1 << 22

    def __init__(self, count: int) -> None:
        self._counts = np.zeros(_SLOTS, dtype=np.int32 if count < 2**31 else np.int64)
        self._first, self._last = _SLOTS, 0
        self._distances = np.empty(self._BUFFER, dtype=np.float32)
        self._slots = np.empty(self._BUFFER, dtype=np.int64)
        self._filled = 0

    def add(self, cosine_distances: np.ndarray) -> None:
        """Adds cosine distances of any shape."""
        if cosine_distances.size > self._BUFFER:
            rows = max(1, self._BUFFER // cosine_distances[0].size)
            for start in range(0, len(cosine_distances), rows):
                self.add(cosine_distances[start : start + rows])
            return
        if self._filled + cosine_distances.size > self._BUFFER:
            self._count()
        stop = self._filled + cosine_distances.size
        np.minimum(
            cosine_distances, np.float32(2), out=self._distances[self._filled : stop].reshape(cosine_distances.shape)
        )
        self._filled = stop

    def _count(self) -> None:
        distances, slots = self._distances[: self._filled], self._slots[: self._filled]
        self._filled = 0
        if len(slots):
            np.sqrt(np.multiply(distances, np.float32(2), out=distances), out=distances)
            np.subtract(distances.view(np.int32), _BITS_BEFORE, out=slots)
            np.maximum(slots, 0, out=slots)  # coincident ones
            np.add.at(self._counts, slots, self._counts.dtype.type(1))
            self._first, self._last = min(self._first, int(slots.min())), max(self._last, int(slots.max()))

    def finish(self) -> DistanceMultiset:
        """The Euclidean distances of all that was added."""
        self._count()
        counts = self._counts[self._first : self._last + 1]
        found = np.flatnonzero(counts != 0)  # of booleans it is several times as fast as of counts
        values = (found + (self._first + _BITS_BEFORE)).astype(np.int32).view(np.float32)
        if self._first == 0:
            values[:1] = 0
        return DistanceMultiset(values, counts[found].astype(np.int64))
