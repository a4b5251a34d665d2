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
from tarfile import GNUTYPE_LONGLINK, GNUTYPE_LONGNAME, GNUTYPE_SPARSE, SOLARIS_XHDTYPE, XGLTYPE, XHDTYPE
from typing import IO, Any, BinaryIO, NamedTuple

from imagematch.errors import DataError
from imagematch.files import write_error
from imagematch.npz import open_zip
from imagematch.reading import GB, KB, RefusedFileError, check_file, open_file

_CHUNK_BYTES = 1 << 20
_MAX_NAME_BYTES = 255
_ARCHIVE_BYTES = 1024 * GB
_TEXT_BYTES = 64 * KB
"""Of a long name, or of the notes of a pax header."""
_FOLLOWED_BY_TEXT = (GNUTYPE_LONGNAME, GNUTYPE_LONGLINK, XHDTYPE, XGLTYPE, SOLARIS_XHDTYPE)
_BROKEN = (
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
)


class _Header(tarfile.TarInfo):
    """A member's header; what tarfile would read behind it without measure is refused before."""

    def _proc_member(self, tarfile: Any) -> tarfile.TarInfo:
        if self.type in _FOLLOWED_BY_TEXT and not 0 <= self.size <= _TEXT_BYTES:
            raise _TooLongError(f"a header of {self.size:,} bytes")
        if self.type == XGLTYPE:
            tarfile.text_for_all = getattr(tarfile, "text_for_all", 0) + self.size
            if tarfile.text_for_all > _TEXT_BYTES:
                raise _TooLongError(f"headers of {tarfile.text_for_all:,} bytes for all files")
        if self.type == GNUTYPE_SPARSE:
            raise _TooLongError(f"a file with holes, {self.name[:80]!r}")
        return super()._proc_member(tarfile)  # type: ignore[misc]

    def _proc_gnusparse_10(self, next: tarfile.TarInfo, *_: object) -> None:
        raise _TooLongError(f"a file with holes, {next.name[:80]!r}")


class _TooLongError(Exception):
    """tarfile takes its own errors for the end of the archive."""


class _Member(NamedTuple):
    """One file of an archive: its name, the bytes it says it has, and what reads it (None: a folder)."""

    name: str
    size: int
    content: IO[bytes] | None


def unpack(archive: Path, target: Path, *, limit: int, members: int) -> int:
    """Unpacks a zip or tar archive into an empty folder.

    Links, devices, absolute names, names that lead outside, encrypted and repeated files are refused, and nothing of
    the archive is kept then. Permissions and owners are the user's own.

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
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _write_all(archive: Path, root: Path, limit: int, members: int) -> int:
    left, files = limit, 0
    for number, member in enumerate(_members(archive, members), 1):
        if number > members:
            raise _refused(archive, f"it holds more than {members:,} files")
        path = _safe_path(archive, root, member.name)
        if member.size > left:
            raise _refused(archive, f"it would unpack to more than {limit:,} bytes")
        try:
            if member.content is None:
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                left -= _copy(archive, member, file)
        except FileExistsError as error:
            raise _refused(archive, f"{member.name!r} is in it twice") from error
        except OSError as error:
            raise write_error(path, error) from error
        files += 1
    return files


def _copy(archive: Path, member: _Member, file: IO[bytes]) -> int:
    """Writes a file's content; returns its bytes, which must be as many as the archive says."""
    assert member.content is not None
    written = 0
    while True:
        try:
            chunk = member.content.read(_CHUNK_BYTES)
        except _BROKEN as error:
            raise _damaged(archive, error) from error
        if not chunk:
            break
        written += len(chunk)
        if written > member.size:
            raise _refused(archive, f"{member.name!r} is larger than it says")
        file.write(chunk)
    if written < member.size:
        raise _damaged(archive, EOFError(f"{member.name!r} is cut off"))
    return written


def _members(archive: Path, members: int) -> Iterator[_Member]:
    try:
        check_file(archive, max_bytes=_ARCHIVE_BYTES, dense=True)
        yield from _zip_members(archive, members) if zipfile.is_zipfile(archive) else _tar_members(archive)
    except RefusedFileError as error:
        raise _refused(archive, f"it {error.strerror}") from error
    except _TooLongError as error:
        raise _refused(archive, f"it has {error}") from error
    except _BROKEN as error:
        raise _damaged(archive, error) from error


def _zip_members(archive: Path, members: int) -> Iterator[_Member]:
    with open_zip(archive, max_bytes=_ARCHIVE_BYTES, members=members) as opened:
        for info in opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(archive, f"{info.filename!r} is a link or no plain file")
            if info.flag_bits & 1:
                raise _refused(archive, f"{info.filename!r} is encrypted")
            if info.is_dir():
                yield _Member(info.filename, 0, None)
            else:
                with opened.open(info) as content:
                    yield _Member(info.filename, info.file_size, content)


def _tar_members(archive: Path) -> Iterator[_Member]:
    with (
        open_file(archive, max_bytes=_ARCHIVE_BYTES) as file,
        _decompressed(file) as plain,
        tarfile.open(fileobj=plain, mode="r:", tarinfo=_Header) as opened,
    ):
        for info in opened:
            if info.isdir():
                yield _Member(info.name, 0, None)
            elif info.isreg() and not info.issparse():
                yield _Member(info.name, info.size, opened.extractfile(info))
            else:
                raise _refused(archive, f"{info.name!r} is a link or no plain file")


def _decompressed(file: BinaryIO) -> IO[bytes]:
    """By the first bytes alone: tarfile tries every way on every file, and takes zeros for LZMA without end."""
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]
    if magic.startswith(b"BZh"):
        return bz2.BZ2File(file)
    return lzma.LZMAFile(file, format=lzma.FORMAT_XZ) if magic == b"\xfd7zXZ\x00" else file


def _safe_path(archive: Path, root: Path, name: str) -> Path:
    """Where a member goes. What the name says, and where the system would put it, must both be inside."""
    parts = name.removesuffix("/").split("/")
    bad = not name or "\\" in name or "\0" in name or ":" in parts[0] or not {"", ".."}.isdisjoint(parts)
    if bad or any(len(part.encode(errors="surrogateescape")) > _MAX_NAME_BYTES for part in parts):
        raise _refused(archive, f"the name {name[:80]!r} leads outside or is no name")
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise _refused(archive, f"the name {name[:80]!r} leads outside")
    return path


def _refused(archive: Path, why: str) -> DataError:
    return DataError(f"is refused: {why}", where=str(archive), do="it is not the official archive: do not use it")


def _damaged(archive: Path, error: BaseException) -> DataError:
    if isinstance(error, DataError):
        return error
    return DataError(
        f"cannot be unpacked: {error or type(error).__name__}", where=str(archive), do="remove it and fetch it again"
    )
