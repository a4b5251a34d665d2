"""The manifest: what every image file of a data set is, found by decoding it once, cached until the file changes."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from imagematch.data.boxes import pixels_digest
from imagematch.data.decoding import DECODER_VERSION, ImageFacts, inspect
from imagematch.data.decoding_limits import MAX_PIXELS
from imagematch.data.table_cache import load_table, save_table
from imagematch.errors import DataError
from imagematch.events import RunLog
from imagematch.file_locks import locked
from imagematch.files import digest_bytes, remove_leftovers, write_text
from imagematch.image_files import NotReadableHereError
from imagematch.reading import TABLE_BYTES, text_lines
from imagematch.sources import MISSING, Box, ImageRow, Source

_VERSION = 4
_SPLITS_VERSION = 2
_CHUNK = 32
_SHOWN = 20
"""Of corrupt images so many are shown one by one; `run.jsonl` has all."""
_MAX_CORRUPT_SHARE = 0.05
_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
_COLUMNS = ("digest", "width", "height", "mode", "reason", "size", "mtime_ns", "box", "low", "high", "more_frames")
"""What is cached of an image beside its path."""
_LEARNED = ("digest", "reason", *ImageFacts._fields)
"""What is learned by reading it."""
_KINDS: dict[str, set[type]] = {
    **{name: {str} for name in ("path", "digest", "mode", "reason")},
    **{name: {int} for name in ("width", "height", "size", "mtime_ns")},
    **{name: {int, float} for name in ("low", "high")},
    "box": {list, type(None)},
    "more_frames": {bool},
}


def read_manifest(
    name: str,
    source: Source,
    rows: Sequence[ImageRow],
    manifest_dir: Path,
    log: RunLog,
    max_pixels: int = MAX_PIXELS,
) -> list[ImageRow]:
    """The rows with all that is known of their images; only new and changed files are read.

    Args:
        name: the data set's, part of the manifest's file name.
        source: reads the images.
        rows: the images, as listed now.
        manifest_dir: where manifests are cached, one file for each data set's root.
        log: gets progress and corrupt images.
        max_pixels: larger images are not used.

    Returns:
        The rows in the same order, with `digest`, `width`, `height`, `mode` and `reason`.

    Raises:
        StudyError: the manifest cannot be written.
    """
    path = manifest_path(name, source.root, manifest_dir)
    if path is None:
        checked = _inspect_all(source, rows, log, max_pixels)
    else:
        with locked(path.with_suffix(".lock")):
            remove_leftovers(manifest_dir)
            checked = _refreshed(path, source, rows, log, max_pixels)
    corrupt = [row for row in checked if row.reason]
    for number, row in enumerate(corrupt):
        shown = f"left out: {row.path}: {row.reason}" if number < _SHOWN else None
        log.event("corrupt_image", shown, path=row.path, reason=row.reason, level="warning")
    if len(corrupt) > _SHOWN:
        log.say(f"left out: {len(corrupt) - _SHOWN:,} more images that cannot be used")
    return checked


def refuse_corrupt(source: Source, rows: Sequence[ImageRow]) -> None:
    """Raises DataError where more than 5 % of the images are corrupt; names the first of them."""
    corrupt = [row for row in rows if row.reason]
    if len(corrupt) > _MAX_CORRUPT_SHARE * len(rows):
        first = ", ".join(f"{row.path} ({row.reason})" for row in corrupt[:3])
        raise DataError(
            f"{len(corrupt):,} of {len(rows):,} images cannot be used, over {_MAX_CORRUPT_SHARE:.0%}: {first}",
            where=str(source.root or ""),
            do="replace or remove them",
        )


def manifest_path(name: str, root: Path | None, manifest_dir: Path) -> Path | None:
    """Where the manifest of the data set at `root` is cached; None for embedded images."""
    if root is None:
        return None
    return manifest_dir / f"{name}-{digest_bytes(os.fsencode(root.resolve()))[:16]}.jsonl"


def read_splits(path: Path, rules: Mapping[str, Any], log: RunLog) -> dict[str, str]:
    """Digest -> split of the images that were split by these rules before; none where that is not known."""
    kind = {"version": _SPLITS_VERSION, "rules": dict(rules)}
    found = load_table(path, kind, lambda columns: dict(zip(columns["digest"], columns["split"], strict=True)), log)
    return {str(digest): str(split) for digest, split in (found or {}).items()}


def save_splits(path: Path, rules: Mapping[str, Any], splits: Mapping[str, str]) -> None:
    """Writes what `read_splits` reads. Raises StudyError where it cannot be written."""
    kind = {"version": _SPLITS_VERSION, "rules": dict(rules), "rows": len(splits)}
    save_table(path, kind, {"digest": list(splits), "split": list(splits.values())})


def splits_path(manifest: Path, rules: Mapping[str, Any]) -> Path:
    """Where splits by these rules are saved, beside the manifest."""
    digest = digest_bytes(json.dumps(dict(rules), sort_keys=True).encode())
    return manifest.with_suffix(f".{digest[:12]}.splits")


def distrust(cache: Path | None, file: str) -> None:
    """Marks a file to be read again by the next run, even if its size and time are unchanged.

    Without it a file that breaks and keeps both would stop every run for good.

    Args:
        cache: the manifest, or the faces cached beside it; None where nothing is cached.
        file: what the source reads.
    """
    if cache is not None:
        with contextlib.suppress(OSError):
            descriptor = os.open(_distrusted_path(cache), _APPENDING, 0o666)
            with os.fdopen(descriptor, "a", encoding="utf-8") as file_names:
                file_names.write(json.dumps(file) + "\n")


def _distrusted_path(cache: Path) -> Path:
    return cache.with_name(cache.name.partition(".")[0] + ".doubts")


def _distrusted(path: Path) -> set[str]:
    """The files that were distrusted since the manifest at `path` was written."""
    files = set()
    with contextlib.suppress(OSError):
        for line in text_lines(_distrusted_path(path), max_bytes=TABLE_BYTES, errors="replace"):
            with contextlib.suppress(ValueError, RecursionError):  # torn by a kill
                files.add(str(json.loads(line)))
    return files


def _forget_distrusted(path: Path, left: set[str]) -> None:
    if left:
        write_text(_distrusted_path(path), "".join(json.dumps(file) + "\n" for file in sorted(left)))
    else:
        _distrusted_path(path).unlink(missing_ok=True)


def _refreshed(path: Path, source: Source, rows: Sequence[ImageRow], log: RunLog, max_pixels: int) -> list[ImageRow]:
    cached = _load(path, log)
    distrusted = _distrusted(path)
    known = [cached.get(row.path) for row in rows]
    stale = [
        number
        for number, (row, old) in enumerate(zip(rows, known, strict=True))
        if old is None or not row.same_file(old) or row.source_file in distrusted or old.width * old.height > max_pixels
    ]
    fresh = dict(zip(stale, _inspect_all(source, [rows[number] for number in stale], log, max_pixels), strict=True))
    checked = [
        fresh.get(number) or _with_facts(row, old) for number, (row, old) in enumerate(zip(rows, known, strict=True))
    ]
    if any(_facts_of(checked[number]) != _facts_of(known[number]) for number in stale):
        _save(path, source, checked, cached)
    if stale and distrusted:
        _forget_distrusted(path, distrusted.difference(row.source_file for row in rows))
    return checked


def _facts_of(row: ImageRow | None) -> tuple[Any, ...]:
    return () if row is None else tuple(getattr(row, name) for name in _COLUMNS)


def _with_facts(row: ImageRow, known: ImageRow | None) -> ImageRow:
    assert known is not None
    return row._replace(**{name: getattr(known, name) for name in _LEARNED})


def _inspect_all(source: Source, rows: Sequence[ImageRow], log: RunLog, max_pixels: int) -> list[ImageRow]:
    chunks = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
    checked: list[ImageRow] = []
    if not rows:
        return checked
    with log.progress("reading images", len(rows)) as advance, ThreadPoolExecutor() as pool:
        try:
            for part in pool.map(lambda chunk: _inspect(source, chunk, max_pixels), chunks):
                checked += part
                advance(len(part))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return checked


def _inspect(source: Source, rows: Iterable[ImageRow], max_pixels: int) -> list[ImageRow]:
    return [_inspect_one(source, row, max_pixels) for row in rows]


def _inspect_one(source: Source, row: ImageRow, max_pixels: int) -> ImageRow:
    try:
        data = source.read(row.source_file)
    except DataError as error:
        return row._replace(reason=error.what, size=MISSING, mtime_ns=0)
    digest = pixels_digest(digest_bytes(data), row.box)
    try:
        facts = inspect(data, row.box, max_pixels)
    except NotReadableHereError as error:  # not remembered
        return row._replace(digest=digest, reason=error.what, size=MISSING, mtime_ns=0)
    except DataError as error:
        return row._replace(digest=digest, reason=error.what)
    return row._replace(digest=digest, **facts._asdict())


def _load(path: Path, log: RunLog) -> dict[str, ImageRow]:
    """What is cached at `path`; nothing where the file is not there, torn, tampered with, or of another version."""
    return load_table(path, {"version": _VERSION, "decoder": DECODER_VERSION}, _parsed, log) or {}


def _parsed(columns: dict[str, Any]) -> dict[str, ImageRow]:
    for name, kinds in _KINDS.items():
        if not set(map(type, columns[name])) <= kinds:
            raise ValueError(f"another kind of {name}")
    boxes = [None if box is None else _box(box) for box in columns["box"]]
    facts = zip(*(boxes if name == "box" else columns[name] for name in _COLUMNS), strict=True)
    return {
        path: ImageRow(path, **dict(zip(_COLUMNS, values, strict=True)))
        for path, values in zip(columns["path"], facts, strict=True)
    }


def _box(values: Any) -> Box:
    left, top, right, bottom = values
    if not all(type(value) in (int, float) for value in values):
        raise ValueError("a box is four numbers")
    return left, top, right, bottom


def _save(path: Path, source: Source, rows: Sequence[ImageRow], cached: Mapping[str, ImageRow]) -> None:
    listed = {row.path for row in rows}
    others = [
        old
        for name, old in cached.items()
        if name not in listed and (source.root is None or os.path.lexists(source.root / name))
    ]
    every = [*rows, *others]
    columns: dict[str, list[Any]] = {
        "path": [row.path for row in every],
        "label": [row.label for row in rows] + [None] * len(others),
        "split": [row.split for row in rows] + [None] * len(others),
        "status": ["corrupt" if row.reason else "ok" for row in rows] + ["unlisted"] * len(others),
        **{name: [getattr(row, name) for row in every] for name in _COLUMNS},
    }
    header = {"version": _VERSION, "decoder": DECODER_VERSION, "root": str(source.root), "rows": len(every)}
    save_table(path, header, columns)
