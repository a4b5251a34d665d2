"""The index of an entry: which picture's features stand in which row, in blocks with checksums, appended durably.

A record is a header (magic, first row, number of rows, CRC-32 of the rows' bytes, CRC-32 of the record) and the 16-byte
content digests of its pictures. A record that was cut off by a crash is recognised and left out.
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

DIGEST_BYTES = 16
_MAGIC = b"IMF1"
_HEADER = struct.Struct("<4sQIII")
_PLAIN = struct.Struct("<4sQII")


@dataclass(frozen=True)
class Block:
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

    def pictures(self) -> list[bytes]:
        """The single digests, in the order of the rows."""
        return split_table(self.digests)

    def record(self) -> bytes:
        """The block as it stands in the index."""
        own = zlib.crc32(self.digests, zlib.crc32(_PLAIN.pack(_MAGIC, self.first, self.count, self.checksum)))
        return _HEADER.pack(_MAGIC, self.first, self.count, self.checksum, own) + self.digests


def read_blocks(path: Path) -> tuple[list[Block], int]:
    """The whole records of an index, and the length in bytes of those; ([], 0) without a file.

    Raises:
        StudyError: there is one that cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise read_error(path, error) from error
    blocks, offset = [], 0
    while offset + _HEADER.size <= len(data):
        magic, first, count, checksum, _own = _HEADER.unpack_from(data, offset)
        end = offset + _HEADER.size + count * DIGEST_BYTES
        if magic != _MAGIC or end > len(data):
            break
        block = Block(first, count, checksum, data[offset + _HEADER.size : end])
        if block.record() != data[offset:end]:
            break
        blocks.append(block)
        offset = end
    return blocks, offset


def append_block(path: Path, block: Block) -> None:
    """Adds a record and makes it durable; what a crash left behind the last whole record is cut off first.

    Raises:
        StudyError: the index cannot be written.
    """
    _blocks, valid = read_blocks(path)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            os.ftruncate(descriptor, valid)
            write_at(descriptor, block.record(), valid)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise write_error(path, error) from error


def write_blocks(path: Path, blocks: Sequence[Block]) -> None:
    """Replaces the whole index in one step. Raises StudyError where it cannot be written."""
    with replacing(path) as temporary:
        temporary.write_bytes(b"".join(block.record() for block in blocks))


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
