"""csv: a table of images: path, label, optional split, box, query and gallery. Parquet too, where pyarrow is there."""

from __future__ import annotations

import difflib
import itertools
import math
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from imagematch.errors import DataError
from imagematch.files import os_reason
from imagematch.sources.layouts import SPLIT_FOLDERS
from imagematch.sources.listing import (
    MISSING,
    Box,
    ImageRow,
    Listing,
    Source,
    SourceOptions,
    checked_root,
    file_mode,
    register_source,
)
from imagematch.sources.tables import TABLE_SUFFIXES, table_rows

_BOX = ("x", "y", "w", "h")
_ROLES = ("query", "gallery")
_COLUMNS = ("path", "label", "split", *_BOX, *_ROLES)
_FLAGS = {
    **dict.fromkeys(("1", "yes", "true", "y", "x"), True),
    **dict.fromkeys(("0", "no", "false", "n", ""), False),
}
_SPLITS = {**SPLIT_FOLDERS, "calibration": "calibration"}


@register_source(
    "csv",
    "your own table of path and label; optional split, box x,y,w,h, query, gallery; Parquet too",
    data_dir="the table of images",
    not_fetched="csv reads your own table: there is nothing to fetch",
)
class CsvSource(Source):
    """The images that a table names, by paths relative to its folder (or absolute).

    Columns: `path`, `label` (where `labelled`); optional `split` (train, validation, calibration, test); optional `x`,
    `y`, `w`, `h`, the part of the picture that is the image, in pixels from its upper left corner; optional `query` and
    `gallery` (yes, no; an image may be both). Others are passed over.

    Args:
        root: the table, or a folder with one table in it.
        options: `labelled` asks for a label of every image; else one that has none gets "".

    Raises:
        DataError: there is no such table.
    """

    def __init__(self, root: Path | None, options: SourceOptions = SourceOptions()) -> None:  # noqa: B008 - frozen
        is_table = root is not None and stat.S_ISREG(file_mode(root))
        self._table = root if root is not None and is_table else _only_table(checked_root(root, self.name))
        self._needed = ("path", "label") if options.labelled else ("path",)
        super().__init__(self._table.parent, options)

    def listing(self) -> Listing:
        """See Source. A path that is there more than once, with other boxes, gets `#x,y,w,h` added to its id."""
        rows = [self._row(where, row) for where, row in _checked(self._table, self._needed)]
        if not rows:
            raise DataError("names no images", where=str(self._table), do=f"add lines of {' and '.join(self._needed)}")
        times = Counter(row.path for row in rows)
        numbered = (_numbered(row) if times[row.path] > 1 else row for row in rows)
        rows = sorted(numbered, key=lambda row: row.path)
        for row, following in itertools.pairwise(rows):
            if row.path == following.path:
                raise DataError(f"names {row.path} more than once", where=str(self._table), do="keep one line of it")
        return Listing(tuple(rows))

    def _row(self, where: str, row: Mapping[str, str]) -> ImageRow:
        path, label, split = row["path"], row.get("label", ""), row.get("split", "")
        for needed in self._needed:
            if not row[needed]:
                raise DataError(f"has no {needed}", where=where, do="fill it in or remove the line")
        if "split" in row and split.lower() not in _SPLITS:
            raise DataError(f"split is {split!r}", where=where, do="use train, validation, calibration or test")
        size, mtime_ns = self._status(path)
        if size == MISSING and "\\" in path:  # written on Windows; elsewhere a name may have a backslash in it
            path = path.replace("\\", "/")
            size, mtime_ns = self._status(path)
        split = _SPLITS.get(split.lower(), "")
        box, role = _box(where, row), _role(where, row)
        return ImageRow(path, label, split, role=role, size=size, mtime_ns=mtime_ns, file=path, box=box)

    def _status(self, path: str) -> tuple[int, int]:
        """The file's bytes, and when it was changed, nanoseconds; MISSING and 0 where it is not there."""
        try:
            status = (self.folder / path).stat()
        except (OSError, ValueError):
            return MISSING, 0
        return status.st_size, status.st_mtime_ns


def _only_table(folder: Path) -> Path:
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"cannot be read: {os_reason(error)}", where=str(folder), do="name the table itself") from error
    tables = [path for path in inside if path.suffix.lower() in TABLE_SUFFIXES and stat.S_ISREG(file_mode(path))]
    if len(tables) != 1:
        found = f"{len(tables)} tables ({', '.join(path.name for path in tables[:3])})" if tables else "no table"
        raise DataError(f"{found} in it", where=str(folder), do="set data_dir to the .csv file itself")
    return tables[0]


def _checked(table: Path, needed_columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Where each row stands, and its columns that matter."""
    rows = table_rows(table)
    _, columns = next(rows, (str(table), []))
    for needed in needed_columns:
        if needed not in columns:
            close = difflib.get_close_matches(needed, columns, n=1)
            raise DataError(
                f"has no column {needed!r}, its columns are {', '.join(map(repr, columns[:8])) or 'none'}",
                where=str(table),
                do=f"rename {close[0]!r} to {needed!r}" if close else "name the columns in its first line",
            )
    for name, times in Counter(columns).items():
        if times > 1 and name in _COLUMNS:
            raise DataError(f"has {times} columns {name!r}", where=str(table), do="keep one of them")
    boxes = [name for name in _BOX if name in columns]
    if boxes and len(boxes) < len(_BOX):
        raise DataError(f"of the box columns it has only {', '.join(boxes)}", where=str(table), do="give x, y, w and h")
    kept = {name: columns.index(name) for name in _COLUMNS if name in columns}
    for where, values in rows:
        if len(values) != len(columns):
            raise DataError(f"has {len(values)} values for {len(columns)} columns", where=where, do="quote its commas")
        yield where, {name: values[index].strip() for name, index in kept.items()}


def _box(where: str, row: Mapping[str, str]) -> Box | None:
    texts = [row[name] for name in _BOX if name in row]
    if not any(texts):
        return None
    try:
        x, y, w, h = map(float, texts)
    except ValueError:
        x = y = w = h = math.nan
    if not (math.isfinite(x + y + w + h) and w > 0 and h > 0):
        raise DataError(f"the box {', '.join(texts)} is not x, y, w, h", where=where, do="give pixels, w and h over 0")
    if max(x + w, y + h) <= 1 and not (x + w).is_integer():
        what = f"the box {', '.join(texts)} is in shares of the picture"
        raise DataError(what, where=where, do="multiply by its width and height: boxes are in pixels")
    return x, y, x + w, y + h


def _role(where: str, row: Mapping[str, str]) -> str:
    roles = []
    for role in _ROLES:
        text = row.get(role, "").lower()
        if text not in _FLAGS:
            raise DataError(f"{role} is {row[role]!r}", where=where, do="use yes or no")
        roles += [role] if _FLAGS[text] else []
    return "both" if len(roles) == len(_ROLES) else "".join(roles)


def _numbered(row: ImageRow) -> ImageRow:
    if row.box is None:
        return row
    left, top, right, bottom = row.box
    box = ",".join(f"{value:.10g}" for value in (left, top, right - left, bottom - top))
    return row._replace(path=f"{row.path}#{box}")
