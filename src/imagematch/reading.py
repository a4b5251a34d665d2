"""Opens files that may come from anywhere: regular ones of bounded size, inside the folder they belong to.

Everything that is read goes through here, so that a named pipe, a device, a link that leads elsewhere or an endless
file is refused at once, by an OSError whose `strerror` says why.
"""

from __future__ import annotations

import errno
import io
import itertools
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

KB, MB, GB = 1 << 10, 1 << 20, 1 << 30

TABLE_BYTES = 640 * MB
"""Of a table or list: ten million lines of 64 letters."""
MAX_LINES = 10_000_000

_LINE_LETTERS = 1 << 20
_DENSE_FROM = 64 * MB
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class RefusedFileError(OSError):
    """A file that is there but must not be read; `strerror` says why."""

    def __init__(self, reason: str, path: Path) -> None:
        super().__init__(errno.EINVAL, reason, str(path))


def open_file(path: Path, *, max_bytes: int, inside: Path | None = None, dense: bool = False) -> BufferedReader:
    """Opens a regular file for reading, without waiting for anything.

    Args:
        path: the file; links to regular files are followed.
        max_bytes: the size that a file of this kind can have at most.
        inside: the folder that the file must lie in once all links are followed; None allows any place.
        dense: refuse a large file most of which was never written: it costs its sender nothing, its reader gigabytes.

    Raises:
        RefusedFileError: it is no path, no regular file, too large, or leads out of its folder.
        OSError: as `open` does.
    """
    try:
        if inside is not None and not is_inside(path, inside):
            raise RefusedFileError("leads out of its folder", path)
        descriptor = os.open(path, _OPEN_FLAGS)
    except ValueError as error:  # a null character, or half of a surrogate pair
        raise RefusedFileError("is not a path", path) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise RefusedFileError("is not a file", path)
        if status.st_size > max_bytes:
            raise RefusedFileError(f"has {status.st_size:,} bytes, and {max_bytes:,} are the most", path)
        if dense and _is_mostly_holes(descriptor, status):
            raise RefusedFileError("is mostly holes: its content was never written", path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path, with all links resolved, is inside a folder; a circular link counts as its own target."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))  # resolve() raises at circles


def read_file(path: Path, *, max_bytes: int, inside: Path | None = None) -> bytes:
    """The content of a regular file; see `open_file`. One that grows while it is read is refused like a large one."""
    with open_file(path, max_bytes=max_bytes, inside=inside) as file:
        content = file.read(os.fstat(file.fileno()).st_size + 1)  # `read(max_bytes)` would reserve as much memory
        while len(content) <= max_bytes and (more := file.read(min(MB, max_bytes + 1 - len(content)))):
            content += more  # it has grown, or says no size
    if len(content) > max_bytes:
        raise RefusedFileError(f"has more than {max_bytes:,} bytes", path)
    return content


def read_exactly(file: BufferedReader, size: int) -> memoryview:
    """The next `size` bytes of a file, read-only. Raises RefusedFileError where it ends before, as one just cut."""
    content = memoryview(bytearray(size))
    if file.readinto(content) != size:
        raise RefusedFileError("was cut while it was read", Path(str(file.name)))
    return content.toreadonly()


def check_file(path: Path, *, max_bytes: int, inside: Path | None = None, dense: bool = False) -> None:
    """Raises as `open_file` does, before a library opens the file by its name."""
    open_file(path, max_bytes=max_bytes, inside=inside, dense=dense).close()


def text_lines(path: Path, *, max_bytes: int, errors: str = "strict") -> Iterator[str]:
    """The lines of a UTF-8 text file one by one, each with its "\\n"; any line ends, byte-order mark or not.

    Raises:
        RefusedFileError: as `open_file`; a line is far too long, or there are far too many.
        OSError: as `open` does.
        UnicodeDecodeError: it is no UTF-8, and `errors` is "strict".
    """
    with (
        open_file(path, max_bytes=max_bytes, dense=True) as file,
        io.TextIOWrapper(file, encoding="utf-8-sig", errors=errors) as text,
    ):
        for number in itertools.count(1):
            line = text.readline(_LINE_LETTERS)
            if not line:
                return
            if len(line) == _LINE_LETTERS and line[-1] != "\n":
                raise RefusedFileError(f"line {number:,} has more than {_LINE_LETTERS:,} letters", path)
            if number > MAX_LINES:
                raise RefusedFileError(f"has more than {MAX_LINES:,} lines", path)
            yield line


def _is_mostly_holes(descriptor: int, status: os.stat_result) -> bool:
    """Whether less than half of a large file takes room on the disk; some file systems do not say (0 blocks)."""
    allocated = getattr(status, "st_blocks", 0) * 512
    if status.st_size <= _DENSE_FROM or allocated >= status.st_size // 2:
        return False
    if allocated:
        return True
    try:
        os.lseek(descriptor, 0, os.SEEK_DATA)
    except (AttributeError, OSError):  # no system that knows of holes; or: no data from here to the end
        return hasattr(os, "SEEK_DATA")
    os.lseek(descriptor, 0, os.SEEK_SET)
    return False
