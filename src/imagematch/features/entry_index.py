"""The index of an entry: which image's features stand in which row, in blocks with checksums, appended durably.

A record is a header (magic, first row, number of rows, CRC-32 of the rows' bytes, CRC-32 of the record) and the 16-byte
content digests of its images. A record that was cut off by a crash, or damaged, is recognised and left out.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagematch.files import digest_bytes, read_error, replacing, write_error
from imagematch.reading import GB, check_file, read_file

DIGEST_BYTES = 16
_MAGIC = b"IMF1"
_HEADER = struct.Struct("<4sQIII")
_PLAIN = struct.Struct("<4sQII")
MAX_INDEX_BYTES = 4 * GB
"""Of 250 million images."""
_MOST_ROWS = 1 << 40
_LOOKED_AT, _A_LOOK = 4, 256
"""Beginnings of no record are given up when so many times the file was looked at; each costs so many bytes more."""


@dataclass(frozen=True)
class RowBlock:
    """Rows that were computed and written together.

    Attributes:
        first: its first row.
        count: number of rows.
        checksum: CRC-32 of the rows' bytes.
        digests: `count` content digests of 16 bytes each.
    """

    first: int
    count: int
    checksum: int
    digests: bytes

    def images(self) -> list[bytes]:
        """The single digests, in the order of the rows."""
        return split_table(self.digests)

    @property
    def own_checksum(self) -> int:
        """CRC-32 of its record."""
        return zlib.crc32(self.digests, zlib.crc32(_PLAIN.pack(_MAGIC, self.first, self.count, self.checksum)))

    def record(self) -> bytes:
        """The block as it stands in the index."""
        return _HEADER.pack(_MAGIC, self.first, self.count, self.checksum, self.own_checksum) + self.digests


@dataclass(frozen=True)
class EntryIndex:
    """What an index file holds.

    Attributes:
        blocks: its whole records, in their order.
        end: where the last of them ends, in bytes.
        damaged: bytes that are of no whole record: between them, or behind them unless they begin one.
        missing: whether there is no file.
    """

    blocks: list[RowBlock]
    end: int = 0
    damaged: int = 0
    missing: bool = False


def read_index(path: Path) -> EntryIndex:
    """Reads an index; behind a damaged record it goes on with the next whole one.

    Raises:
        StudyError: there is one that cannot be read.
    """
    try:
        check_file(path, max_bytes=MAX_INDEX_BYTES, dense=True)
        data = read_file(path, max_bytes=MAX_INDEX_BYTES)
    except FileNotFoundError:
        return EntryIndex([], missing=True)
    except OSError as error:
        raise read_error(path, error) from error
    blocks, end, damaged, offset = [], 0, 0, 0
    looked_at = 0
    while 0 <= offset < len(data) and looked_at <= _LOOKED_AT * len(data):
        block = _record_at(data, offset)
        if block is None:
            looked_at += _A_LOOK + _record_bytes(data, offset)
            offset = data.find(_MAGIC, offset + 1)
            continue
        blocks.append(block)
        damaged += offset - end
        offset = end = offset + _HEADER.size + len(block.digests)
    rest = data[end:]
    return EntryIndex(blocks, end, damaged if _is_cut_off(rest) else damaged + len(rest))


def _record_at(data: bytes, offset: int) -> RowBlock | None:
    """The block whose record begins at `offset`; None where there is no whole one."""
    if offset + _HEADER.size > len(data):
        return None
    _magic, first, count, checksum, _own = _HEADER.unpack_from(data, offset)
    length = _record_bytes(data, offset)
    if not length:
        return None
    end = offset + length
    block = RowBlock(first, count, checksum, data[offset + _HEADER.size : end])
    return block if first <= _MOST_ROWS and block.record() == data[offset:end] else None


def _record_bytes(data: bytes, offset: int) -> int:
    """How long the record at `offset` says that it is; 0 where that is beyond the end."""
    if offset + _HEADER.size > len(data):
        return 0
    length = _HEADER.size + _HEADER.unpack_from(data, offset)[2] * DIGEST_BYTES
    return length if offset + length <= len(data) else 0


def _is_cut_off(rest: bytes) -> bool:
    """Whether the bytes at the end are a record cut off by a kill, rather than a whole record of another length."""
    if len(rest) < _HEADER.size:
        return _MAGIC.startswith(rest[: len(_MAGIC)])
    magic, first, count, checksum, own = _HEADER.unpack_from(rest)
    there, part = divmod(len(rest) - _HEADER.size, DIGEST_BYTES)
    whole = not part and RowBlock(first, there, checksum, rest[_HEADER.size :]).own_checksum == own
    return magic == _MAGIC and count > there and not whole


def append_block(path: Path, block: RowBlock) -> None:
    """Adds a record and makes it durable; what is of no whole record goes.

    Raises:
        StudyError: the index cannot be written.
    """
    index = read_index(path)
    if index.damaged:
        write_blocks(path, [*index.blocks, block])
        return
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            os.ftruncate(descriptor, index.end)
            try:
                write_at(descriptor, block.record(), index.end)
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, index.end)
                raise
        finally:
            os.close(descriptor)
    except OSError as error:
        raise write_error(path, error, needed=len(block.digests)) from error


def write_blocks(path: Path, blocks: Sequence[RowBlock]) -> None:
    """Replaces the whole index in one step. Raises StudyError where it cannot be written."""
    data = b"".join(block.record() for block in blocks)
    with replacing(path, needed=len(data)) as temporary:
        temporary.write_bytes(data)


def write_at(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Writes all of `data` at `offset`. Raises OSError as the system does."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def digest_table(digests: np.ndarray) -> bytes:
    """(n,) content digests as text -> 16 bytes each, in order. Digests of another form are digested once more."""
    texts: list[str] = digests.tolist()
    if all(len(text) == 2 * DIGEST_BYTES for text in texts):
        try:
            return bytes.fromhex("".join(texts))
        except ValueError:
            pass
    return b"".join(bytes.fromhex(digest_bytes(text.encode())) for text in texts)


def split_table(table: bytes) -> list[bytes]:
    """The single digests of a table."""
    return [table[start : start + DIGEST_BYTES] for start in range(0, len(table), DIGEST_BYTES)]
