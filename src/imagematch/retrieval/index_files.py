"""An index's files, looked at before they are opened: only what this program writes is read, and no more than is there.

FAISS opens whatever a file says that it is: indexes of other types, inverted lists in other files, tables of any size.
"""

from __future__ import annotations

import errno
import math
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from imagematch.reading import GB, open_file
from imagematch.retrieval.distances import import_faiss

FILE_BYTES = 256 * GB
"""Of one file of an index: 1,000 bytes for each of 250 million images."""

_LARGEST = 1e15
"""Of a vector's values: the square of a distance between such is a number."""

_HEADER = struct.Struct("<4siqqqBi")
_L2 = 1
_TYPES = {"flat": b"IxF2", "hnsw": b"IHNf", "ivfpq": b"IxRF", "cells": b"IwPQ", "gallery": b"IxM2"}


def write_faiss_file(index: Any, path: Path) -> None:
    """Writes a FAISS index. Raises OSError where it cannot be written; FAISS itself tells that in a text."""
    try:
        import_faiss().write_index(index, str(path))
    except RuntimeError as error:
        codes = [code for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) if os.strerror(code) in str(error)]
        code = codes[0] if codes else errno.EIO
        raise OSError(code, os.strerror(code), str(path)) from error


def check_faiss_file(path: Path, kind: str, dim: int) -> None:
    """Goes through what a FAISS file says of itself: its type, and that each table ends before the file does.

    Args:
        path: the file.
        kind: the type that it must have: flat, hnsw, ivfpq, or gallery (flat, with ids).
        dim: length of a vector.

    Raises:
        OSError: it is no file, or cannot be read.
        ValueError: it is of another type, or a size in it cannot be.
    """
    with open_file(path, max_bytes=FILE_BYTES, dense=True) as file:
        reader = _Reader(file)
        _CHECKS[kind](reader, dim)
        if reader.left:
            raise ValueError("something follows its end")


class _Reader:
    """Reads little-endian numbers, and skips tables that are no longer than the file."""

    def __init__(self, file: BinaryIO) -> None:
        self.length = file.seek(0, 2)
        file.seek(0)
        self._file = file

    def numbers(self, layout: str) -> tuple[Any, ...]:
        data = self._file.read(struct.calcsize(layout))
        try:
            return struct.unpack(layout, data)
        except struct.error as error:
            raise ValueError("ends too early") from error

    def table(self, item_bytes: int, count: int | None = None) -> int:
        """Skips a table that begins with its length; the length. Raises ValueError unless it is `count`."""
        (found,) = self.numbers("<Q")
        if count is not None and found != count:
            raise ValueError(f"a table of {found:,} instead of {count:,}")
        if found * item_bytes > self.left:
            raise ValueError(f"a table of {found:,}, which the file does not hold")
        self._file.seek(found * item_bytes, 1)
        return int(found)

    def counts(self) -> np.ndarray:
        """The uint64 values of a table."""
        (found,) = self.numbers("<Q")
        if 8 * found > self.left:
            raise ValueError(f"a table of {found:,}, which the file does not hold")
        return np.frombuffer(self._file.read(8 * found), "<u8")

    def skip(self, count: int) -> None:
        """Skips bytes. Raises ValueError where the file ends before."""
        if count > self.left:
            raise ValueError("ends too early")
        self._file.seek(count, 1)

    @property
    def left(self) -> int:
        """Bytes to the end."""
        return self.length - self._file.tell()

    def header(self, kind: str, dim: int) -> int:
        """The number of vectors of an index of this type."""
        name, d, count, _, _, trained, metric = self.numbers(_HEADER.format)
        if name != _TYPES[kind] or d != dim or trained != 1 or metric != _L2 or not 0 <= count <= self.length:
            raise ValueError(f"is no {kind} index of {dim} values")
        return int(count)


def _flat(reader: _Reader, dim: int, count: int | None = None) -> int:
    found = reader.header("flat", dim)
    if count is not None and found != count:
        raise ValueError("its parts do not fit")
    reader.table(4, found * dim)
    return found


def _with_ids(reader: _Reader, dim: int) -> None:
    count = reader.header("gallery", dim)
    _flat(reader, dim, count)
    reader.table(8, count)


def _hnsw(reader: _Reader, dim: int) -> None:
    count = reader.header("hnsw", dim)
    reader.table(8)  # the probability of each level
    reader.table(4)  # links up to each level
    reader.table(4, count)  # the level of each vector
    reader.table(8, count + 1)  # where each vector's links begin
    reader.table(4)  # the links
    reader.numbers("<5i")  # the entry, the highest level, and three efforts
    _flat(reader, dim, count)


def _refined(reader: _Reader, dim: int) -> None:
    count = reader.header("ivfpq", dim)
    _cells(reader, dim, count)
    _flat(reader, dim, count)
    reader.numbers("<f")  # how many times as many candidates


def _cells(reader: _Reader, dim: int, count: int) -> None:
    if reader.header("cells", dim) != count:
        raise ValueError("its parts do not fit")
    cells, _ = reader.numbers("<QQ")
    _flat(reader, dim, cells)
    direct_map, mapped, _, code_bytes = reader.numbers("<BQBQ")
    of_codes, parts, bits = reader.numbers("<QQQ")
    few = cells <= max(1, 2 * math.sqrt(count)) and 0 < parts <= max(1, dim // 4) and dim % parts == 0
    if not few or (direct_map, mapped, of_codes, parts, bits) != (0, 0, dim, code_bytes, 8):
        raise ValueError("its parts do not fit")
    reader.table(4, 256 * dim)
    lists, lists_cells, lists_bytes, form = reader.numbers("<4sQQ4s")
    if (lists, lists_cells, lists_bytes) != (b"ilar", cells, code_bytes) or form not in (b"full", b"sprs"):
        raise ValueError("its lists are elsewhere")
    sizes = reader.counts()
    if (form == b"full" and len(sizes) != cells) or (
        form == b"sprs" and (len(sizes) % 2 or sizes[::2].max(initial=0) >= cells)
    ):
        raise ValueError("its lists do not fit")
    if sum((sizes if form == b"full" else sizes[1::2]).tolist()) != count:
        raise ValueError("its lists do not fit")
    reader.skip(count * (code_bytes + 8))


_CHECKS: dict[str, Callable[[_Reader, int], object]] = {
    "flat": _flat,
    "hnsw": _hnsw,
    "ivfpq": _refined,
    "gallery": _with_ids,
}


def check_links(faiss: Any, index: Any) -> None:
    """Raises ValueError where a graph or a list that was read leads to no vectors, or they are no numbers."""
    count = int(index.ntotal)
    flat = faiss.downcast_index(index.storage) if isinstance(index, faiss.IndexHNSW) else index
    if count and isinstance(flat, faiss.IndexFlat):
        values = faiss.rev_swig_ptr(flat.get_xb(), count * flat.d)
        if not (values.min() >= -_LARGEST and values.max() <= _LARGEST):  # nor is a NaN
            raise ValueError("its vectors are no numbers, or too large")
    if isinstance(index, faiss.IndexHNSW):
        graph = index.hnsw
        links, levels = faiss.vector_to_array(graph.neighbors), faiss.vector_to_array(graph.levels)
        offsets, steps = faiss.vector_to_array(graph.offsets), faiss.vector_to_array(graph.cum_nneighbor_per_level)
        highest = int(levels.max(initial=0))
        sound = (
            (not count or 0 <= graph.entry_point < count)
            and graph.max_level == highest - 1
            and 0 <= highest < len(steps)
            and bool((levels >= 1).all())
            and bool((np.diff(steps) >= 0).all())
            and not steps[0]
            and np.array_equal(np.diff(offsets, prepend=0), np.append(0, steps[levels]))
            and offsets[-1] == len(links)
            and bool(((links >= -1) & (links < count)).all())
            and (not count or levels[graph.entry_point] == highest)
        )
        if not sound:
            raise ValueError("its links do not fit")
    elif isinstance(index, faiss.IndexRefine):
        lists = faiss.downcast_index(index.base_index).invlists
        sizes = [int(lists.list_size(cell)) for cell in range(lists.nlist)]
        rows = [faiss.rev_swig_ptr(lists.get_ids(cell), size) for cell, size in enumerate(sizes) if size]
        if not np.array_equal(np.sort(np.concatenate([*rows, np.empty(0, np.int64)])), np.arange(count)):
            raise ValueError("its lists do not fit")
