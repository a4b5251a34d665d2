"""One entry of the store: the features of any number of images by one network, in one growing file of rows."""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imagematch.data import thread_count
from imagematch.errors import StudyError
from imagematch.features.arrays import FeatureArray, ReorderedRows
from imagematch.features.entry_index import (
    DIGEST_BYTES,
    EntryIndex,
    RowBlock,
    append_block,
    read_index,
    split_table,
    write_at,
    write_blocks,
)
from imagematch.files import digest_json, make_dir, remove_leftovers, write_error, write_json
from imagematch.reading import GB, KB, check_file, read_file

ENTRY_FORMAT = 1
_NOT_KEY = ("extractor", "created")
_FACTS_BYTES = 64 * KB
_DTYPES = ("float16", "float32", "float64", "uint8")
_MOST = 1 << 24
ROWS_BYTES = 64 * 1024 * GB
"""More than any disk has: what counts is that it is a file, for its rows are mapped."""
BLOCK_BYTES = 1 << 26
"""The most that a block of new rows has."""


@dataclass(frozen=True)
class FoundRows:
    """Where the wanted images' features are.

    Attributes:
        rows: (n,) int64 rows of the entry; -1 where there are none.
        damaged: blocks that hold wanted images but whose bytes are not what was written.
    """

    rows: np.ndarray
    damaged: tuple[RowBlock, ...]

    @property
    def complete(self) -> bool:
        """Whether every image was found, undamaged."""
        return bool((self.rows >= 0).all())


class FeatureEntry:
    """A folder: `entry.json` says what it is, `index.bin` which image is in which row, `rows.bin` has the features.

    A row never becomes another image's, so that arrays mapped by other processes stay valid.

    Args:
        folder: where it is, or will be once something is added; `entry_name` names it.
        facts: what it is: extractor, sizes, precision and so on; needs `feature_dim` and `dtype`.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.folder = folder
        self.facts = facts
        self.feature_dim = int(facts["feature_dim"])
        self.dtype = np.dtype(facts["dtype"])
        self.row_bytes = self.feature_dim * self.dtype.itemsize
        self._index = folder / "index.bin"
        self._rows = folder / "rows.bin"

    def prepare(self) -> None:
        """Makes the folder, so that blocks can be added. Raises StudyError where it cannot be written."""
        make_dir(self.folder)
        remove_leftovers(self.folder)
        if self.index().missing:  # so that rows without one are known to have lost theirs
            write_blocks(self._index, [])
        if read_facts(self.folder) is None:
            write_json(self.folder / "entry.json", dict(self.facts))

    def index(self) -> EntryIndex:
        """What its index holds. Raises StudyError where that cannot be read."""
        return read_index(self._index)

    def blocks(self) -> list[RowBlock]:
        """All blocks, by their first row. Raises StudyError where the index cannot be read."""
        return sorted(self.index().blocks, key=lambda block: block.first)

    def written_rows(self) -> int:
        """How many rows have been written, or begun, whether a block knows of them or not."""
        try:
            return -(-self._rows.stat().st_size // max(1, self.row_bytes))
        except OSError:
            return 0

    def find(self, wanted: bytes) -> FoundRows:
        """Looks images up by content and checks every block that holds one of them against its checksum.

        Args:
            wanted: table of content digests, 16 bytes each.
        """
        blocks = self.blocks()
        rows = _look_up(blocks, wanted)
        needed = [block for block in blocks if _holds(rows, block)]
        damaged = self.damaged(needed)
        if damaged:
            rows = _look_up([block for block in blocks if block not in damaged], wanted)
            rest = [block for block in blocks if _holds(rows, block) and block not in needed]
            more = self.damaged(rest)  # copies of the same images elsewhere
            if more:
                damaged += more
                rows = _look_up([block for block in blocks if block not in damaged], wanted)
        return FoundRows(rows, tuple(damaged))

    def damaged(self, blocks: Iterable[RowBlock]) -> list[RowBlock]:
        """Those of the blocks whose rows are cut off or changed: about 2 GB/s and core."""
        blocks = list(blocks)
        if not blocks:
            return []
        try:
            check_file(self._rows, max_bytes=ROWS_BYTES)
            stored = np.memmap(self._rows, np.uint8, "r")
        except (OSError, ValueError):  # no file, or an empty one
            return blocks

        def whole(block: RowBlock) -> bool:
            start, stop = block.first * self.row_bytes, (block.first + block.count) * self.row_bytes
            return stop <= len(stored) and zlib.crc32(stored[start:stop].data) == block.checksum

        with ThreadPoolExecutor(min(4, thread_count())) as pool:
            return [block for block, good in zip(blocks, pool.map(whole, blocks), strict=True) if not good]

    def add(self, digests: bytes, features: np.ndarray, *, instead_of: RowBlock | None = None) -> RowBlock:
        """Writes rows, then their record, each made durable: after a crash the block is there whole or not at all.

        Args:
            digests: table of the images' content digests.
            features: (n, feature_dim), already of the entry's type.
            instead_of: a damaged block of the same images, whose rows they take; else they are added at the end,
                behind rows too that no block knows any more: another process may still have those mapped.

        Raises:
            StudyError: a full disk or another refusal to write; what was there before is untouched.
        """
        blocks = self.blocks()
        data = np.ascontiguousarray(features, self.dtype).data.cast("B")
        try:
            descriptor = os.open(self._rows, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            try:
                size = os.fstat(descriptor).st_size
                end = max(-(-size // self.row_bytes), *(block.first + block.count for block in blocks), 0)
                first = end if instead_of is None else instead_of.first
                try:
                    write_at(descriptor, data, first * self.row_bytes)
                    os.fsync(descriptor)
                except OSError:
                    os.ftruncate(descriptor, size)  # nobody has seen these rows: they leave no gap
                    raise
            finally:
                os.close(descriptor)
        except OSError as error:
            raise write_error(self._rows, error, needed=len(data)) from error
        block = RowBlock(first, len(features), zlib.crc32(data), digests)
        if instead_of is None:
            append_block(self._index, block)
        else:
            write_blocks(self._index, [block if old == instead_of else old for old in blocks])
        return block

    def drop(self, dropped: Iterable[RowBlock]) -> None:
        """Forgets blocks; their rows are not used again. Raises StudyError where the index cannot be written."""
        gone = list(dropped)
        write_blocks(self._index, [block for block in self.blocks() if block not in gone])

    def array(self, rows: np.ndarray) -> FeatureArray:
        """The features of these rows, in this order: mapped, row by row where they do not follow each other.

        Returns:
            (n, feature_dim) of the entry's type, read-only where it is mapped.

        Raises:
            StudyError: the rows have gone meanwhile.
        """
        count = len(rows)
        if count == 0 or self.feature_dim == 0:
            return np.zeros((count, self.feature_dim), self.dtype)
        if (np.diff(rows) == 1).all():
            return self._mapped(int(rows[0]), count)
        return ReorderedRows(self._mapped(0, int(rows.max()) + 1), rows, self.folder)

    def _mapped(self, first: int, count: int) -> np.ndarray:
        try:
            shape = (count, self.feature_dim)
            check_file(self._rows, max_bytes=ROWS_BYTES)
            return np.asarray(np.memmap(self._rows, self.dtype, "r", first * self.row_bytes, shape))
        except (OSError, ValueError) as error:  # cleared since they were found
            raise StudyError(
                "the features were removed while they were read", where=str(self._rows), do="run again"
            ) from error


def entry_name(facts: Mapping[str, Any]) -> str:
    """The name of an entry's folder: the network's, and a digest of all facts that make other features.

    So a folder's name says whether its `entry.json` is what was written.
    """
    name = re.sub(r"[^A-Za-z0-9_]+", "_", str(facts["extractor"]))[:40]
    return f"{name}-{digest_json({key: value for key, value in facts.items() if key not in _NOT_KEY})[:16]}"


def read_facts(folder: Path) -> dict[str, Any] | None:
    """What an entry's folder says it is; None where it does not, is damaged, or in a form unknown to this version."""
    try:
        facts = json.loads(read_file(folder / "entry.json", max_bytes=_FACTS_BYTES))
        whole = facts["format"] == ENTRY_FORMAT and _are_facts(facts) and entry_name(facts) == folder.name
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return facts if whole else None


def _are_facts(facts: Mapping[str, Any]) -> bool:
    texts = all(isinstance(facts[name], str) for name in ("created", "extractor", "precision"))
    sizes = all(type(facts[name]) is int and 0 <= facts[name] <= _MOST for name in ("feature_dim", "image_size"))
    return texts and sizes and facts["feature_dim"] > 0 and facts["dtype"] in _DTYPES


def _holds(rows: np.ndarray, block: RowBlock) -> bool:
    return bool(((rows >= block.first) & (rows < block.first + block.count)).any())


def _look_up(blocks: list[RowBlock], wanted: bytes) -> np.ndarray:
    """(n,) rows of the wanted images, -1 where there are none. All of them in order: one comparison."""
    count = len(wanted) // DIGEST_BYTES
    table = b"".join(block.digests for block in blocks)
    rows = np.concatenate(
        [np.arange(block.first, block.first + block.count) for block in blocks] or [np.empty(0, np.int64)]
    )
    start = _position(table, wanted[:DIGEST_BYTES]) if count else -1
    if start >= 0 and table[start * DIGEST_BYTES : (start + count) * DIGEST_BYTES] == wanted:
        return rows[start : start + count]
    row_of = dict(zip(split_table(table), rows.tolist(), strict=True))
    return np.array([row_of.get(digest, -1) for digest in split_table(wanted)], np.int64)


def _position(table: bytes, digest: bytes) -> int:
    start = table.find(digest)
    while start >= 0 and start % DIGEST_BYTES:
        start = table.find(digest, start + 1)
    return start // DIGEST_BYTES if start >= 0 else -1
