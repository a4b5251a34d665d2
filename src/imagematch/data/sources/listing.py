"""What a data source says: the images it has, and how to read one."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from imagematch.data.boxes import Box
from imagematch.data.downloads import DOWNLOADS
from imagematch.errors import DataError
from imagematch.files import os_reason
from imagematch.image_files import read_bytes

MISSING = -1
"""The size of a file that a table names and that is not there."""


class Entry(NamedTuple):
    """One labelled image of a source.

    Attributes:
        path: its unique id, POSIX; for files the path relative to the source's root.
        label: its class.
        split: "train", "validation", "calibration" or "test" where the source says so, else "".
        group: classes of one group stay together in class-disjoint splits; "" is a group of its own.
        size: bytes; MISSING where there is no such file.
        mtime_ns: when the file was last changed, nanoseconds.
        file: what `Source.read` takes; "" where it is `path`.
        box: the part of the picture that is the image; None is all of it.
        angle: degrees that the box leans clockwise.
        role: "query", "gallery" or "both" where the source says so, else "".
    """

    path: str
    label: str
    split: str = ""
    group: str = ""
    size: int = 0
    mtime_ns: int = 0
    file: str = ""
    box: Box | None = None
    angle: float = 0.0
    role: str = ""


@dataclass(frozen=True)
class Listing:
    """Every image of a source.

    Attributes:
        entries: sorted by path, whatever order the disk gives.
        titles: readable names of classes whose labels are codes.
        notes: what the user should know about how the source was read.
    """

    entries: tuple[Entry, ...]
    titles: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def of_role(self, role: str) -> tuple[Entry, ...]:
        """The images that the source calls "query" or "gallery"; none where it has no such roles."""
        return tuple(entry for entry in self.entries if entry.role in (role, "both"))


class Source(Protocol):
    """A kind of data set. `tests/contract/test_data_sources.py` is what each must pass."""

    @property
    def root(self) -> Path | None:
        """The folder that paths are relative to; None where the images are embedded."""

    def listing(self) -> Listing:
        """Lists the images without opening them. Raises DataError where the layout is not this source's."""

    def read(self, file: str) -> bytes:
        """The bytes of an image file. Raises DataError naming it where it cannot be read."""


class FolderBased:
    """A source whose images are files below a folder.

    Raises:
        DataError: there is no such folder.
    """

    def __init__(self, root: Path | None, name: str) -> None:
        self.root: Path = checked_root(root, name)

    def read(self, file: str) -> bytes:
        """See Source."""
        return read_bytes(self.root / file)


def checked_root(root: Path | None, name: str) -> Path:
    """`root`, or a DataError where it is not there, not a folder, or may not be entered."""
    if root is None:
        raise DataError(f"dataset: {name} has no folder", do="set data_dir")
    mode = file_mode(root)
    if not stat.S_ISDIR(mode):
        what = "is not a folder" if mode else "no such file" if root.suffix else "no such folder"
        fetched = f"run imagematch data fetch {name}, or " if name in DOWNLOADS and not mode else ""
        raise DataError(what, where=str(root), do=f"{fetched}set data_dir to where the images are")
    try:
        (root / "..").stat()  # takes the right to enter it, which all that follows does too
    except OSError as error:
        raise DataError(
            f"cannot be entered: {os_reason(error)}", where=str(root), do="check the folder and its permissions"
        ) from error
    return root


def file_mode(place: Path) -> int:
    """The mode of what is at `place`, as `stat` has it; 0 where nothing is.

    Raises:
        DataError: that cannot be said: the name is too long, or a folder above may not be entered.
    """
    try:
        return place.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise DataError(f"cannot be looked up: {os_reason(error)}", where=str(place), do="check the path") from error
    except ValueError as error:  # a null character
        raise DataError("is not a path", where=repr(str(place))) from error
