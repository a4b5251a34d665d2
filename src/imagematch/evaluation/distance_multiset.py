"""A multiset of distances: each distinct distance with the number of pairs that have it, for any number of pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

_CHUNK = 1 << 22


@dataclass(frozen=True, eq=False)
class DistanceMultiset:
    """The distances of any number of pairs.

    Attributes:
        values: (m,) float32, the distinct distances, ascending.
        counts: (m,) int64, the number of pairs at each distance.

    Examples:
        >>> distances = DistanceMultiset.of(np.array([0.5, 0.2, 0.5]))
        >>> distances.count, int(distances.below(0.5)), int(distances.up_to(0.5))
        (3, 1, 3)
    """

    values: np.ndarray
    counts: np.ndarray
    _below: np.ndarray = field(init=False)  # (m + 1,) pairs below each value, then all pairs

    def __post_init__(self) -> None:
        below = np.zeros(len(self.counts) + 1, dtype=np.int64)
        np.cumsum(self.counts, out=below[1:])
        object.__setattr__(self, "_below", below)

    @classmethod
    def of(cls, distances: np.ndarray) -> DistanceMultiset:
        """Builds a multiset from distances (n,) in any order, rounded to float32."""
        ordered = np.sort(np.asarray(distances, dtype=np.float32))
        return cls(*_merged(ordered, np.ones(len(ordered), dtype=np.int64)))

    @property
    def count(self) -> int:
        """The number of pairs."""
        return int(self._below[-1])

    def below(self, distance: np.ndarray | float) -> np.ndarray:
        """The number of pairs with a strictly smaller distance, int64; `distance` is rounded to float32."""
        return self._below[np.searchsorted(self.values, np.asarray(distance, dtype=np.float32), side="left")]

    def up_to(self, distance: np.ndarray | float) -> np.ndarray:
        """The number of pairs with a smaller or equal distance, int64."""
        return self._below[np.searchsorted(self.values, np.asarray(distance, dtype=np.float32), side="right")]

    def value_at(self, rank: np.ndarray | int) -> np.ndarray:
        """The distance of the pair at a rank; rank 0 is the smallest distance."""
        return self.values[np.searchsorted(self._below, rank, side="right") - 1]

    def elements(self) -> np.ndarray:
        """(count,) float32: the distance of every pair, ascending."""
        return np.repeat(self.values, self.counts)

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (values, counts) in ascending chunks."""
        for start in range(0, len(self.values), _CHUNK):
            yield self.values[start : start + _CHUNK], self.counts[start : start + _CHUNK]


def _merged(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merges equal neighbours of ascending values and adds their counts."""
    if not len(values):
        return values, counts
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    return values[starts], np.add.reduceat(counts, starts)
