"""The manifest: what every image file of a data set is, learnt by decoding it once, and kept until the file changes."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from imagematch.data.boxes import Box, pixels_digest
from imagematch.data.decoding import DECODER_VERSION, inspect
from imagematch.data.decoding_limits import MAX_PIXELS
from imagematch.data.kept_table import load_table, save_table
from imagematch.data.sources import MISSING, Entry, Source
from imagematch.errors import DataError
from imagematch.events import Advance, RunLog
from imagematch.file_locks import locked
from imagematch.files import digest_bytes, remove_leftovers, write_text
from imagematch.image_files import NotReadableHereError
from imagematch.reading import TABLE_BYTES, text_lines

_VERSION = 2
_CHUNK = 32
_MAX_CORRUPT_SHARE = 0.05
_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW
_KINDS: dict[str, set[type]] = {
    **{name: {str} for name in ("path", "digest", "mode", "reason")},
    **{name: {int} for name in ("width", "height", "size", "mtime_ns")},
    **{name: {int, float} for name in ("low", "high")},
    "box": {list, type(None)},
}


class Fact(NamedTuple):
    """What is known of one image.

    Attributes:
        digest: of the file's content (and of the box, where there is one).
        width: of the upright picture (of the box, where there is one), pixels.
        height: likewise.
        mode: Pillow's mode of the file, as "RGB", "L", "P".
        reason: why it cannot be used; "" where it can.
        size: bytes of the file when it was read; MISSING makes the file be read again.
        mtime_ns: when it had been changed, nanoseconds.
        box: the part of the picture that was looked at.
        low: the lowest value of grey of more than 8 bits; else 0.
        high: the highest, likewise; else 255.
    """

    digest: str
    width: int
    height: int
    mode: str
    reason: str
    size: int
    mtime_ns: int
    box: Box | None = None
    low: float = 0
    high: float = 255

    def holds_for(self, entry: Entry) -> bool:
        """Whether the file is still the one that was read."""
        return (
            self.size == entry.size
            and self.mtime_ns == entry.mtime_ns
            and self.size != MISSING
            and self.box == entry.box
        )


def read_manifest(
    name: str,
    source: Source,
    entries: Sequence[Entry],
    manifest_dir: Path,
    log: RunLog,
    max_pixels: int = MAX_PIXELS,
) -> list[Fact]:
    """What is known of every entry; only new and changed files are read. Corrupt images are named in the log.

    Args:
        name: the data set's, part of the manifest's file name.
        source: reads the images.
        entries: the images, as listed now.
        manifest_dir: where manifests are kept, one file for each data set's root.
        log: hears of progress and of corrupt images.
        max_pixels: larger images are not used.

    Returns:
        One Fact for each entry, in the same order.

    Raises:
        StudyError: the manifest cannot be written.
    """
    if source.root is None:
        facts = _inspect_all(source, entries, log, max_pixels)
    else:
        path = manifest_path(name, source.root, manifest_dir)
        with locked(path.with_suffix(".lock")):
            remove_leftovers(manifest_dir)
            facts = _refreshed(path, source, entries, log, max_pixels)
    for entry, fact in zip(entries, facts, strict=True):
        if fact.reason:
            log.event("corrupt_image", f"left out: {entry.path}: {fact.reason}", path=entry.path, reason=fact.reason)
    return facts


def refuse_corrupt(source: Source, entries: Sequence[Entry], facts: Sequence[Fact]) -> None:
    """Raises DataError where more than 5 % of the images are corrupt; names the first of them."""
    corrupt = [(entry.path, fact.reason) for entry, fact in zip(entries, facts, strict=True) if fact.reason]
    if len(corrupt) > _MAX_CORRUPT_SHARE * len(entries):
        first = ", ".join(f"{path} ({reason})" for path, reason in corrupt[:3])
        raise DataError(
            f"{len(corrupt):,} of {len(entries):,} images cannot be used, over {_MAX_CORRUPT_SHARE:.0%}: {first}",
            where=str(source.root or ""),
            do="replace or remove them",
        )


def manifest_path(name: str, root: Path, manifest_dir: Path) -> Path:
    """Where the manifest of the data set at `root` is kept."""
    return manifest_dir / f"{name}-{digest_bytes(os.fsencode(root.resolve()))[:16]}.jsonl"


def doubt(kept: Path | None, file: str) -> None:
    """Has the next run read a file again, whatever its size and time say: it could not be used as it was listed.

    Without it a file that breaks and keeps both would stop every run for good.

    Args:
        kept: the manifest, or the faces kept beside it; None where nothing is kept.
        file: what the source reads.
    """
    if kept is not None:
        with contextlib.suppress(OSError):
            descriptor = os.open(_doubts_path(kept), _APPENDING, 0o666)
            with os.fdopen(descriptor, "a", encoding="utf-8") as doubts:
                doubts.write(json.dumps(file) + "\n")


def _doubts_path(kept: Path) -> Path:
    return kept.with_name(kept.name.partition(".")[0] + ".doubts")


def _doubted(path: Path) -> set[str]:
    """The files that were doubted since the manifest at `path` was written."""
    files = set()
    with contextlib.suppress(OSError):
        for line in text_lines(_doubts_path(path), max_bytes=TABLE_BYTES, errors="replace"):
            with contextlib.suppress(ValueError, RecursionError):  # torn by a kill
                files.add(str(json.loads(line)))
    return files


def _forget_doubts(path: Path, left: set[str]) -> None:
    if left:
        write_text(_doubts_path(path), "".join(json.dumps(file) + "\n" for file in sorted(left)))
    else:
        _doubts_path(path).unlink(missing_ok=True)


def _refreshed(path: Path, source: Source, entries: Sequence[Entry], log: RunLog, max_pixels: int) -> list[Fact]:
    kept = _load(path, log)
    known = [kept.get(entry.path) for entry in entries]
    files = [entry.file or entry.path for entry in entries]
    doubted = _doubted(path)
    stale = [
        row
        for row, fact in enumerate(known)
        if fact is None
        or not fact.holds_for(entries[row])
        or files[row] in doubted
        or fact.width * fact.height > max_pixels
    ]
    if not stale:
        return [fact for fact in known if fact is not None]
    fresh = dict(zip(stale, _inspect_all(source, [entries[row] for row in stale], log, max_pixels), strict=True))
    facts = [fresh.get(row, fact) for row, fact in enumerate(known)]
    complete = [fact for fact in facts if fact is not None]
    if any(known[row] != complete[row] for row in stale):
        _save(path, source, entries, complete, kept)
    if doubted:
        _forget_doubts(path, doubted.difference(files))
    return complete


def _inspect_all(source: Source, entries: Sequence[Entry], log: RunLog, max_pixels: int) -> list[Fact]:
    chunks = [entries[start : start + _CHUNK] for start in range(0, len(entries), _CHUNK)]
    with log.progress("reading images", len(entries)) as advance, ThreadPoolExecutor() as pool:
        try:
            return [
                fact
                for facts in pool.map(lambda chunk: _inspect(source, chunk, max_pixels), chunks)
                for fact in _told(facts, advance)
            ]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _told(facts: list[Fact], advance: Advance) -> list[Fact]:
    advance(len(facts))
    return facts


def _inspect(source: Source, entries: Iterable[Entry], max_pixels: int) -> list[Fact]:
    return [_inspect_one(source, entry, max_pixels) for entry in entries]


def _inspect_one(source: Source, entry: Entry, max_pixels: int) -> Fact:
    try:
        data = source.read(entry.file or entry.path)
    except DataError as error:
        return Fact("", 0, 0, "", error.what, MISSING, 0, entry.box)
    digest = pixels_digest(digest_bytes(data), entry.box)
    try:
        width, height, mode, low, high = inspect(data, entry.box, max_pixels)
    except NotReadableHereError as error:  # not remembered
        return Fact(digest, 0, 0, "", error.what, MISSING, 0, entry.box)
    except DataError as error:
        return Fact(digest, 0, 0, "", error.what, entry.size, entry.mtime_ns, entry.box)
    return Fact(digest, width, height, mode, "", entry.size, entry.mtime_ns, entry.box, low, high)


def _load(path: Path, log: RunLog) -> dict[str, Fact]:
    """The facts kept at `path`; none where the file is not there, torn, tampered with, or of another version."""
    return load_table(path, {"version": _VERSION, "decoder": DECODER_VERSION}, _facts, log) or {}


def _facts(columns: dict[str, Any]) -> dict[str, Fact]:
    for name, kinds in _KINDS.items():
        if not set(map(type, columns[name])) <= kinds:
            raise ValueError(f"another kind of {name}")
    boxes = [None if box is None else _box(box) for box in columns["box"]]
    rest = [boxes if name == "box" else columns[name] for name in Fact._fields]
    return dict(zip(columns["path"], map(Fact._make, zip(*rest, strict=True)), strict=True))


def _box(values: Any) -> Box:
    left, top, right, bottom = values
    if not all(type(value) in (int, float) for value in values):
        raise ValueError("a box is four numbers")
    return left, top, right, bottom


def _save(path: Path, source: Source, entries: Sequence[Entry], facts: Sequence[Fact], kept: dict[str, Fact]) -> None:
    listed = {entry.path for entry in entries}
    others = [old for old in kept if old not in listed and (source.root is None or os.path.lexists(source.root / old))]
    columns: dict[str, list[Any]] = {
        "path": [entry.path for entry in entries] + others,
        "label": [entry.label for entry in entries] + [None] * len(others),
        "split": [entry.split for entry in entries] + [None] * len(others),
        "status": ["corrupt" if fact.reason else "ok" for fact in facts] + ["unlisted"] * len(others),
    }
    rows = [*facts, *(kept[old] for old in others)]
    for name, values in zip(Fact._fields, zip(*rows, strict=True), strict=True):
        columns[name] = list(values)
    facts_of_table = {"version": _VERSION, "decoder": DECODER_VERSION, "root": str(source.root), "rows": len(rows)}
    save_table(path, facts_of_table, columns)
