"""Many distances in order, each distinct one once with how often it occurs: every one of them counts, however many."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from imagematch.evaluation.blocks import COINCIDENT, to_distances

_BITS_BEFORE = int(np.sqrt(np.float32(2 * COINCIDENT)).view(np.int32)) - 1
"""Of the float32 before the smallest distance that is not taken as 0 (see `to_distances`)."""
_PLACES = int(np.float32(2).view(np.int32)) - _BITS_BEFORE + 1
"""One for 0 and one for each float32 from there to 2, the largest distance on the unit sphere."""

_CHUNK = 1 << 22


@dataclass(frozen=True, eq=False)
class Distances:
    """Distances of any number of pairs.

    Attributes:
        values: (m,) float32, the distinct distances, ascending.
        counts: (m,) int64, how many pairs have each.
    """

    values: np.ndarray
    counts: np.ndarray
    _below: np.ndarray = field(init=False)  # (m + 1,) pairs below each value, and all

    def __post_init__(self) -> None:
        below = np.zeros(len(self.counts) + 1, dtype=np.int64)
        np.cumsum(self.counts, out=below[1:])
        object.__setattr__(self, "_below", below)

    @classmethod
    def of(cls, distances: np.ndarray) -> Distances:
        """Those of a list (n,), in any order; taken as float32."""
        ordered = np.sort(np.asarray(distances, dtype=np.float32))
        return cls(*_merged(ordered, np.ones(len(ordered), dtype=np.int64)))

    @property
    def count(self) -> int:
        """How many pairs there are."""
        return int(self._below[-1])

    def below(self, distance: np.ndarray | float) -> np.ndarray:
        """How many are strictly smaller, int64; `distance` is compared as float32."""
        return self._below[np.searchsorted(self.values, np.asarray(distance, dtype=np.float32), side="left")]

    def upto(self, distance: np.ndarray | float) -> np.ndarray:
        """How many are smaller or equal, int64."""
        return self._below[np.searchsorted(self.values, np.asarray(distance, dtype=np.float32), side="right")]

    def value_at(self, rank: np.ndarray | int) -> np.ndarray:
        """The distance at a rank (0 is the smallest)."""
        return self.values[np.searchsorted(self._below, rank, side="right") - 1]

    def each(self) -> np.ndarray:
        """(count,) float32: the distance of every pair, ascending."""
        return np.repeat(self.values, self.counts)

    def steps(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the distinct distances in ascending chunks, each with how often it occurs."""
        for start in range(0, len(self.values), _CHUNK):
            yield self.values[start : start + _CHUNK], self.counts[start : start + _CHUNK]


def _merged(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ascending values, equal ones made one with their counts added."""
    if not len(values):
        return values, counts
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    return values[starts], np.add.reduceat(counts, starts)


class SortingCollector:
    """Takes a known number of half squared distances and sorts them: the quickest way where they are few."""

    def __init__(self, count: int) -> None:
        self._values = np.empty(count, dtype=np.float32)
        self._filled = 0

    def add(self, half_squares: np.ndarray) -> None:
        """Copies values of any shape."""
        stop = self._filled + half_squares.size
        self._values[self._filled : stop].reshape(half_squares.shape)[...] = half_squares
        self._filled = stop

    def finish(self) -> Distances:
        """The distances of what was added."""
        values = np.minimum(self._values[: self._filled], np.float32(2))
        return Distances.of(to_distances(values))


class CountingCollector:
    """Takes up to a known number of half squared distances and counts each distance there is: no order to find.

    A float32 of 0 and more sorts as its bits do, so these say where a distance is counted. The memory is bounded, and
    the system gives it only to the distances that occur.
    """

    _BUFFER = 1 << 22

    def __init__(self, count: int) -> None:
        self._counts = np.zeros(_PLACES, dtype=np.int32 if count < 2**31 else np.int64)
        self._first, self._last = _PLACES, 0
        self._distances = np.empty(self._BUFFER, dtype=np.float32)
        self._places = np.empty(self._BUFFER, dtype=np.int64)
        self._filled = 0

    def add(self, half_squares: np.ndarray) -> None:
        """Counts values of any shape."""
        if half_squares.size > self._BUFFER:
            rows = max(1, self._BUFFER // half_squares[0].size)
            for start in range(0, len(half_squares), rows):
                self.add(half_squares[start : start + rows])
            return
        if self._filled + half_squares.size > self._BUFFER:
            self._count()
        stop = self._filled + half_squares.size
        np.minimum(half_squares, np.float32(2), out=self._distances[self._filled : stop].reshape(half_squares.shape))
        self._filled = stop

    def _count(self) -> None:
        distances, places = self._distances[: self._filled], self._places[: self._filled]
        self._filled = 0
        if len(places):
            np.sqrt(np.multiply(distances, np.float32(2), out=distances), out=distances)
            np.subtract(distances.view(np.int32), _BITS_BEFORE, out=places)
            np.maximum(places, 0, out=places)  # coincident ones
            np.add.at(self._counts, places, self._counts.dtype.type(1))
            self._first, self._last = min(self._first, int(places.min())), max(self._last, int(places.max()))

    def finish(self) -> Distances:
        """The distances of what was added."""
        self._count()
        counts = self._counts[self._first : self._last + 1]
        found = np.flatnonzero(counts != 0)  # of booleans it is several times as fast as of counts
        values = (found + (self._first + _BITS_BEFORE)).astype(np.int32).view(np.float32)
        if self._first == 0:
            values[:1] = 0
        return Distances(values, counts[found].astype(np.int64))
