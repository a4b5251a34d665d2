"""What the store holds, whether it is sound, and throwing it away: for `imagematch features list | verify | clear`."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from imagematch.errors import StudyError
from imagematch.features.entry import Entry, read_facts
from imagematch.features.store import lock_path
from imagematch.files import BusyError, locked, write_error


@dataclass(frozen=True)
class EntryReport:
    """One entry of the store.

    Attributes:
        name: its folder's name, which `clear` takes.
        extractor: the network's name.
        image_size: what the network saw, in pixels.
        precision: what it computed in.
        images: number of pictures with features.
        bytes: size on disk.
        created: when it was begun, ISO 8601, UTC.
        damaged_images: pictures whose features are not what was written; None where that was not checked.
    """

    name: str
    extractor: str
    image_size: int
    precision: str
    images: int
    bytes: int
    created: str
    damaged_images: int | None = None


def list_entries(root: Path) -> list[EntryReport]:
    """What the store holds, by name; empty where there is no store. Converted networks are not listed."""
    return [_report(entry) for entry in _entries(root)]


def verify(root: Path) -> list[EntryReport]:
    """Reads every byte of the store and compares it with its checksum.

    Damaged features are never used: whoever needs them notices the same, and computes them again.
    """
    return [_report(entry, check=True) for entry in _entries(root)]


def clear(root: Path, name: str | None = None) -> int:
    """Removes entries and, where all go, the converted networks too.

    Args:
        root: the store.
        name: an entry's folder name or an extractor's name; None removes everything.

    Returns:
        Bytes that were freed.

    Raises:
        StudyError: another process is computing features there, nothing has that name, or removal is refused.
    """
    chosen = [entry for entry in _entries(root) if name in (None, entry.folder.name, entry.facts["extractor"])]
    if name is not None and not chosen:
        raise StudyError(f"no features of {name!r}", where=str(root), do="see imagematch features list")
    freed = 0
    for entry in chosen:
        try:
            with locked(lock_path(entry.folder), wait=False):
                freed += _remove(entry.folder)
        except BusyError as error:
            raise StudyError(
                "another process is computing features", where=str(entry.folder), do="wait for it"
            ) from error
    if name is None and (root / "networks").is_dir():
        freed += _remove(root / "networks")
    return freed


def _entries(root: Path) -> list[Entry]:
    entries = []
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        facts = read_facts(folder)
        if facts is not None:
            entries.append(Entry(folder, facts))
    return entries


def _report(entry: Entry, *, check: bool = False) -> EntryReport:
    blocks = entry.blocks()
    damaged = sum(block.count for block in entry.damaged(blocks)) if check else None
    return EntryReport(
        name=entry.folder.name,
        extractor=str(entry.facts["extractor"]),
        image_size=int(entry.facts["image_size"]),
        precision=str(entry.facts["precision"]),
        images=len({digest for block in blocks for digest in block.pictures()}),
        bytes=_size(entry.folder),
        created=str(entry.facts["created"]),
        damaged_images=damaged,
    )


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _remove(folder: Path) -> int:
    freed = _size(folder)
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise write_error(folder, error) from error
    return freed
