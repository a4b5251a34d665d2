"""The rows of a CSV file one by one, in bounded memory: what all tables and lists of pairs are read with."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from imagematch.errors import DataError
from imagematch.files import os_reason
from imagematch.reading import TABLE_BYTES, text_lines

_DELIMITERS = ",;\t"
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
        reader = csv.reader(lines, delimiter=max(delimiters, key=first.count), strict=True)
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
