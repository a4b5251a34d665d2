"""Looks: a small grey thumbnail and a perceptual hash of every image, made once and kept by the image's content."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from imagematch.data.dataset import Dataset
from imagematch.data.decoding import DECODER_VERSION
from imagematch.events import SILENT, RunLog
from imagematch.files import replacing
from imagematch.npz import open_npz
from imagematch.reading import GB

THUMBNAIL = 16
"""Side of a thumbnail, pixels."""

_VERSION = f"1 {DECODER_VERSION}"
_SIDE = 32
"""Pictures are hashed at this size, pixels."""
_KEPT = 8
"""Frequencies in each direction: 8 x 8, without the mean, are the 63 bits of a hash."""
_BITS = _KEPT * _KEPT
_CHUNK = 64
_MAX_BYTES = 16 * GB
_MEMBERS = 10


class Looks(NamedTuple):
    """What images look like, row by row.

    Attributes:
        digests: (n,) str, of the images' content.
        thumbnails: (n, 16, 16) uint8, grey.
        hashes: (n,) uint64; alike pictures differ in few bits.
    """

    digests: np.ndarray
    thumbnails: np.ndarray
    hashes: np.ndarray

    def take(self, rows: np.ndarray) -> Looks:
        """Some of them."""
        return Looks(*(column[rows] for column in self))


def read_looks(dataset: Dataset, path: Path | None, log: RunLog = SILENT) -> Looks:
    """The looks of a data set's images, in its order; only content that was never looked at is decoded.

    Args:
        dataset: the images.
        path: where looks are kept; None keeps none.
        log: hears of progress.

    Raises:
        DataError: a file has gone or has changed since the manifest was made.
        StudyError: what was seen cannot be kept.
    """
    kept = _load(path, log)
    new = np.flatnonzero(~np.isin(dataset.digests, kept.digests))
    if len(new):
        seen = _seen(dataset, new.tolist(), log)
        kept = Looks(*(np.concatenate(columns) for columns in zip(kept, seen, strict=True)))
        if path is not None:
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.savez(file, version=np.array(_VERSION), **kept._asdict())
    order = np.argsort(kept.digests, kind="stable")
    return kept.take(order[np.searchsorted(kept.digests, dataset.digests, sorter=order)])


def perceptual_hashes(greys: np.ndarray) -> np.ndarray:
    """Hashes of grey pictures: which of the lowest frequencies are over their median.

    Args:
        greys: (n, 32, 32) uint8.

    Returns:
        (n,) uint64; alike pictures differ in few bits.

    Source: C. Zauner, Implementation and benchmarking of perceptual image hash functions, 2010 (the DCT hash).
    """
    transform = _cosines()
    low = np.einsum("ki,nij,lj->nkl", transform, greys.astype(np.float32), transform).reshape(len(greys), _BITS)
    low[:, 0] = 0.0  # the mean brightness says nothing about what is shown
    bits = low > np.median(low[:, 1:], axis=1, keepdims=True)
    bits[:, 0] = False
    return np.packbits(bits, axis=1).view(">u8").ravel().astype(np.uint64)


def _load(path: Path | None, log: RunLog) -> Looks:
    """What is kept at `path`; nothing where it is not there, damaged or of another version."""
    nothing = Looks(np.empty(0, str), np.empty((0, THUMBNAIL, THUMBNAIL), np.uint8), np.empty(0, np.uint64))
    if path is None or not path.exists():
        return nothing
    try:
        with open_npz(path, max_bytes=_MAX_BYTES, members=_MEMBERS) as file:
            if str(file.read("version", "U")) != _VERSION:
                return nothing
            kept = Looks(*(file.read(name, "Uu") for name in Looks._fields))
        if all(
            column.shape == (len(kept.digests), *form.shape[1:]) and column.dtype.kind == form.dtype.kind
            for column, form in zip(kept, nothing, strict=True)
        ):
            return kept
    except (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, zipfile.BadZipFile):
        pass
    log.event("manifest_rebuilt", f"{path} is damaged and is made again", path=str(path))
    return nothing


def _seen(dataset: Dataset, rows: Sequence[int], log: RunLog) -> Looks:
    thumbnails = np.empty((len(rows), THUMBNAIL, THUMBNAIL), np.uint8)
    hashes = np.empty(len(rows), np.uint64)

    def look(start: int) -> int:
        chunk = rows[start : start + _CHUNK]
        greys = np.empty((len(chunk), _SIDE, _SIDE), np.uint8)
        for place, row in enumerate(chunk):
            grey = Image.fromarray(dataset.picture(row, _SIDE)).convert("L")
            greys[place] = np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))
            thumbnails[start + place] = np.asarray(grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
        hashes[start : start + len(chunk)] = perceptual_hashes(greys)
        return len(chunk)

    with log.progress("comparing images", len(rows)) as advance, ThreadPoolExecutor() as pool:
        for count in pool.map(look, range(0, len(rows), _CHUNK)):
            advance(count)
    return Looks(dataset.digests[rows], thumbnails, hashes)


@cache
def _cosines() -> np.ndarray:
    """(8, 32) float32: the lowest rows of the discrete cosine transform of 32 values."""
    places = (np.arange(_SIDE) + 0.5) * np.pi / _SIDE
    return np.cos(np.outer(np.arange(_KEPT), places)).astype(np.float32)
