"""Near duplicates: images that are alike up to size, compression and small changes, by a perceptual hash.

Cropped, mirrored or turned copies are not found. Simple drawings may be alike without being copies; what is found is
to be looked at. The fingerprints, a small grey thumbnail and a hash of every image, are made once and cached by the
image's content.
"""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from imagematch.data.dataset import Dataset, NearDuplicates
from imagematch.data.decoding import DECODER_VERSION
from imagematch.data.table_cache import load_table, save_table
from imagematch.data.value_ranges import nearly_plain
from imagematch.events import SILENT, RunLog
from imagematch.files import digest_bytes, replacing
from imagematch.npz import open_npz
from imagematch.reading import GB

THUMBNAIL = 16
"""Side of a thumbnail, pixels."""

_VERSION = f"1 {DECODER_VERSION}"
_SIDE = 32
"""Images are hashed at this size, pixels."""
_FREQUENCIES = 8
"""Frequencies in each direction: 8 x 8, without the mean, are the 63 bits of a hash."""
_BITS = _FREQUENCIES * _FREQUENCIES
_CHUNK = 64
_MAX_BYTES = 16 * GB
_MEMBERS = 10
_MAX_DISTANCE = 6
"""Bits in which two hashes of near duplicates may differ."""
_MIN_CORRELATION = 0.95
"""Of two near duplicates' grey thumbnails."""
_CROWD = 200
"""More images than this with one hash are of a kind that the hash cannot tell apart."""
_BUDGET = 2_000_000_000
"""Comparisons after which the search stops."""


def find_near_duplicates(dataset: Dataset, cache_path: Path | None = None, log: RunLog = SILENT) -> NearDuplicates:
    """Compares all images of a data set with each other, in time that grows little faster than their number.

    Args:
        dataset: the images.
        cache_path: where their fingerprints are cached, so that each is decoded once, and beside them what was found;
            None caches neither.
        log: gets progress.

    Raises:
        DataError: a file has gone or has changed since the manifest was made.
        StudyError: the fingerprints cannot be cached.
    """
    if cache_path is None:
        return _searched(dataset, None, log)
    images = digest_bytes("\n".join(dataset.digests.tolist()).encode())
    kind = {"version": _VERSION, "images": images, "search": [_MAX_DISTANCE, _MIN_CORRELATION, _CROWD, _BUDGET]}
    path = cache_path.with_suffix(".pairs")
    found = load_table(path, kind, lambda columns: _parsed(columns, len(dataset)), log)
    if found is None:
        found = _searched(dataset, cache_path, log)
        one, other = found.pairs.T.tolist()
        columns = {"one": one, "other": other, "not_compared": [found.not_compared], "complete": [found.complete]}
        save_table(path, kind, columns)
    return found


def _searched(dataset: Dataset, cache_path: Path | None, log: RunLog) -> NearDuplicates:
    _, thumbnails, hashes = read_fingerprints(dataset, cache_path, log)
    _, group, sizes = np.unique(hashes, return_inverse=True, return_counts=True)
    rows = np.flatnonzero(~nearly_plain(thumbnails) & (sizes[group] <= _CROWD))
    pairs, complete = close_pairs(hashes[rows], _MAX_DISTANCE, log=log)
    pairs = rows[pairs]
    pairs = pairs[dataset.digests[pairs[:, 0]] != dataset.digests[pairs[:, 1]]]
    pairs = pairs[_correlations(thumbnails, pairs) >= _MIN_CORRELATION]
    return NearDuplicates(pairs[np.lexsort(pairs.T[::-1])], len(dataset) - len(rows), complete)


def _parsed(columns: dict[str, Any], images: int) -> NearDuplicates:
    """What was found before. Raises ValueError or another of a table's errors where it cannot be of these images."""
    pairs = np.array([columns["one"], columns["other"]], np.int64).T.reshape(-1, 2)
    (not_compared,), (complete,) = columns["not_compared"], columns["complete"]
    inside = len(pairs) == 0 or (pairs.min() >= 0 and pairs.max() < images and (pairs[:, 0] < pairs[:, 1]).all())
    if not inside or type(not_compared) is not int or type(complete) is not bool:
        raise ValueError("another table")
    return NearDuplicates(pairs, not_compared, complete)


def close_pairs(
    hashes: np.ndarray, max_distance: int, budget: int = _BUDGET, log: RunLog = SILENT
) -> tuple[np.ndarray, bool]:
    """Pairs of hashes that differ in at most `max_distance` bits.

    Two such hashes agree in at least one of `max_distance` + 1 bands of bits, so only hashes that agree in a band are
    compared.

    Args:
        hashes: (n,) uint64.
        max_distance: bits.
        budget: comparisons after which the search stops.
        log: shown how far it is.

    Returns:
        (m, 2) int64 indices, the smaller first, each pair once; and whether all candidates were looked at.

    Source: G. Manku, A. Jain, A. Das Sarma, Detecting near-duplicates for web crawling, WWW 2007.
    """
    found = [np.empty((0, 2), np.int64)]
    left = budget
    edges = np.linspace(0, 64, max_distance + 2).astype(int)
    with log.progress("bands of hashes", max_distance + 1) as advance:
        for first, last in itertools.pairwise(edges.tolist()):
            band = (hashes >> np.uint64(first)) & np.uint64((1 << (last - first)) - 1)
            order = np.argsort(band, kind="stable")
            for one, other in _neighbours(band[order]):
                if (left := left - len(one)) < 0:
                    return _unique(found), False
                a, b = order[one], order[other]
                close = np.bitwise_count(hashes[a] ^ hashes[b]) <= max_distance
                found.append(np.sort(np.stack([a[close], b[close]], axis=1), axis=1))
            advance()
    return _unique(found), True


def _neighbours(band: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs of indices with equal values in a sorted array: those one apart, then two, and so on."""
    ends = np.searchsorted(band, band, side="right")
    index = np.arange(len(band))
    apart = 1
    while len(index := index[index + apart < ends[index]]):
        yield index, index + apart
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


class Fingerprints(NamedTuple):
    """What identifies images, row by row.

    Attributes:
        digests: (n,) str, of the images' content.
        thumbnails: (n, 16, 16) uint8, grey.
        hashes: (n,) uint64; alike images differ in few bits.
    """

    digests: np.ndarray
    thumbnails: np.ndarray
    hashes: np.ndarray

    def take(self, rows: np.ndarray) -> Fingerprints:
        """Some of them."""
        return Fingerprints(*(column[rows] for column in self))


def read_fingerprints(dataset: Dataset, path: Path | None, log: RunLog = SILENT) -> Fingerprints:
    """The fingerprints of a data set's images, in its order; only new content is decoded.

    Args:
        dataset: the images.
        path: where fingerprints are cached; None caches none.
        log: gets progress.

    Raises:
        DataError: a file has gone or has changed since the manifest was made.
        StudyError: the fingerprints cannot be cached.
    """
    cached = _cached(path, log)
    new = np.flatnonzero(~np.isin(dataset.digests, cached.digests))
    if len(new):
        made = _made(dataset, new.tolist(), log)
        cached = Fingerprints(*(np.concatenate(columns) for columns in zip(cached, made, strict=True)))
        if path is not None:
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.savez(file, version=np.array(_VERSION), **cached._asdict())
    order = np.argsort(cached.digests, kind="stable")
    return cached.take(order[np.searchsorted(cached.digests, dataset.digests, sorter=order)])


def perceptual_hashes(greys: np.ndarray) -> np.ndarray:
    """Hashes of grey images: which of the lowest frequencies are over their median.

    Args:
        greys: (n, 32, 32) uint8.

    Returns:
        (n,) uint64; alike images differ in few bits.

    Source: C. Zauner, Implementation and benchmarking of perceptual image hash functions, 2010 (the DCT hash).
    """
    transform = _cosines()
    low = np.einsum("ki,nij,lj->nkl", transform, greys.astype(np.float32), transform).reshape(len(greys), _BITS)
    low[:, 0] = 0.0  # the mean brightness says nothing about what is shown
    bits = low > np.median(low[:, 1:], axis=1, keepdims=True)
    bits[:, 0] = False
    return np.packbits(bits, axis=1).view(">u8").ravel().astype(np.uint64)


def _cached(path: Path | None, log: RunLog) -> Fingerprints:
    """What is cached at `path`; nothing where it is not there, damaged or of another version."""
    nothing = Fingerprints(np.empty(0, str), np.empty((0, THUMBNAIL, THUMBNAIL), np.uint8), np.empty(0, np.uint64))
    if path is None or not path.exists():
        return nothing
    try:
        with open_npz(path, max_bytes=_MAX_BYTES, members=_MEMBERS) as file:
            if str(file.read("version", "U")) != _VERSION:
                return nothing
            cached = Fingerprints(*(file.read(name, "Uu") for name in Fingerprints._fields))
        if all(
            column.shape == (len(cached.digests), *form.shape[1:]) and column.dtype.kind == form.dtype.kind
            for column, form in zip(cached, nothing, strict=True)
        ):
            return cached
    except (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, zipfile.BadZipFile):
        pass
    log.event("manifest_rebuilt", f"{path} is damaged and is rebuilt", path=str(path), level="warning")
    return nothing


def _made(dataset: Dataset, rows: Sequence[int], log: RunLog) -> Fingerprints:
    thumbnails = np.empty((len(rows), THUMBNAIL, THUMBNAIL), np.uint8)
    hashes = np.empty(len(rows), np.uint64)

    def compute(start: int) -> int:
        chunk = rows[start : start + _CHUNK]
        greys = np.empty((len(chunk), _SIDE, _SIDE), np.uint8)
        for number, row in enumerate(chunk):
            grey = Image.fromarray(dataset.pixels(row, _SIDE)).convert("L")
            greys[number] = np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))
            thumbnails[start + number] = np.asarray(grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
        hashes[start : start + len(chunk)] = perceptual_hashes(greys)
        return len(chunk)

    with log.progress("comparing images", len(rows)) as advance, ThreadPoolExecutor() as pool:
        for count in pool.map(compute, range(0, len(rows), _CHUNK)):
            advance(count)
    return Fingerprints(dataset.digests[rows], thumbnails, hashes)


@cache
def _cosines() -> np.ndarray:
    """(8, 32) float32: the lowest rows of the discrete cosine transform of 32 values."""
    positions = (np.arange(_SIDE) + 0.5) * np.pi / _SIDE
    return np.cos(np.outer(np.arange(_FREQUENCIES), positions)).astype(np.float32)
