"""Many distances in order: every one of them sorted, or counted in a fine histogram, behind one set of questions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from imagematch.evaluation.blocks import COINCIDENT

BINS = 1 << 22
"""Bins of the histogram, equal over the distances 0 to 2: 4.8e-7 wide, so that edges and bins are exact in float32."""

_SCALE = np.float32(BINS / 2)
_CHUNK = 1 << 22
_FEW = 1 << 20


@cache
def bin_edges() -> np.ndarray:
    """(BINS + 1,) float32: the distances at which the bins of the histogram begin, the last one 2."""
    edges: np.ndarray = (np.arange(BINS + 1) / float(_SCALE)).astype(np.float32)
    edges.setflags(write=False)
    return edges


@dataclass(frozen=True, eq=False)
class SortedDistances:
    """Every distance: (count,) float32, ascending."""

    values: np.ndarray
    exact = True

    @property
    def count(self) -> int:
        """How many distances there are."""
        return len(self.values)

    def below(self, distance: np.ndarray | float) -> np.ndarray:
        """How many are strictly smaller, int64; `distance` is compared as float32."""
        return np.searchsorted(self.values, np.asarray(distance, dtype=np.float32), side="left")

    def upto(self, distance: np.ndarray | float) -> np.ndarray:
        """How many are smaller or equal, int64."""
        return np.searchsorted(self.values, np.asarray(distance, dtype=np.float32), side="right")

    def value_at(self, rank: np.ndarray | int) -> np.ndarray:
        """The distance at a rank (0 is the smallest)."""
        return self.values[rank]

    def steps(self) -> Iterator[tuple[np.ndarray, np.ndarray | int]]:
        """Yields the values in ascending chunks, each with how often they count."""
        for start in range(0, len(self.values), _CHUNK):
            yield self.values[start : start + _CHUNK], 1


@dataclass(frozen=True, eq=False)
class BinnedDistances:
    """Distances counted in `BINS` bins: exact at every bin edge, between two edges known up to one bin's content.

    Attributes:
        counts: (BINS,) int64.
    """

    counts: np.ndarray
    cumulative: np.ndarray = field(init=False)
    exact = False

    def __post_init__(self) -> None:
        cumulative = np.zeros(BINS + 1, dtype=np.int64)
        np.cumsum(self.counts, out=cumulative[1:])
        object.__setattr__(self, "cumulative", cumulative)

    @property
    def count(self) -> int:
        """How many distances there are."""
        return int(self.cumulative[-1])

    def below(self, distance: np.ndarray | float) -> np.ndarray:
        """How many lie in bins that end at or below the distance: a lower bound, exact at bin edges."""
        at = np.searchsorted(bin_edges(), np.asarray(distance, dtype=np.float32), side="right") - 1
        return self.cumulative[np.clip(at, 0, BINS)]

    def upto(self, distance: np.ndarray | float) -> np.ndarray:
        """How many lie in bins that begin at or below the distance: an upper bound."""
        at = np.searchsorted(bin_edges(), np.asarray(distance, dtype=np.float32), side="right")
        return self.cumulative[np.clip(at, 0, BINS)]

    def value_at(self, rank: np.ndarray | int) -> np.ndarray:
        """The lower edge of the bin that holds the distance at a rank (0 is the smallest)."""
        return bin_edges()[np.searchsorted(self.cumulative, rank, side="right") - 1]

    def steps(self) -> Iterator[tuple[np.ndarray, np.ndarray | int]]:
        """Yields the lower edges of the filled bins, each with its bin's content."""
        filled = np.flatnonzero(self.counts)
        yield bin_edges()[filled], self.counts[filled]


Distances = SortedDistances | BinnedDistances


def sort_in_place(values: np.ndarray, threads: int) -> None:
    """Sorts (n,) values: many are split at their median first, and both halves sorted at the same time."""
    if threads < 2 or len(values) <= _FEW:
        values.sort()
        return
    middle = len(values) // 2
    values.partition(middle)
    with ThreadPoolExecutor(1) as pool:
        lower = pool.submit(sort_in_place, values[:middle], threads // 2)
        sort_in_place(values[middle:], threads - threads // 2)
        lower.result()


class SortedCollector:
    """Takes a known number of half squared distances and sorts them."""

    def __init__(self, count: int) -> None:
        self._values = np.empty(count, dtype=np.float32)
        self._filled = 0

    def add(self, half_squares: np.ndarray) -> None:
        """Copies values of any shape."""
        stop = self._filled + half_squares.size
        self._values[self._filled : stop].reshape(half_squares.shape)[...] = half_squares
        self._filled = stop

    def finish(self) -> SortedDistances:
        """Sorts what was added and turns it into distances."""
        values = self._values[: self._filled]
        sort_in_place(values, os.cpu_count() or 1)
        values[: np.searchsorted(values, np.float32(COINCIDENT))] = 0
        np.multiply(values, np.float32(2), out=values)
        return SortedDistances(np.sqrt(values, out=values))


class BinnedCollector:
    """Takes any number of half squared distances and counts them in bins."""

    _BUFFER = 1 << 25

    def __init__(self) -> None:
        self._counts = np.zeros(BINS, dtype=np.int64)
        self._buffer = np.empty(self._BUFFER, dtype=np.float32)
        self._bins = np.empty(self._BUFFER, dtype=np.int64)
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
        self._buffer[self._filled : stop].reshape(half_squares.shape)[...] = half_squares
        self._filled = stop

    def _count(self) -> None:
        values, bins = self._buffer[: self._filled], self._bins[: self._filled]
        np.multiply(values, np.float32(2), out=values)
        np.sqrt(values, out=values)
        np.multiply(values, _SCALE, out=values)
        np.copyto(bins, values, casting="unsafe")
        counts = np.bincount(bins, minlength=BINS)
        self._counts += counts[:BINS]
        self._counts[-1] += counts[BINS:].sum()
        self._filled = 0

    def finish(self) -> BinnedDistances:
        """The histogram of what was added; coincident images count as distance 0."""
        self._count()
        coincident = int(np.sqrt(2 * COINCIDENT) * float(_SCALE))
        self._counts[0] += self._counts[1:coincident].sum()
        self._counts[1:coincident] = 0
        return BinnedDistances(self._counts)
