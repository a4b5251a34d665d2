"""Near duplicates: pictures that are alike up to size, compression and small changes, by a perceptual hash.

Cropped, mirrored or turned copies are not found. Simple drawings may be alike without being copies; what is found is
to be looked at.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagematch.data.dataset import Dataset
from imagematch.data.looks import THUMBNAIL, read_looks
from imagematch.data.value_ranges import nearly_plain
from imagematch.events import SILENT, RunLog

_MAX_DISTANCE = 6
"""Bits in which two hashes of near duplicates may differ."""
_MIN_CORRELATION = 0.95
"""Of two near duplicates' grey thumbnails."""
_CROWD = 200
"""More pictures than this with one hash are of a kind that the hash cannot tell apart."""
_BUDGET = 2_000_000_000
"""Comparisons after which the search stops."""


@dataclass(frozen=True)
class NearDuplicates:
    """The pairs of near duplicates among the images of a data set; byte-identical files are not among them.

    Attributes:
        pairs: (n, 2) int64 rows, the smaller first, sorted.
        not_compared: images that are too plain, or too many of one look, to be compared.
        complete: False where there were too many candidates to look at all.
    """

    pairs: np.ndarray
    not_compared: int
    complete: bool


def near_duplicates(dataset: Dataset, kept: Path | None = None, log: RunLog = SILENT) -> NearDuplicates:
    """Compares all images of a data set with each other, in time that grows little faster than their number.

    Args:
        dataset: the images.
        kept: where their looks are kept, so that each is decoded once; None keeps none.
        log: hears of progress.

    Raises:
        DataError: a file has gone or has changed since the manifest was made.
        StudyError: the looks cannot be kept.
    """
    _, thumbnails, hashes = read_looks(dataset, kept, log)
    _, group, sizes = np.unique(hashes, return_inverse=True, return_counts=True)
    rows = np.flatnonzero(~nearly_plain(thumbnails) & (sizes[group] <= _CROWD))
    pairs, complete = close_pairs(hashes[rows], _MAX_DISTANCE)
    pairs = rows[pairs]
    pairs = pairs[dataset.digests[pairs[:, 0]] != dataset.digests[pairs[:, 1]]]
    pairs = pairs[_correlations(thumbnails, pairs) >= _MIN_CORRELATION]
    return NearDuplicates(pairs[np.lexsort(pairs.T[::-1])], len(dataset) - len(rows), complete)


def close_pairs(hashes: np.ndarray, max_distance: int, budget: int = _BUDGET) -> tuple[np.ndarray, bool]:
    """Pairs of hashes that differ in at most `max_distance` bits.

    Two such hashes agree in at least one of `max_distance` + 1 bands of bits, so only hashes that agree in a band are
    compared.

    Args:
        hashes: (n,) uint64.
        max_distance: bits.
        budget: comparisons after which the search stops.

    Returns:
        (m, 2) int64 places, the smaller first, each pair once; and whether all candidates were looked at.

    Source: G. Manku, A. Jain, A. Das Sarma, Detecting near-duplicates for web crawling, WWW 2007.
    """
    found = [np.empty((0, 2), np.int64)]
    left = budget
    edges = np.linspace(0, 64, max_distance + 2).astype(int)
    for first, last in itertools.pairwise(edges.tolist()):
        band = (hashes >> np.uint64(first)) & np.uint64((1 << (last - first)) - 1)
        order = np.argsort(band, kind="stable")
        for one, other in _neighbours(band[order]):
            if (left := left - len(one)) < 0:
                return _unique(found), False
            a, b = order[one], order[other]
            close = np.bitwise_count(hashes[a] ^ hashes[b]) <= max_distance
            found.append(np.sort(np.stack([a[close], b[close]], axis=1), axis=1))
    return _unique(found), True


def _neighbours(band: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs of places with equal values in a sorted array: those one place apart, then two, and so on."""
    ends = np.searchsorted(band, band, side="right")
    places = np.arange(len(band))
    apart = 1
    while len(places := places[places + apart < ends[places]]):
        yield places, places + apart
        apart += 1


def _unique(found: list[np.ndarray]) -> np.ndarray:
    return np.unique(np.concatenate(found), axis=0)


def _correlations(thumbnails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """(m,) float32, of each pair's thumbnails, -1 to 1."""
    result = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), 8192):
        part = thumbnails[pairs[start : start + 8192]].reshape(-1, 2, THUMBNAIL**2).astype(np.float32)
        part -= part.mean(axis=2, keepdims=True)
        lengths = np.linalg.norm(part, axis=2).prod(axis=1)
        result[start : start + 8192] = (part[:, 0] * part[:, 1]).sum(axis=1) / np.maximum(lengths, 1e-6)
    return result
