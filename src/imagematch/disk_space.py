"""Room on a disk: what is free, what is needed, and the error of a disk that is full."""

from __future__ import annotations

import contextlib
import math
import shutil
from pathlib import Path

from imagematch.errors import StudyError

FREE_SPACE = "free some space, then run the command again (a study or training with --resume)"
"""What to do about a full disk."""


def check_room(path: Path, needed: int) -> None:
    """Raises StudyError where the disk of a folder has less than `needed` bytes free."""
    if (free := _free_bytes(path)) is not None and free < needed:
        raise full_disk_error(path, "cannot be written: the disk is too full", needed=needed)


def full_disk_error(path: Path, what: str, *, needed: int = 0) -> StudyError:
    """The one-line error for a disk without room for `path`: what is free, and what is needed where it is known."""
    free = _free_bytes(path)
    room = [f"needs at least {shown_bytes(needed)}"] if needed else []
    room += [f"{shown_bytes(free)} are free"] if free is not None else []
    what = f"{what} ({', '.join(room)})" if room else what
    return StudyError(what, where=str(path), do=FREE_SPACE)


def _free_bytes(path: Path) -> int | None:
    """Free bytes of the disk that `path` is on, or will be; None where the system does not say."""
    for folder in (path, *path.absolute().parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(folder).free
    return None


def shown_bytes(count: int) -> str:
    """A size for people: "1.2 MB"; rounded up, so that so much is enough."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{math.ceil(10 * count / size) / 10:,} {unit}"
    return f"{count} bytes"
