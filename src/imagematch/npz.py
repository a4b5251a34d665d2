"""Zip and .npz files, looked at before they are read: how many members, and that each array is what is expected.

A zip's directory is read whole, and a member can be a thousand times as long as the file: both are bounded first.
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from imagematch.reading import KB, RefusedFileError, open_file

_END, _LOCATOR = b"PK\x05\x06", b"PK\x06\x07"
_END_BYTES, _LOCATOR_BYTES, _END64_BYTES = 22, 20, 56
_COMMENT_BYTES = 64 * KB
_ENTRY_BYTES = 512
"""Of a member's place in the directory: its name, and numbers."""
_SUFFIX = ".npy"
_ENCRYPTED = 0x61
"""Of the flags of a member: by a password, patched data, strong encryption."""


@contextlib.contextmanager
def open_zip(path: Path, *, max_bytes: int, members: int) -> Iterator[zipfile.ZipFile]:
    """Opens a zip file of at most so many members.

    Raises:
        RefusedFileError: it is no regular file, too large, or has more members.
        OSError: as `open` does.
        zipfile.BadZipFile: it is no zip file.
    """
    with open_file(path, max_bytes=max_bytes) as file:
        if _directory_bytes(file) > members * _ENTRY_BYTES + 64 * KB:
            raise RefusedFileError(f"holds more than {members:,} files", path)
        file.seek(0)
        try:
            archive = zipfile.ZipFile(file)
        except NotImplementedError as error:
            raise RefusedFileError("is packed in a way that is not read", path) from error
        with archive:
            if len(archive.filelist) > members:
                raise RefusedFileError(f"holds more than {members:,} files", path)
            yield archive


def _directory_bytes(file: BinaryIO) -> int:
    """How long a zip file says that its directory is, by either of the two records that say it; 0 where none does."""
    length = file.seek(0, os.SEEK_END)
    start = max(0, length - _COMMENT_BYTES - _END_BYTES - _LOCATOR_BYTES - _END64_BYTES)
    file.seek(start)
    tail = file.read()
    most, at = 0, tail.rfind(_END)
    while at >= 0:  # of several, zipfile may take any
        if at + _END_BYTES <= len(tail):
            most = max(most, struct.unpack_from("<I", tail, at + 12)[0] % 0xFFFFFFFF)
        before = at - _LOCATOR_BYTES
        if before >= _END64_BYTES and tail[before : before + 4] == _LOCATOR:
            most = max(most, struct.unpack_from("<Q", tail, before - _END64_BYTES + 40)[0])
        at = tail.rfind(_END, 0, at)
    return most


class ShapeError(ValueError):
    """An array has another shape than is expected."""


class NpzFile:
    """The arrays of a .npz file, by name.

    Attributes:
        names: of all arrays, in the file's order.
    """

    def __init__(self, archive: zipfile.ZipFile, length: int) -> None:
        self._archive = archive
        self._left = length
        self.names = [name.removesuffix(_SUFFIX) for name in archive.namelist() if name.endswith(_SUFFIX)]

    def read(self, name: str, kinds: str = "f", shape: tuple[int, ...] | None = None) -> np.ndarray:
        """One array.

        Args:
            name: of the array.
            kinds: of its numbers, as `numpy.dtype.kind` has them.
            shape: that it must have; without, it must not be compressed, and all that are read fit into the file.

        Raises:
            KeyError: there is no such array.
            ShapeError: it has another shape.
            ValueError: it is not what is expected.
            OSError, EOFError, zipfile.BadZipFile: the file is damaged.
        """
        info = self._archive.getinfo(name + _SUFFIX)
        if info.flag_bits & _ENCRYPTED or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name} is packed in another way")
        try:
            return self._array(name, info, kinds, shape)
        except (zlib.error, RuntimeError, SyntaxError, tokenize.TokenError, MemoryError) as error:
            raise ValueError(f"{name} is damaged, or too large") from error

    def _array(self, name: str, info: zipfile.ZipInfo, kinds: str, shape: tuple[int, ...] | None) -> np.ndarray:
        with self._archive.open(info) as member:
            if np.lib.format.read_magic(member) != (1, 0):
                raise ValueError(f"{name} is written in another way")
            found, _, dtype = np.lib.format.read_array_header_1_0(member)
            header_bytes = member.tell()
        if dtype.kind not in kinds or dtype.hasobject:
            raise ValueError(f"{name} holds {dtype}")
        if shape is not None and found != shape:
            raise ShapeError(f"{name} has the shape {found}, not {shape}")
        if header_bytes + math.prod(found) * dtype.itemsize != info.file_size:
            raise ValueError(f"{name} is not as long as it says")
        if shape is None:
            self._left -= info.file_size
            if info.compress_type != zipfile.ZIP_STORED or self._left < 0:
                raise ValueError(f"{name} is compressed")
        with self._archive.open(info) as member:
            return np.asarray(np.lib.format.read_array(member, allow_pickle=False))


@contextlib.contextmanager
def open_npz(path: Path, *, max_bytes: int, members: int = 100_000) -> Iterator[NpzFile]:
    """Opens a .npz file; errors as in `open_zip`."""
    with open_zip(path, max_bytes=max_bytes, members=members) as archive:
        yield NpzFile(archive, path.stat().st_size)
