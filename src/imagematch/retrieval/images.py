"""The images below a folder: found, checked, labelled by their class folders; what is unusable is named."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from imagematch.data import NO_FACE, FaceCropper, Quarantined, cut_to_face, decode, faces_path, open_source, read_faces
from imagematch.data.decoding import Box
from imagematch.data.manifest import Fact, read_manifest
from imagematch.data.sources import Entry, Source
from imagematch.data.sources.walking import image_files
from imagematch.errors import DataError
from imagematch.events import SILENT, RunLog

T = TypeVar("T")

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
        boxes: the part of a file that is the image, its face; None where that is all of it.
        angles: degrees that the box leans clockwise.
    """

    root: Path
    paths: tuple[str, ...]
    digests: np.ndarray
    labels: tuple[str, ...] | None
    quarantined: tuple[Quarantined, ...] = ()
    boxes: tuple[Box | None, ...] | None = None
    angles: tuple[float, ...] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def picture(self, row: int, max_size: int | None = None) -> np.ndarray:
        """(h, w, 3) uint8, no side longer than `max_size`. Raises DataError where the file has gone or changed."""
        box = None if self.boxes is None else self.boxes[row]
        angle = 0.0 if self.angles is None else self.angles[row]
        return decode(self.root / self.paths[row], max_size, box=box, angle=angle)

    def take(self, rows: Sequence[int]) -> ImageFolder:
        """These images alone."""
        return ImageFolder(
            self.root,
            tuple(self.paths[row] for row in rows),
            self.digests[list(rows)],
            _chosen(self.labels, rows),
            boxes=_chosen(self.boxes, rows),
            angles=_chosen(self.angles, rows),
        )


def list_images(
    folder: Path, *, manifest_dir: Path, cropper: FaceCropper | None = None, log: RunLog = SILENT
) -> ImageFolder:
    """Finds and checks the images below a folder, by any depth; files known from an earlier time are not read again.

    Args:
        folder: where to look. Hidden files are left out.
        manifest_dir: where manifests are kept, shared with training on the same folder.
        cropper: cuts faces out, as the matcher's card has it; an image without one is left out unless it says "whole".
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
    facts = read_manifest("folder", source, entries, manifest_dir, log)
    known = list(zip(entries, facts, strict=True))
    unusable = [Quarantined(entry.path, fact.reason) for entry, fact in known if fact.reason]
    usable = [(entry, fact) for entry, fact in known if not fact.reason]
    if cropper is not None:
        usable, without = _faces(source, usable, cropper, manifest_dir, log)
        unusable = sorted([*unusable, *without], key=lambda image: image.path)
    if not usable:
        first = unusable[0]
        raise DataError(
            f"none of its {len(entries):,} images can be used: {first.path}: {first.reason}", where=str(folder)
        )
    return ImageFolder(
        folder,
        tuple(entry.path for entry, _ in usable),
        np.array([fact.digest for _, fact in usable]),
        tuple(entry.label for entry, _ in usable) if labelled else None,
        tuple(unusable),
        None if cropper is None else tuple(entry.box for entry, _ in usable),
        None if cropper is None else tuple(entry.angle for entry, _ in usable),
    )


def common_labels(first: ImageFolder, second: ImageFolder) -> tuple[np.ndarray, np.ndarray] | None:
    """Both folders' labels as numbers of one list; None where one has none, or they share no class."""
    if first.labels is None or second.labels is None or not set(first.labels) & set(second.labels):
        return None
    number = {label: place for place, label in enumerate(sorted({*first.labels, *second.labels}))}
    return tuple(np.array([number[label] for label in one.labels or ()], np.int64) for one in (first, second))  # type: ignore[return-value]


def _chosen(values: tuple[T, ...] | None, rows: Sequence[int]) -> tuple[T, ...] | None:
    return None if values is None else tuple(values[row] for row in rows)


def _faces(
    source: Source, rows: Sequence[tuple[Entry, Fact]], cropper: FaceCropper, manifest_dir: Path, log: RunLog
) -> tuple[list[tuple[Entry, Fact]], list[Quarantined]]:
    """The images cut to their faces, and those left out because they have none."""
    faces = read_faces(faces_path("folder", source.root, manifest_dir, cropper), source, rows, cropper, log)
    used, without = [], []
    for entry, fact in rows:
        face = faces[fact.digest]
        if face is not None:
            used.append(cut_to_face(entry, fact, face, cropper))
        elif cropper.missing == "whole":
            used.append((entry, fact))
        else:
            without.append(Quarantined(entry.path, NO_FACE))
            log.event("no_face", f"left out: {entry.path}: {NO_FACE}", path=entry.path)
    return used, without


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
