"""Locks between processes, on files that the system frees when their holder dies."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from imagematch.errors import StudyError
from imagematch.files import make_dir, os_reason, write_error


class BusyError(Exception):
    """Another process holds the lock."""


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True, shared: bool = False) -> Iterator[None]:
    """Holds a lock between processes on `path`, which is created; the system frees it at death.

    A lock file may be removed while it is held (`remove_locked_dir`); whoever waited for it takes the new one.

    Args:
        path: the lock's file.
        wait: until it is free; else BusyError is raised.
        shared: many may hold it together, but not beside one who holds it alone.

    Raises:
        BusyError: `wait` is false and another process holds it.
        StudyError: the lock file cannot be created, its disk has no locks, or the system has none.
    """
    try:
        import fcntl
    except ImportError as error:
        raise StudyError(
            "this system has no file locks; Linux and macOS are supported", where=str(path), do="on Windows use WSL"
        ) from error
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        make_dir(path.parent)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except FileNotFoundError:  # its folder was removed in the meantime
            continue
        except OSError as error:
            raise write_error(path, error) from error
        try:
            try:
                fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BusyError(str(path)) from error
            except OSError as error:  # ENOLCK, ENOTSUP: some network disks have none
                raise StudyError(
                    f"cannot be locked: {os_reason(error)}", where=str(path), do="use a disk that has file locks"
                ) from error
            if not _is_open_as(path, descriptor):
                continue
            yield
            return
        finally:
            os.close(descriptor)


def _is_open_as(path: Path, descriptor: int) -> bool:
    """Whether an open file is still the one of that path."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False


def remove_locked_dir(folder: Path, lock: Path) -> None:
    """Removes a folder whose lock this process holds; the lock goes last: no process uses a half-removed folder.

    Args:
        folder: need not exist.
        lock: the lock's file, in the folder.
    """
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path == lock:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        lock.unlink(missing_ok=True)
        folder.rmdir()
