"""Scans a folder for image files; what is not read is counted by kind."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagematch.errors import DataError
from imagematch.files import os_reason
from imagematch.image_files import IMAGE_SUFFIXES, unreadable_kind
from imagematch.sources.listing import MISSING, ImageRow

SYSTEM_FILES = "hidden and system files"
_SYSTEM_NAMES = (".", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "Thumbs.db", "ehthumbs.db", "desktop.ini", "Icon\r")
_LIBRARIES = (".lrdata", ".lrcat-data", ".photoslibrary", ".photolibrary", ".aplibrary", ".cocatalogdb")
"""Folders in which Lightroom, Photos, Aperture and Capture One keep previews and copies."""
_NAMED = 3


@dataclass(frozen=True)
class FolderScan:
    """What is below a folder.

    Attributes:
        rows: the image files, sorted by path: path, size (MISSING: a broken link) and time of change.
        left_out: kind -> the paths of what is not read, as "HEIF", ".txt" or SYSTEM_FILES.
    """

    rows: list[ImageRow]
    left_out: Mapping[str, Sequence[str]]


def scan_folder(root: Path) -> FolderScan:
    """Finds every image file below `root`: by its suffix, else by its content.

    Hidden files and folders are left out, and those of the system. Links are followed, but every folder is visited
    once, under its real name where it has one below `root`: loops end, and nothing is found twice through a link.

    Raises:
        DataError: a folder cannot be read; names it.
    """
    found: list[ImageRow] = []
    left_out: dict[str, list[str]] = defaultdict(list)
    visited: set[tuple[int, int]] = set()
    real = [""]
    linked: list[str] = []
    while real or linked:
        folder = real.pop() if real else linked.pop()
        here = root / folder
        try:
            status = here.stat()
            if (identity := (status.st_dev, status.st_ino)) in visited:
                continue
            visited.add(identity)
            with os.scandir(here) as entries:
                children = list(entries)
        except OSError as error:
            raise DataError(
                f"cannot be read: {os_reason(error)}", where=str(here), do="check the folder and its permissions"
            ) from error
        folders: list[str] = []
        for child in children:
            path = f"{folder}/{child.name}" if folder else child.name
            if child.name.startswith(_SYSTEM_NAMES):
                left_out[SYSTEM_FILES].append(path)
            elif _is_folder(child) and child.name.lower().endswith(_LIBRARIES):
                left_out["photo libraries"].append(path)
            elif _is_folder(child):
                (linked if child.is_symlink() else folders).append(path)
            elif path.lower().endswith(IMAGE_SUFFIXES) or not (kind := unreadable_kind(root / path)):
                found.append(_row(child, path))
            else:
                left_out[kind].append(path)
        real.extend(sorted(folders, reverse=True))
        linked.sort(reverse=True)
    found.sort()
    return FolderScan(found, {kind: sorted(paths) for kind, paths in sorted(left_out.items())})


def image_files(root: Path) -> list[ImageRow]:
    """Every image file below `root`, sorted by path; see `scan_folder`."""
    return scan_folder(root).rows


def count_left_out(left_out: Mapping[str, Sequence[str]]) -> list[str]:
    """A line for each kind of what is left out: how many, and the first of them."""
    return [
        f"left out: {len(paths):,} {kind_in_words(kind, len(paths))}, as {', '.join(paths[:_NAMED])}"
        for kind, paths in sorted(left_out.items(), key=lambda item: (-len(item[1]), item[0]))
        if paths
    ]


def kind_in_words(kind: str, count: int) -> str:
    """A kind of what is left out, as "ZIP files"."""
    if kind == "HEIF":
        return "HEIF/HEIC photos (pip install 'imagematch[heif]' reads them)"
    if kind in (SYSTEM_FILES, "photo libraries") or kind.startswith("images "):
        return kind
    return f"{kind} {'file' if count == 1 else 'files'}"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _row(entry: os.DirEntry[str], path: str) -> ImageRow:
    try:
        status = entry.stat()
    except OSError:  # a link to nowhere
        return ImageRow(path, size=MISSING)
    return ImageRow(path, size=status.st_size, mtime_ns=status.st_mtime_ns)
