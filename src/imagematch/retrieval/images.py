"""The images below a folder: found, checked, labelled by their class folders; what is unusable is named."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imagematch.data import Quarantined, decode, open_source
from imagematch.data.manifest import Fact, read_manifest
from imagematch.data.sources import Entry, Source
from imagematch.data.sources.walking import image_files
from imagematch.errors import DataError
from imagematch.events import SILENT, RunLog

_NAMED = 3


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """The usable images below a folder, sorted by path. The feature store takes it as a data set.

    Attributes:
        root: the folder.
        paths: POSIX, relative to `root`.
        digests: (n,) str, of the files' content.
        labels: each image's class, which is the folder it is in (train, val and test folders above it left out); None
            where an image is in no folder.
        quarantined: images that cannot be used.
    """

    root: Path
    paths: tuple[str, ...]
    digests: np.ndarray
    labels: tuple[str, ...] | None
    quarantined: tuple[Quarantined, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def picture(self, row: int, max_size: int | None = None) -> np.ndarray:
        """(h, w, 3) uint8, no side longer than `max_size`. Raises DataError where the file has gone or changed."""
        return decode(self.root / self.paths[row], max_size)

    def take(self, rows: Sequence[int]) -> ImageFolder:
        """These images alone."""
        labels = None if self.labels is None else tuple(self.labels[row] for row in rows)
        return ImageFolder(self.root, tuple(self.paths[row] for row in rows), self.digests[list(rows)], labels)


def list_images(folder: Path, *, manifest_dir: Path, log: RunLog = SILENT) -> ImageFolder:
    """Finds and checks the images below a folder, by any depth; files known from an earlier time are not read again.

    Args:
        folder: where to look. Hidden files are left out.
        manifest_dir: where manifests are kept, shared with training on the same folder.
        log: hears of each image that cannot be used, and of files that are no images by their names.

    Raises:
        DataError: there is no such folder, or no usable image in it.
        StudyError: the manifest cannot be written.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "no such folder"
        raise DataError(what, where=str(folder), do="name a folder of images")
    found = image_files(folder)
    _tell_others(folder, {file.path for file in found}, log)
    if not found:
        raise DataError("no images in it", where=str(folder), do="name a folder of images")
    source = open_source("folder", folder, "image")
    labelled = all("/" in file.path for file in found)
    if labelled:
        entries: Sequence[Entry] = source.listing().entries
    else:
        entries = [Entry(file.path, "", size=file.size, mtime_ns=file.mtime_ns) for file in found]
    facts = _facts(source, entries, manifest_dir, log)
    usable = [(entry, fact) for entry, fact in zip(entries, facts, strict=True) if not fact.reason]
    if not usable:
        raise DataError(
            f"none of its {len(entries):,} images can be used: {entries[0].path}: {facts[0].reason}", where=str(folder)
        )
    return ImageFolder(
        folder,
        tuple(entry.path for entry, _ in usable),
        np.array([fact.digest for _, fact in usable]),
        tuple(entry.label for entry, _ in usable) if labelled else None,
        tuple(Quarantined(entry.path, fact.reason) for entry, fact in zip(entries, facts, strict=True) if fact.reason),
    )


def common_labels(first: ImageFolder, second: ImageFolder) -> tuple[np.ndarray, np.ndarray] | None:
    """Both folders' labels as numbers of one list; None where one has none, or they share no class."""
    if first.labels is None or second.labels is None or not set(first.labels) & set(second.labels):
        return None
    number = {label: place for place, label in enumerate(sorted({*first.labels, *second.labels}))}
    return tuple(np.array([number[label] for label in one.labels or ()], np.int64) for one in (first, second))  # type: ignore[return-value]


class _Listening(RunLog):
    """Passes everything on, and remembers which images are corrupt."""

    def __init__(self, log: RunLog) -> None:
        super().__init__()
        self._log = log
        self.corrupt: dict[str, str] = {}

    def event(self, kind: str, message: str | None = None, **fields: Any) -> None:
        if kind == "corrupt_image":
            self.corrupt[str(fields["path"])] = str(fields["reason"])
        self._log.event(kind, message, **fields)

    def progress(self, what: str, total: int) -> Any:
        return self._log.progress(what, total)


def _facts(source: Source, entries: Sequence[Entry], manifest_dir: Path, log: RunLog) -> list[Fact]:
    """What the manifest knows. It refuses a training set that is corrupt for the most part; here the rest goes on."""
    listening = _Listening(log)
    try:
        return read_manifest("folder", source, entries, manifest_dir, listening)
    except DataError:
        if not listening.corrupt:
            raise
    usable = [entry for entry in entries if entry.path not in listening.corrupt]
    known = dict(zip((e.path for e in usable), read_manifest("folder", source, usable, manifest_dir, log), strict=True))
    bad = {path: Fact("", 0, 0, "", reason, -1, 0) for path, reason in listening.corrupt.items()}
    return [known.get(entry.path) or bad[entry.path] for entry in entries]


def _tell_others(folder: Path, images: set[str], log: RunLog) -> None:
    """Says which files are not looked at because of their names: a photo in an unknown format must not vanish."""
    others: list[str] = []
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        at = Path(here).relative_to(folder)
        paths = [(at / name).as_posix() for name in sorted(names) if not name.startswith(".")]
        others += [path for path in paths if path not in images]
    if others:
        more = f" and {len(others) - _NAMED:,} more" if len(others) > _NAMED else ""
        named = ", ".join(others[:_NAMED]) + more
        log.event("not_images", f"{folder}: not images by their names, left out: {named}", files=len(others))
