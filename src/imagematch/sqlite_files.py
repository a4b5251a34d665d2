"""SQLite files, looked at before they are used, since anybody may have written them, and opened with bounds.

A database is a program as well: its views run without end, its triggers write, its generated columns compute, and its
journal names files that SQLite deletes. What this program writes has none of them.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import Any

from imagematch.errors import StudyError
from imagematch.files import read_error
from imagematch.reading import KB, MB, open_file

VALUE_BYTES = 16 * MB
_SCHEMA_BYTES = 256 * KB
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")


class BoundedConnection(sqlite3.Connection):
    """A connection in which no value is longer than 16 MB and nothing that the file says is computed."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, VALUE_BYTES)
        for pragma in ("trusted_schema = off", "cell_size_check = on", "ignore_check_constraints = on"):
            self.execute(f"pragma {pragma}")


def of_kinds(row: tuple[Any, ...] | None, *kinds: type, longest: int = 64 * KB) -> tuple[Any, ...]:
    """The row, checked, for any column takes any value, and many long ones may share one place in the file.

    Raises:
        sqlite3.DataError: there is no row, or a value is of another kind, or longer than `longest`.
    """
    if row is None or any(
        type(value) is not kind or (isinstance(value, str | bytes) and len(value) > longest)
        for value, kind in zip(row, kinds, strict=True)
    ):
        raise sqlite3.DataError("holds a damaged value")
    return row


def is_full(reason: str) -> bool:
    """Whether an SQLite error message means a full disk; for a file at its size limit SQLite says "I/O error"."""
    return "full" in reason or "disk I/O error" in reason


def open_checked(path: Path, *, max_bytes: int, noun: str, do: str, **options: Any) -> sqlite3.Connection:
    """A bounded connection to a file that is there, in which nothing computes.

    Args:
        path: the database.
        max_bytes: of it and of its journal.
        noun: what it is, in errors.
        do: what the user can do, in errors.
        options: of `sqlite3.connect`.

    Raises:
        StudyError: it holds what runs or computes, or its journal names other files.
        sqlite3.Error: it is damaged, or no database.
    """
    check_files_beside(path, max_bytes=max_bytes, noun=noun)
    check_schema_size(path, max_bytes=max_bytes, noun=noun, do=do)
    options["factory"] = BoundedConnection
    base = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, **options)
    try:
        check_schema(base, path, noun=noun, do=do)
    except BaseException:
        base.close()
        raise
    return base


def check_files_beside(path: Path, *, max_bytes: int, noun: str) -> None:
    """The journal and the write-ahead log, which SQLite opens by their names.

    A journal may end in the name of another one; SQLite deletes that file when it has read it.

    Args:
        path: the database.
        max_bytes: of either.
        noun: what the database is, in errors.

    Raises:
        StudyError: the journal names other files, or one cannot be read.
    """
    for suffix in ("-journal", "-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if not os.path.lexists(beside):
            continue
        try:
            with open_file(beside, max_bytes=max_bytes) as file:
                length = file.seek(0, os.SEEK_END)
                file.seek(max(0, length - len(_JOURNAL_MAGIC)))
                names_another = suffix == "-journal" and length > 512 and file.read() == _JOURNAL_MAGIC
        except FileNotFoundError:  # its writer has ended
            continue
        except OSError as error:
            raise read_error(beside, error) from error
        if names_another:
            raise StudyError(f"names other files, which no {noun}'s does", where=str(beside), do="move it away")


def check_schema_size(path: Path, *, max_bytes: int, noun: str, do: str) -> None:
    """Raises StudyError where the schema is large, before SQLite parses all of it."""
    try:
        with open_file(path, max_bytes=max_bytes) as file:
            head = file.read(100)
            page_bytes = int.from_bytes(head[16:18], "big")
            page_bytes = 64 * KB if page_bytes == 1 else page_bytes
            pages, total, seen = [1], 0, 0
            while pages and total <= _SCHEMA_BYTES and seen * page_bytes <= 4 * _SCHEMA_BYTES:
                number = pages.pop()
                file.seek((number - 1) * page_bytes)
                page = file.read(page_bytes)
                seen += 1
                children, sizes = _cells(page, 100 if number == 1 else 0)
                pages += children
                total += sum(sizes)
    except OSError as error:
        raise read_error(path, error) from error
    if pages or total > _SCHEMA_BYTES:
        what = f"holds a description of more than {_SCHEMA_BYTES:,} bytes, which no {noun} has"
        raise StudyError(what, where=str(path), do=do)


def _cells(page: bytes, start: int) -> tuple[list[int], list[int]]:
    """Of a page of the table of tables: the pages below it, and the sizes of its own rows. A broken one has neither."""
    kind, count = page[start : start + 1], int.from_bytes(page[start + 3 : start + 5], "big")
    first = start + (12 if kind == b"\x05" else 8)
    count = min(count, max(0, len(page) - first) // 2)  # no page has more, whatever it says
    places = [int.from_bytes(page[first + 2 * n : first + 2 * n + 2], "big") for n in range(count)]
    if kind == b"\x05":
        below = [int.from_bytes(page[place : place + 4], "big") for place in places]
        return [number for number in (*below, int.from_bytes(page[start + 8 : start + 12], "big")) if number > 0], []
    return [], [_varint(page[place : place + 9]) for place in places] if kind == b"\x0d" else []


def _varint(data: bytes) -> int:
    value = 0
    for byte in data:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            break
    return value


def check_schema(
    base: sqlite3.Connection, path: Path, *, noun: str, do: str, tables: Collection[str] | None = None
) -> None:
    """Refuses what computes.

    Args:
        base: open, to read.
        path: its file.
        noun: what the database is, in errors.
        do: what the user can do.
        tables: views of these names and triggers on them are refused; None refuses all.

    Raises:
        StudyError: it holds views, triggers, virtual tables, computed columns or computed indexes.
    """
    found = []
    for kind, name, table, place in base.execute("select type, name, tbl_name, rootpage from sqlite_master"):
        odd = kind if kind in ("view", "trigger") else "virtual table" if kind == "table" and not place else ""
        named = str(name if odd == "view" else table).lower()
        if odd and (tables is None or named in tables or odd == "virtual table"):
            raise StudyError(f"holds a {odd} ({name}), which no {noun} has", where=str(path), do=do)
        if kind == "table":
            found.append(name)
    for name in found:
        if base.execute("select 1 from pragma_table_xinfo(?) where hidden <> 0", (name,)).fetchone():
            raise StudyError(f"holds computed columns (in {name}), which no {noun} has", where=str(path), do=do)
        computed = "select 1 from pragma_index_list(?) l, pragma_index_xinfo(l.name) x where x.cid = -2 or l.partial"
        if base.execute(computed, (name,)).fetchone():
            raise StudyError(f"holds a computed index (of {name}), which no {noun} has", where=str(path), do=do)
