"""What the store holds, whether it is sound, and throwing it away: for `imagematch features list | verify | clear`."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from imagematch.errors import StudyError
from imagematch.features.entry import BLOCK_BYTES, FeatureEntry, read_facts
from imagematch.features.entry_index import EntryIndex
from imagematch.features.store import FeatureStore, lock_path
from imagematch.file_locks import BusyError, locked
from imagematch.files import read_error, write_error

_UNKNOWN = {"extractor": "?", "image_size": 0, "precision": "?", "created": "", "feature_dim": 1, "dtype": "uint8"}
"""Stands for a damaged description: what it was of cannot be checked, so all of it counts as damaged."""


@dataclass(frozen=True)
class EntryReport:
    """One entry of the store.

    Attributes:
        name: its folder's name, which `clear` takes.
        extractor: the network's name.
        image_size: what the network saw, in pixels.
        precision: what it computed in.
        images: number of images with features.
        bytes: size on disk.
        created: when it was begun, ISO 8601, UTC.
        damaged_images: images whose features are not what was written; None where that was not checked.
        damage: what else is damaged, in words: its description or its index; empty where nothing is.
        cut_off_rows: rows that a kill cut off before the index had them, or that are being written. No damage: nobody
            takes them for anything, and the next run computes their images again.
    """

    name: str
    extractor: str
    image_size: int
    precision: str
    images: int
    bytes: int
    created: str
    damaged_images: int | None = None
    damage: str = ""
    cut_off_rows: int = 0


def list_entries(root: Path) -> list[EntryReport]:
    """What the store holds, by name; empty where there is no store. Converted networks are not listed.

    Raises:
        StudyError: the store cannot be read.
    """
    return [_report(entry) for entry in store_entries(root)]


def verify_features(root: Path) -> list[EntryReport]:
    """Reads every byte of the store and compares it with its checksum.

    Damaged features are never used: whoever needs them notices the same, and computes them again. So it is with those
    that a damaged index does not tell of any more. A damaged description (`entry.json`) counts as damage to all of
    them; whoever needs them writes it again.

    Raises:
        StudyError: the store cannot be read.
    """
    return [_report(entry, check=True) for entry in store_entries(root)]


def networks_bytes(root: Path) -> int:
    """Size on disk of the converted networks."""
    return _size(FeatureStore(root).networks)


def clear_features(root: Path, name: str | None = None) -> int:
    """Removes entries and, where all go, the converted networks too.

    Args:
        root: the store.
        name: an entry's folder name or an extractor's name; None removes everything.

    Returns:
        Bytes that were freed.

    Raises:
        StudyError: another process is computing features there, nothing has that name, or removal is refused.
    """
    chosen = [entry for entry in store_entries(root) if name in (None, entry.folder.name, entry.facts["extractor"])]
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
    networks = FeatureStore(root).networks
    if name is None and networks.is_dir():
        freed += _remove(networks)
    return freed


def store_entries(root: Path) -> list[FeatureEntry]:
    """Every entry of a store, also one whose description is damaged. Raises StudyError where it cannot be read."""
    entries = []
    try:
        for folder in sorted(root.iterdir()):
            facts = read_facts(folder)
            if facts is None and any((folder / name).exists() for name in ("index.bin", "rows.bin")):
                facts = _UNKNOWN
            if facts is not None:
                entries.append(FeatureEntry(folder, facts))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise read_error(root, error) from error
    return entries


def _report(entry: FeatureEntry, *, check: bool = False) -> EntryReport:
    written = entry.written_rows()  # before the index: it then has every block that is written meanwhile
    index = entry.index()
    report = EntryReport(
        name=entry.folder.name,
        extractor=str(entry.facts["extractor"]),
        image_size=int(entry.facts["image_size"]),
        precision=str(entry.facts["precision"]),
        images=len({digest for block in index.blocks for digest in block.images()}),
        bytes=_size(entry.folder),
        created=str(entry.facts["created"]),
    )
    if not check:
        return report
    beyond = max(0, written - max((block.first + block.count for block in index.blocks), default=0))
    damage = _damage(entry, index, beyond)
    return replace(
        report,
        damaged_images=sum(block.count for block in entry.damaged(index.blocks)),
        damage=damage,
        cut_off_rows=0 if damage else beyond,
    )


def _damage(entry: FeatureEntry, index: EntryIndex, beyond: int) -> str:
    """What is damaged beside the features; `beyond` rows are in no block, as a kill leaves the rows of its last one."""
    if entry.facts is _UNKNOWN:
        return "its description is damaged"
    if index.missing and beyond:
        return "its index is gone"
    if index.damaged:
        return f"{index.damaged:,} bytes of its index are damaged"
    if beyond > max(1, BLOCK_BYTES // max(1, entry.row_bytes)):
        return f"its index ends {beyond:,} rows too early"
    return ""


def _size(folder: Path) -> int:
    size = 0
    for here, _folders, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # removed or replaced meanwhile by another process
                size += (Path(here) / name).lstat().st_size
    return size


def _remove(folder: Path) -> int:
    freed = _size(folder)
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise write_error(folder, error) from error
    return freed
