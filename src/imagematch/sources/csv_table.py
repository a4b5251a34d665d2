"""csv: a table of images: path, label, optional split, box, query and gallery. Parquet too, where pyarrow is there."""

from __future__ import annotations

import itertools
import math
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
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
    describe_classes,
    file_mode,
    register_source,
)
from imagematch.sources.remarks import MISSING_LABELS
from imagematch.sources.tables import TABLE_SUFFIXES, Table, file_below

_BOX = ("x", "y", "w", "h")
_CORNERS = ("x_1", "y_1", "x_2", "y_2")
_ROLES = ("query", "gallery")
_COLUMNS: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("path", "label", "split", "group", "digest", *_BOX, *_CORNERS), ()),
    "query": ("is_query",),
    "gallery": ("is_gallery",),
}
_INSTRUCTIONS = ("fold", "folds", "is_valid", "is_val", "is_test", "is_train", "subset", "partition", "set", "session")
"""Columns that read like instructions, and that nothing here follows."""
_FLAGS = {
    **dict.fromkeys(("1", "yes", "true", "y", "x", "1.0"), True),
    **dict.fromkeys(("0", "no", "false", "n", "", "0.0", "nan", "none"), False),
}
_SPLITS = {**SPLIT_FOLDERS, "calibration": "calibration"}
_MOST_MISSING = 0.05
_NAMED = 3
NOT_THERE = "images that the table names and that are not there"


@register_source(
    "csv",
    "your own table of path and label; optional split, group, box x,y,w,h, query, gallery; Parquet too",
    data_dir="the table of images",
    not_fetched="csv reads your own table: there is nothing to fetch",
)
class CsvSource(Source):
    """The images that a table names, by paths relative to its folder (or absolute).

    Columns: `path`, `label` (where `labelled`); optional `split` (train, validation, calibration, test); optional
    `group`, whose images stay in one split; optional `x`, `y`, `w`, `h`, the part of the file's image that is the
    image, in pixels from its upper left corner, or its corners `x_1`, `y_1`, `x_2`, `y_2`; optional `query` and
    `gallery`, also called `is_query` and `is_gallery` (yes, no; an image may be both); optional `digest`, by which
    corrections may name the image, as `gallery export` writes it. Others are passed over.

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
        table = Table(self._table, _COLUMNS, self._needed)
        for names in (_BOX, _CORNERS):
            given = [name for name in names if name in table]
            if given and len(given) < len(names):
                what = f"of the box columns it has only {', '.join(given)}"
                raise DataError(what, where=str(self._table), do=f"give {', '.join(names[:3])} and {names[3]}")
        read = list(table)
        self._refuse_missing_labels(read)
        rows = [self._row(where, values) for where, values in read]
        if not rows:
            raise DataError("names no images", where=str(self._table), do=f"add lines of {' and '.join(self._needed)}")
        rows, left_out = self._there(rows)
        times = Counter(row.path for row in rows)
        rows = sorted((_numbered(row) if times[row.path] > 1 else row for row in rows), key=lambda row: row.path)
        for row, following in itertools.pairwise(rows):
            if row.path == following.path:
                raise DataError(f"names {row.path} more than once", where=str(self._table), do="keep one line of it")
        ignored = [name for name in table.unused if name in _INSTRUCTIONS]
        notes = [describe_classes(rows)]
        notes += [f"{self._table.name}: nothing follows its column {', '.join(ignored)}"] if ignored else []
        return Listing(tuple(rows), notes=tuple(notes), left_out={NOT_THERE: left_out} if left_out else {})

    def _refuse_missing_labels(self, read: Sequence[tuple[str, Mapping[str, str]]]) -> None:
        """Raises DataError where images need a label, and some have none, or a text that stands for none."""
        if "label" not in self._needed:
            return
        lacking = [(where, row["label"]) for where, row in read if row["label"].lower() in MISSING_LABELS]
        if lacking:
            where, text = lacking[0]
            of = f"{len(lacking):,} of {len(read):,} images have no label" if len(lacking) > 1 else "has no label"
            raise DataError(of + (f" ({text!r})" if text else ""), where=where, do="fill it in or remove the line")

    def _there(self, rows: Sequence[ImageRow]) -> tuple[list[ImageRow], list[str]]:
        """The rows to go on with, and the paths that are passed over because no such file is there."""
        missing = sorted(row.path for row in rows if row.size == MISSING)
        if self.options.missing_files != "skip" or len(missing) == len(rows):
            return list(rows), []
        return [row for row in rows if row.size != MISSING], missing

    def check_files(self, rows: Sequence[ImageRow]) -> None:
        """See Source. A few missing files are named one by one, when they are read."""
        missing = [row.path for row in rows if row.size == MISSING]
        if missing and ((len(missing) > _MOST_MISSING * len(rows) and len(missing) > 1) or len(missing) == len(rows)):
            named = ", ".join(missing[:_NAMED])
            raise DataError(
                f"{len(missing):,} of the {len(rows):,} images that it names are not there, as {named}: "
                f"paths start from {self.folder}",
                where=str(self._table),
                do=_elsewhere(self.folder, missing[0]) or "correct the paths, or give missing_files: skip",
            )

    def _row(self, where: str, values: Mapping[str, str]) -> ImageRow:
        path, split = values["path"], values.get("split", "")
        if not path:
            raise DataError("has no path", where=where, do="fill it in or remove the line")
        if "split" in values and split.lower() not in _SPLITS:
            raise DataError(f"split is {split!r}", where=where, do="use train, validation, calibration or test")
        size, mtime_ns = self._status(path)
        if size == MISSING:
            path = file_below(self.folder, path)
            size, mtime_ns = self._status(path)
        return ImageRow(
            path,
            "" if (label := values.get("label", "")).lower() in MISSING_LABELS else label,
            _SPLITS.get(split.lower(), ""),
            "" if (group := values.get("group", "")).lower() in MISSING_LABELS else group,
            _role(where, values),
            size=size,
            mtime_ns=mtime_ns,
            file=path,
            box=_box(where, values),
            alias=values.get("digest", ""),
        )

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


def _elsewhere(folder: Path, path: str) -> str:
    """Where a file that is not there lies, in words; "" where that is not known."""
    parts = Path(path.replace("\\", "/")).parts
    for skipped in range(1, len(parts)):
        if (found := folder.joinpath(*parts[skipped:])).exists():
            return f"remove {'/'.join(parts[:skipped])}/ from the paths: {found} is there"
    for above in list(folder.absolute().parents)[:_NAMED]:
        if not Path(path).is_absolute() and (above / path).exists():
            return f"move the table to {above}: {above / path} is there"
    return ""


def _box(where: str, values: Mapping[str, str]) -> Box | None:
    corners = _CORNERS[0] in values
    names = _CORNERS if corners else _BOX
    texts = [values[name] for name in names if name in values]
    if not any(text.lower() not in MISSING_LABELS for text in texts):
        return None
    try:
        x, y, w, h = map(float, texts)
        w, h = (w - x, h - y) if corners else (w, h)
    except ValueError:
        x = y = w = h = math.nan
    if not (math.isfinite(x + y + w + h) and w > 0 and h > 0):
        what = f"the box {', '.join(texts)} is not {', '.join(names)}"
        raise DataError(what, where=where, do="give pixels, " + ("x_2 over x_1" if corners else "w and h over 0"))
    if max(x + w, y + h) <= 1 and not (x + w).is_integer():
        what = f"the box {', '.join(texts)} is in shares of the image"
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
