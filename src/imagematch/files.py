"""Files that survive: atomic writes, locks between processes, content digests, and the layout of `exp/`."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagematch.disk_space import full_disk_error
from imagematch.errors import ConfigError, StudyError
from imagematch.reading import open_file

_TEMPORARY = ".tmp-"
_LEFT_OVER_S = 24 * 3600.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Layout:
    """Where everything that a run writes lives, below one root (`exp`)."""

    root: Path = Path("exp")

    def study_database(self, study: str) -> Path:
        """The SQLite file of a study."""
        return self.root / "hpt_studies" / f"{study}.db"

    def study_dir(self, study: str) -> Path:
        """What a study leaves beside its database: best_config.yaml, report.html, trials.csv, run.jsonl."""
        return self.root / "hpt_studies" / study

    def model_dir(self, name: str) -> Path:
        """The folder of a trained matcher."""
        return self.root / "saved_models" / name

    def tensorboard_dir(self, name: str) -> Path:
        """TensorBoard event files of an experiment."""
        return self.root / "logs" / name

    def projector_dir(self, name: str) -> Path:
        """Embedding projector files of an experiment."""
        return self.root / "projector" / name

    def gallery_dir(self, name: str) -> Path:
        """The gallery of a matcher's data set."""
        return self.root / "galleries" / name

    @property
    def features(self) -> Path:
        """The feature store, unless a configuration names another."""
        return self.root / "features"

    @property
    def manifests(self) -> Path:
        """Cached manifests, one file a data set."""
        return self.root / "manifests"


def checked_name(name: str, *, where: str) -> str:
    """Returns `name` if it is safe as a file name and in a command, else raises ConfigError naming `where`."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot name a folder",
            where=where,
            do="use letters, digits, '.', '_' and '-', starting with a letter or digit (at most 100 characters)",
        )
    return name


def os_reason(error: OSError) -> str:
    """Why the operating system refused, in a few words ("No space left on device")."""
    return error.strerror or (os.strerror(error.errno) if error.errno else str(error) or type(error).__name__)


def write_error(path: Path, error: OSError, *, needed: int = 0) -> StudyError:
    """The one-line error for a file or folder that cannot be written.

    Args:
        path: the file or folder.
        error: what the system raised.
        needed: bytes that it takes, as far as they are known; shown where the disk is full.
    """
    what = f"cannot write: {os_reason(error)}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return full_disk_error(path, what, needed=needed)
    return StudyError(what, where=str(path), do="check the folder and its permissions")


def read_error(path: Path, error: OSError) -> StudyError:
    """The one-line error for a file or folder that a run wrote and that cannot be read."""
    return StudyError(f"cannot read: {os_reason(error)}", where=str(path), do="check its permissions and the disk")


def is_file(path: Path) -> bool:
    """Whether there is such a file; one whose name is too long is not there.

    Raises:
        StudyError: that cannot be said: a folder above may not be entered.
    """
    try:
        return path.is_file()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise read_error(path, error) from error


def make_dir(path: Path) -> Path:
    """Creates a folder and its parents; raises StudyError naming it where that is impossible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error
    return path


def fsync_dir(path: Path) -> None:
    """Makes a rename inside `path` durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems cannot sync a folder; the rename itself is still atomic
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replacing(path: Path, *, needed: int = 0) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it is synced and takes the place of `path` in one step.

    Whatever happens (an error, a kill, a full disk), `path` is the old file or the new one, never a part of one. The
    temporary name keeps the suffix, since some writers choose their format by it.

    Args:
        path: the file.
        needed: bytes that it will have, where that is known.

    Raises:
        StudyError: the operating system refused to write; names `path`, and the room that it needs.
    """
    make_dir(path.parent)
    temporary: Path | None = None
    try:
        temporary = path.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}{path.suffix}")
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))  # less what the umask takes away
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        fsync_dir(path.parent)
    except OSError as error:
        raise write_error(path, error, needed=max(needed, _bytes_in(temporary))) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Removes temporary files of `replacing` that nobody has written to for a day: their writers were killed."""
    oldest = time.time() - _LEFT_OVER_S
    for path in folder.glob(f"{_TEMPORARY}*"):
        with contextlib.suppress(OSError):
            if path.lstat().st_mtime < oldest:
                path.unlink()


@contextlib.contextmanager
def replacing_dir(path: Path) -> Iterator[Path]:
    """Yields an empty folder beside `path`; on success it takes the place of the folder `path`.

    A reader that calls `recovered_dir` first finds the whole old folder or the whole new one, whenever this is killed.

    Raises:
        StudyError: the operating system refused to write.
    """
    recovered_dir(path)
    fresh, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    shutil.rmtree(fresh, ignore_errors=True)
    if fresh.is_symlink():  # a stranger's: what is written would go elsewhere
        fresh.unlink()
    make_dir(fresh)
    try:
        yield fresh
        for file in fresh.rglob("*"):
            if file.is_file():
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
        fsync_dir(fresh)
        with _renaming_in(path.parent):
            if path.exists():
                shutil.rmtree(old, ignore_errors=True)  # a kill came before it was removed
                path.rename(old)
            fresh.rename(path)
        fsync_dir(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise write_error(path, error, needed=sum(map(_bytes_in, fresh.rglob("*")))) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _bytes_in(path: Path | None) -> int:
    """The size of a regular file; 0 of anything else."""
    with contextlib.suppress(OSError):
        return path.lstat().st_size if path is not None and path.is_file() else 0
    return 0


def recovered_dir(path: Path) -> Path:
    """`path`, put back first where a kill came between the two renames of `replacing_dir`."""
    with contextlib.suppress(OSError, ValueError):  # a name that is too long, or none (".")
        old = path.with_name(f".{path.name}.old")
        if old.is_dir() and not path.exists():
            with _renaming_in(path.parent):  # who replaces the folder right now is let finish
                if old.is_dir() and not path.exists():
                    old.rename(path)
    return path


@contextlib.contextmanager
def _renaming_in(folder: Path) -> Iterator[None]:
    """Lets one process at a time rename inside a folder; a folder that cannot be locked is used without a lock."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    data = text.encode()
    with replacing(path, needed=len(data)) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically. NaN and infinity are refused (ValueError): they are not JSON."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def digest_bytes(data: bytes | memoryview) -> str:
    """Content digest: 32 hex digits of BLAKE2b."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def digest_file(path: Path) -> str:
    """Content digest of a regular file, read in chunks. Raises OSError as `open` does, and of what is no file."""
    with open_file(path, max_bytes=sys.maxsize) as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def digest_json(value: Any) -> str:
    """Digest of a JSON value, whatever the order of its keys."""
    return digest_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())
