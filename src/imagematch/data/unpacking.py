"""Unpacks archives that came over the network: nothing is written outside the target, nothing grows without bound."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

from imagematch.errors import DataError
from imagematch.files import write_error
from imagematch.npz import open_zip
from imagematch.reading import GB, MB, RefusedFileError, check_file, open_file

_ARCHIVE_BYTES = 1024 * GB
_MAX_NAME_BYTES = 255
_HEADER_BYTES = 64 * 1024
"""Of a tar's member, long names and notes among them; on average."""
_BROKEN = (
    *(lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, zlib.error),
    *(EOFError, OSError, NotImplementedError, RuntimeError, ValueError),
)

Member = tuple[str, int, IO[bytes] | None]
"""Name, bytes as the archive says, and what reads them; None for a folder."""


class _HostileError(Exception):
    """Why an archive is refused; of a type that tarfile does not mistake for the end of the archive."""


class _Bounded:
    """What is decompressed of a tar: read in small pieces, and no more than an honest archive holds.

    tarfile reads what is behind a header, as a long name, in one piece, however long it says it is.
    """

    def __init__(self, file: Any, limit: int) -> None:
        self._file, self._limit = file, limit
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MB or self._file.tell() > self._limit:
            raise _HostileError("it has headers that are too long")
        return bytes(self._file.read(size))


def unpack(archive: Path, target: Path, *, limit: int, members: int) -> int:
    """Unpacks a zip or tar archive into an empty folder.

    Links, devices, absolute names, names that lead outside, encrypted and repeated files are refused, and nothing of
    the archive is left then. Permissions and owners are the user's own.

    Args:
        archive: a zip, or a tar, plain or compressed by gzip, bzip2 or xz.
        target: made; must not be there.
        limit: bytes that the archive may unpack to, by what it says and by what it gives.
        members: files and folders that it may hold.

    Returns:
        The number of files.

    Raises:
        DataError: the archive is damaged or refused; says why.
        StudyError: the target cannot be written.
    """
    try:
        target.mkdir(parents=True)
    except OSError as error:
        raise write_error(target, error) from error
    try:
        return _write_all(archive, target.resolve(), limit, members)
    except BaseException as error:
        shutil.rmtree(target, ignore_errors=True)
        if isinstance(error, RefusedFileError):
            error = _HostileError(f"it {error.strerror}")
        if isinstance(error, _HostileError):
            do = "it is not the official archive: do not use it"
            raise DataError(f"is refused: {error}", where=str(archive), do=do) from error
        if isinstance(error, _BROKEN):
            what = f"cannot be unpacked: {error or type(error).__name__}"
            raise DataError(what, where=str(archive), do="remove it and fetch it again") from error
        raise


def _write_all(archive: Path, root: Path, limit: int, members: int) -> int:
    check_file(archive, max_bytes=_ARCHIVE_BYTES, dense=True)
    found = _zip_members(archive, members) if zipfile.is_zipfile(archive) else _tar_members(archive, limit, members)
    left, files = limit, 0
    for number, (name, size, content) in enumerate(found, 1):
        if number > members:
            raise _HostileError(f"it holds more than {members:,} files")
        if (left := left - size) < 0:
            raise _HostileError(f"it would unpack to more than {limit:,} bytes")
        path = _safe_path(root, name)
        if content is not None and path.exists():
            raise _HostileError(f"{name!r} is in it twice")
        _write(path, content, size)
        files += content is not None
    return files


def _write(path: Path, content: IO[bytes] | None, size: int) -> None:
    """Writes a file, which must be as long as the archive says, or makes a folder. Raises StudyError."""
    try:
        (path if content is None else path.parent).mkdir(parents=True, exist_ok=True)
        if content is None:
            return
        file = path.open("xb")
    except OSError as error:
        raise write_error(path, error) from error
    with file:
        while chunk := content.read(MB):
            if (size := size - len(chunk)) < 0:
                raise _HostileError(f"{path.name!r} is larger than it says")
            try:
                file.write(chunk)
            except OSError as error:
                raise write_error(path, error) from error
    if size:
        raise EOFError(f"{path.name!r} is cut off")


def _zip_members(archive: Path, members: int) -> Iterator[Member]:
    with open_zip(archive, max_bytes=_ARCHIVE_BYTES, members=members) as opened:
        for info in opened.infolist():
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _HostileError(f"{info.filename!r} is a link or no plain file")
            if info.flag_bits & 1:
                raise _HostileError(f"{info.filename!r} is encrypted")
            if info.is_dir():
                yield info.filename, 0, None
            else:
                with opened.open(info) as content:
                    yield info.filename, info.file_size, content


def _tar_members(archive: Path, limit: int, members: int) -> Iterator[Member]:
    with open_file(archive, max_bytes=_ARCHIVE_BYTES) as file, _decompressed(file) as plain:
        bounded: Any = _Bounded(plain, limit + members * _HEADER_BYTES + MB)
        with tarfile.open(fileobj=bounded, mode="r:") as opened:
            for info in opened:
                if info.isdir():
                    yield info.name, 0, None
                elif info.isreg() and not info.issparse():
                    yield info.name, info.size, opened.extractfile(info)
                else:
                    raise _HostileError(f"{info.name[:80]!r} is a link or no plain file")


def _decompressed(file: BinaryIO) -> Any:
    """The decompressed stream, by the file's first bytes; tarfile's own detection takes endless zeros for LZMA."""
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    if magic.startswith(b"BZh"):
        return bz2.BZ2File(file)
    return lzma.LZMAFile(file, format=lzma.FORMAT_XZ) if magic == b"\xfd7zXZ\x00" else file


def _safe_path(root: Path, name: str) -> Path:
    """Path that a member is written to; both the name and the resolved path must be inside the folder."""
    parts = name.removesuffix("/").split("/")
    bad = not name or "\\" in name or "\0" in name or ":" in parts[0] or not {"", ".."}.isdisjoint(parts)
    if bad or any(len(part.encode(errors="surrogateescape")) > _MAX_NAME_BYTES for part in parts):
        raise _HostileError(f"the name {name[:80]!r} leads outside or is no name")
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise _HostileError(f"the name {name[:80]!r} leads outside")
    return path
