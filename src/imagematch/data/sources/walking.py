"""Finds the image files below a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from imagematch.data.sources.listing import MISSING
from imagematch.errors import DataError
from imagematch.files import os_reason
from imagematch.image_files import IMAGE_SUFFIXES


class Found(NamedTuple):
    """An image file: POSIX path relative to the folder walked, bytes (MISSING: a broken link), time of change."""

    path: str
    size: int
    mtime_ns: int


def image_files(root: Path) -> list[Found]:
    """Every file below `root` whose suffix is an image's, sorted by path.

    Hidden files and folders are left out. Links are followed, but every folder is visited once, under its real name
    where it has one below `root`: loops end, and nothing is found twice through a linked folder.

    Raises:
        DataError: a folder cannot be read; names it.
    """
    found: list[Found] = []
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
                children = [entry for entry in entries if not entry.name.startswith((".", "__MACOSX"))]
        except OSError as error:
            raise DataError(
                f"cannot be read: {os_reason(error)}", where=str(here), do="check the folder and its permissions"
            ) from error
        folders: list[str] = []
        for child in children:
            path = f"{folder}/{child.name}" if folder else child.name
            if _is_folder(child):
                (linked if child.is_symlink() else folders).append(path)
            elif path.lower().endswith(IMAGE_SUFFIXES):
                found.append(_found(child, path))
        real.extend(sorted(folders, reverse=True))
        linked.sort(reverse=True)
    found.sort()
    return found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _found(entry: os.DirEntry[str], path: str) -> Found:
    try:
        status = entry.stat()
    except OSError:  # a link to nowhere
        return Found(path, MISSING, 0)
    return Found(path, status.st_size, status.st_mtime_ns)
