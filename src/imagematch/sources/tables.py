"""The rows of a CSV or Parquet file one by one: what all tables and lists of pairs are read with."""

from __future__ import annotations

import contextlib
import csv
import difflib
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from imagematch.errors import DataError
from imagematch.files import os_reason
from imagematch.reading import TABLE_BYTES, text_lines
from imagematch.sources.parquet_rows import parquet_rows

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
_DELIMITERS = ",;\t"
_SHOWN = 8
_LINES_OF_A_ROW = 100
"""A quoted text may go over several lines; a quotation mark that is missing makes one row of the rest of the file."""


def csv_rows(path: Path, delimiters: str = _DELIMITERS) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not empty, and the number of its last line, from 1.

    Any line ends, byte-order mark or not; the delimiter is the most frequent of `delimiters` in the first line.

    Raises:
        DataError: the file cannot be read, is not UTF-8 text or not CSV, or far larger than a table; names it.
    """
    try:
        first = next(text_lines(path, max_bytes=TABLE_BYTES), "")
        lines = _Lines(path)
        reader = csv.reader(lines, delimiter=max(delimiters, key=first.count), strict=True, skipinitialspace=True)
        for row in reader:
            lines.of_row = 0
            if row:
                yield reader.line_num, row
    except OSError as error:
        raise DataError(f"cannot be read: {os_reason(error)}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise DataError("is not UTF-8 text", where=str(path), do="save it as CSV UTF-8") from error
    except csv.Error as error:
        raise DataError(f"is not CSV: {error}", where=f"{path}:{reader.line_num}") from error


class _Lines:
    """The lines of a file, of which one row may have only so many."""

    def __init__(self, path: Path) -> None:
        self._lines = text_lines(path, max_bytes=TABLE_BYTES)
        self.of_row = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        self.of_row += 1
        if self.of_row > _LINES_OF_A_ROW:
            raise csv.Error(f"a row of more than {_LINES_OF_A_ROW} lines: a quotation mark is missing")
        return next(self._lines)


def table_rows(table: Path, *, lower: bool = True) -> Iterator[tuple[str, list[str]]]:
    """Where each row of a table stands, and its values as text; the first row is the header, where `lower` so.

    Raises:
        DataError: the file cannot be read, or is no table of its kind; names it.
    """
    return parquet_rows(table) if table.suffix.lower() == ".parquet" else _rows_of_csv(table, lower)


def _rows_of_csv(table: Path, lower: bool) -> Iterator[tuple[str, list[str]]]:
    """The header, in lower case, and the rows; any line ends, byte-order mark or not, comma, semicolon or tab."""
    for number, (line, values) in enumerate(csv_rows(table)):
        yield f"{table}:{line}", [value.strip().lower() for value in values] if number == 0 and lower else values


class Table:
    """A table whose columns have names: what sources and lists of pairs read their rows from.

    Args:
        path: the file.
        known: column -> other names that it may have; those that are not there are left out of the rows.
        needed: columns that must be there.

    Attributes:
        unused: columns that are not known.

    Raises:
        DataError: a needed column is missing, or one is there twice; says what to rename.
    """

    def __init__(self, path: Path, known: Mapping[str, Sequence[str]], needed: Sequence[str] = ()) -> None:
        self.path = path
        self._rows = table_rows(path)
        _, self._header = next(self._rows, (str(path), []))
        self._index: dict[str, int] = {}
        for name, others in known.items():
            found = [index for index, own in enumerate(self._header) if own == name or own in others]
            if len(found) > 1:
                names = " and ".join(sorted({repr(self._header[index]) for index in found}))
                raise DataError(f"has {len(found)} columns {names}", where=str(path), do="keep one of them")
            if found:
                self._index[name] = found[0]
        for name in needed:
            if name not in self._index:
                shown = ", ".join(map(repr, self._header[:_SHOWN])) or "none"
                near = _meant(name, [own for own in self._header if own])
                do = f"rename {near!r} to {name!r}" if near else "name the columns in its first line"
                if name == "label" and len(classes := self._flags()) > 1:
                    do = f"give it a column label: the one of {', '.join(classes)} that is 1"
                raise DataError(f"has no column {name!r}, its columns are {shown}", where=str(path), do=do)
        used = set(self._index.values())
        self.unused = tuple(own for index, own in enumerate(self._header) if own and index not in used)

    def _flags(self) -> list[str]:
        """The columns that hold 0 or 1 in the next row: of classes, where there is one for each."""
        _, values = next(self._rows, ("", []))
        return [own for own, value in zip(self._header, values, strict=False) if value.strip() in ("0", "1")][:_SHOWN]

    def __contains__(self, name: str) -> bool:
        return name in self._index

    def __iter__(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Where each row stands, and the text in each of its known columns."""
        for where, values in self._rows:
            if len(values) != len(self._header):
                raise DataError(
                    f"has {len(values)} values for {len(self._header)} columns", where=where, do="quote its commas"
                )
            yield where, {name: values[index].strip() for name, index in self._index.items()}


_MEANT = {
    "path": (
        "filename",
        "file_name",
        "file",
        "filepath",
        "file_path",
        "image",
        "img",
        "image_path",
        "img_path",
        "name",
    ),
    "label": (
        "class",
        "identity",
        "target",
        "category",
        "choice",
        "person",
        "person_id",
        "pid",
        "id",
        "y",
        "labels",
        "species",
    ),
}
"""Column -> what others call it."""


def _meant(name: str, columns: Sequence[str]) -> str:
    for other in _MEANT.get(name, ()):
        if other in columns:
            return other
    return next(iter(difflib.get_close_matches(name, columns, n=1)), "")


def file_below(root: Path, path: str) -> str:
    """How a path of a table is spelt on disk; with `/` for a backslash where nothing is found.

    Tried are `/` for a backslash, and Unicode's composed and decomposed forms, in which file systems differ.
    """
    slashed = path.replace("\\", "/")
    for spelt in dict.fromkeys(
        [path, slashed, *(unicodedata.normalize(form, slashed) for form in ("NFC", "NFD") if not slashed.isascii())]
    ):
        with contextlib.suppress(OSError, ValueError):
            if os.path.lexists(root / spelt):
                return spelt
    return slashed
