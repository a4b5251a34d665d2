"""The table of images: its columns, what a data source gives of them, and how a source is registered."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple, TypeVar

from imagematch.errors import DataError
from imagematch.files import os_reason
from imagematch.image_files import read_bytes
from imagematch.registry import SOURCE_REGISTRY, SourceSpec
from imagematch.sources.downloads import Download

MISSING = -1
"""The size of a file that a table names and that is not there."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the upright image; right and bottom are just outside."""


class ImageRow(NamedTuple):
    """One row of the table of images. A source fills the columns up to `alias`, the manifest the others.

    Attributes:
        path: its unique id, POSIX; for files the path relative to the source's root.
        label: its class; "" where it has none.
        split: "train", "validation", "calibration" or "test" where the source says so, else "".
        group: images of one group never stand on both sides of a split; "" is a group of its own.
        role: "query", "gallery" or "both" where the source says so, else "".
        superclass: classes of one superclass stay together in class-disjoint splits; "" is one of its own.
        size: bytes of the file; MISSING where there is no such file.
        mtime_ns: when the file was last changed, nanoseconds.
        file: what `Source.read` takes; "" where it is `path`.
        box: the part of the file's image that is the image; None is all of it.
        angle: degrees that the box leans clockwise.
        alias: the digest of the image that the file is a copy of, as a gallery's export has it; "" where that is not
            known. Corrections may name the image by it.
        digest: of the file's content (and of the box, where there is one); "" before the file was read.
        width: of the upright image (of the box, where there is one), pixels.
        height: likewise.
        mode: Pillow's mode of the file, as "RGB", "L", "P".
        reason: why the image cannot be used; "" where it can.
        low: the lowest value of grey of more than 8 bits; else 0.
        high: the highest, likewise; else 255.
        more_frames: the file has more pages or frames than the first, which alone is used.
    """

    path: str
    label: str = ""
    split: str = ""
    group: str = ""
    role: str = ""
    superclass: str = ""
    size: int = 0
    mtime_ns: int = 0
    file: str = ""
    box: Box | None = None
    angle: float = 0.0
    alias: str = ""
    digest: str = ""
    width: int = 0
    height: int = 0
    mode: str = ""
    reason: str = ""
    low: float = 0
    high: float = 255
    more_frames: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """What a correction may call it."""
        return tuple(name for name in (self.digest, self.alias, self.path) if name)

    @property
    def source_file(self) -> str:
        """What `Source.read` takes."""
        return self.file or self.path

    def same_file(self, other: ImageRow) -> bool:
        """Whether what is known of `other` holds for this image: neither its file nor its box has changed."""
        return self.size == other.size != MISSING and self.mtime_ns == other.mtime_ns and self.box == other.box


@dataclass(frozen=True)
class Listing:
    """Every image of a source.

    Attributes:
        rows: sorted by path, whatever order the disk gives.
        titles: readable names of classes whose labels are codes.
        notes: what the user should know about how the source was read.
        left_out: kind -> the paths of files that are not among the rows.
    """

    rows: tuple[ImageRow, ...]
    titles: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def of_role(self, role: str) -> tuple[ImageRow, ...]:
        """The images that the source calls "query" or "gallery"; none where it has no such roles."""
        return tuple(row for row in self.rows if row.role in (role, "both"))


@dataclass(frozen=True)
class SourceOptions:
    """What the configuration says about how a source is read.

    Attributes:
        split_by: the key of that name; some sources have other images where their own split is asked for.
        layout: the key of that name: how the folders of a folder source are read.
        missing_files: the key of that name: skip leaves out what a table names and is not there.
        labelled: every image needs a label; without, one that has none gets "".
    """

    split_by: str = "image"
    layout: str = "auto"
    missing_files: str = "error"
    labelled: bool = True


class Source:
    """A kind of data set, whose images are files below a folder. `tests/contract/test_data_sources.py` checks each.

    Args:
        root: the folder, or what else the source takes in its place.
        options: how it is read.

    Attributes:
        name: its name in the registry.
        root: the folder that paths are relative to; None where the images are embedded.
        sample: for the contract suite, which makes a small data set of it: the path of an image of the source, with
            {label} and {number}.

    Raises:
        DataError: there is no such folder.
    """

    name: ClassVar[str] = ""
    sample: ClassVar[str] = ""

    def __init__(self, root: Path | None, options: SourceOptions = SourceOptions()) -> None:
        self.root: Path | None = checked_root(root, self.name)
        self.options = options

    @property
    def folder(self) -> Path:
        """The root of a source that has one."""
        assert self.root is not None
        return self.root

    def listing(self) -> Listing:
        """Lists the images without opening them. Raises DataError where the layout is not this source's."""
        raise NotImplementedError

    def check_files(self, rows: Sequence[ImageRow]) -> None:
        """Raises DataError where so many files of a listing are not there that its paths must be wrong."""

    def read(self, file: str) -> bytes:
        """The bytes of an image file. Raises DataError naming it where it cannot be read."""
        return read_bytes(self.folder / file)


AnySource = TypeVar("AnySource", bound=type[Source])


def register_source(
    name: str,
    summary: str,
    *,
    folders: tuple[str, ...] = (),
    data_dir: str = "",
    download: Download | None = None,
    not_fetched: str = "",
) -> Callable[[AnySource], AnySource]:
    """Decorates a source: it can then be selected as `dataset: NAME`.

    Args:
        name: lower case with underscores.
        summary: what it is, in a line.
        folders: where it is looked for, the first that is there, when `data_dir` is not given.
        data_dir: what `data_dir` must name; "" where it need not be given.
        download: what `imagematch data fetch` fetches.
        not_fetched: why nothing can be fetched, and what to do instead.
    """

    def register(source: AnySource) -> AnySource:
        source.name = name
        why = not_fetched or f"{name} cannot be fetched: set data_dir to where its images are"
        spec = SourceSpec(name, summary, source, folders, data_dir, download, "" if download else why)
        SOURCE_REGISTRY.register(name, spec)
        return source

    return register


def describe_classes(rows: Sequence[ImageRow], more: str = "") -> str:
    """How many classes there are, the first of them, and of which class one image is."""
    labels = sorted({row.label for row in rows if row.label})
    named = ", ".join(labels[:3]) + (", ..." if len(labels) > 3 else "")
    example = next((row for row in rows if row.label), None)
    shown = "" if example is None else f", e.g. {example.path} is {example.label}"
    return f"{len(labels):,} classes: {named}{more}{shown}"


def checked_root(root: Path | None, name: str) -> Path:
    """`root`, or a DataError where it is not there, not a folder, or may not be entered."""
    if root is None:
        raise DataError(f"dataset: {name} has no folder", do="set data_dir")
    mode = file_mode(root)
    if not stat.S_ISDIR(mode):
        what = "is not a folder" if mode else "no such file" if root.suffix else "no such folder"
        spec = SOURCE_REGISTRY.all().get(name)
        fetched = f"run imagematch data fetch {name}, or " if spec and spec.download and not mode else ""
        raise DataError(what, where=str(root), do=f"{fetched}set data_dir to where the images are")
    try:
        (root / "..").stat()  # takes the right to enter it, which all that follows does too
    except OSError as error:
        raise DataError(
            f"cannot be entered: {os_reason(error)}", where=str(root), do="check the folder and its permissions"
        ) from error
    return root


def file_mode(path: Path) -> int:
    """The mode of what is at `path`, as `stat` has it; 0 where nothing is.

    Raises:
        DataError: that cannot be said: the name is too long, or a folder above may not be entered.
    """
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise DataError(f"cannot be accessed: {os_reason(error)}", where=str(path), do="check the path") from error
    except ValueError as error:  # a null character
        raise DataError("is not a path", where=repr(str(path))) from error
