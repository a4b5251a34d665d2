"""A study's SQLite file: looked at before Optuna does, since anybody may have written it, and opened with bounds.

A database is a program as well: its views run without end, its triggers write, its generated columns compute, and its
journal names files that SQLite deletes. A study has none of them.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imagematch.errors import StudyError
from imagematch.files import read_error
from imagematch.reading import GB, KB, MB, RefusedFileError, open_file

STUDY_FILE_BYTES = 4 * GB
"""A study of 5,000 trials takes some 20 MB."""
MAGIC = b"SQLite format 3\x00"

_VALUE_BYTES = 16 * MB
_SCHEMA_BYTES = 256 * KB
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
_MOST_STUDIES, _MOST_TRIALS = 1000, 100_000
_ROWS, _ROWS_A_TRIAL = 100_000, 2000
_TEXT_BYTES, _TEXT_BYTES_A_TRIAL = 16 * MB, 64 * KB
_PARTS, _PARTS_A_TRIAL = 500_000, 400
_FEW_BYTES = 2 * MB
_AGAIN = "restore it from a backup, or choose another study_name"
_TEXTS = (
    ("studies", "study_name"),
    *(
        (f"{of}_{whose}_attributes", column)
        for of in ("study", "trial")
        for whose in ("user", "system")
        for column in ("key", "value_json")
    ),
    ("trial_params", "param_name"),
    ("trial_params", "distribution_json"),
)

_OTHERS = "alembic_version studies study_directions trial_heartbeats trial_intermediate_values trial_values trials"
_TABLES = {*_OTHERS.split(), "version_info", *(table for table, _ in _TEXTS)}


class BoundedConnection(sqlite3.Connection):
    """A connection in which no value is longer than 16 MB and nothing that the file says is computed."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _VALUE_BYTES)
        for pragma in ("trusted_schema = off", "cell_size_check = on", "ignore_check_constraints = on"):
            self.execute(f"pragma {pragma}")


def first_bytes(path: Path) -> bytes:
    """The first bytes of a file; b"" of one that is not there.

    Raises:
        StudyError: it is no regular file, too large, or cannot be read.
    """
    try:
        with open_file(path, max_bytes=STUDY_FILE_BYTES) as file:
            return file.read(len(MAGIC))
    except FileNotFoundError:
        return b""
    except RefusedFileError as error:
        raise StudyError(
            str(error.strerror), where=str(path), do="move it away, or choose another study_name"
        ) from error
    except OSError as error:
        raise read_error(path, error) from error


def check_database(path: Path) -> None:
    """Refuses a SQLite file that is more, or far larger, than a study; nothing is written.

    Raises:
        StudyError: it holds views, triggers or computed columns, values without measure, or its journal names other
            files.
        sqlite3.Error: it is damaged.
    """
    _check_files_beside(path)
    _check_schema_size(path)
    with contextlib.closing(
        sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, factory=BoundedConnection)
    ) as base:
        try:
            _check_schema(base, path)
            _check_contents(base, path)
        except (sqlite3.DataError, MemoryError) as error:  # SQLITE_TOOBIG
            raise _too_much(path, f"a value of more than {_VALUE_BYTES:,} bytes") from error


def _check_files_beside(path: Path) -> None:
    """The journal and the write-ahead log, which SQLite opens by their names.

    A journal may end in the name of another one; SQLite deletes that file when it has read it.
    """
    for suffix in ("-journal", "-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if not os.path.lexists(beside):
            continue
        try:
            with open_file(beside, max_bytes=STUDY_FILE_BYTES) as file:
                length = file.seek(0, os.SEEK_END)
                file.seek(max(0, length - len(_JOURNAL_MAGIC)))
                names_another = suffix == "-journal" and length > 512 and file.read() == _JOURNAL_MAGIC
        except FileNotFoundError:  # its writer has ended
            continue
        except OSError as error:
            raise read_error(beside, error) from error
        if names_another:
            raise StudyError("names other files, which no study's does", where=str(beside), do="move it away")


def _check_schema_size(path: Path) -> None:
    """Refuses a schema that is large, before SQLite parses all of it."""
    try:
        with open_file(path, max_bytes=STUDY_FILE_BYTES) as file:
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
        raise _too_much(path, f"a description of more than {_SCHEMA_BYTES:,} bytes")


def _cells(page: bytes, start: int) -> tuple[list[int], list[int]]:
    """Of a page of the table of tables: the pages below it, and the sizes of its own rows. A broken one has neither."""
    kind, count = page[start : start + 1], int.from_bytes(page[start + 3 : start + 5], "big")
    first = start + (12 if kind == b"\x05" else 8)
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


def _check_schema(base: sqlite3.Connection, path: Path) -> None:
    tables = []
    for kind, name, table, place in base.execute("select type, name, tbl_name, rootpage from sqlite_master"):
        odd = kind if kind in ("view", "trigger") else "virtual table" if kind == "table" and not place else ""
        if odd and ((str(name).lower() if odd == "view" else str(table).lower()) in _TABLES or odd == "virtual table"):
            raise StudyError(f"holds a {odd} ({name}), which no study has", where=str(path), do=_AGAIN)
        if kind == "table":
            tables.append(name)
    for name in tables:
        if base.execute("select 1 from pragma_table_xinfo(?) where hidden <> 0", (name,)).fetchone():
            raise StudyError(f"holds computed columns (in {name}), which no study has", where=str(path), do=_AGAIN)
        computed = "select 1 from pragma_index_list(?) l, pragma_index_xinfo(l.name) x where x.cid = -2 or l.partial"
        if base.execute(computed, (name,)).fetchone():
            raise StudyError(f"holds a computed index (of {name}), which no study has", where=str(path), do=_AGAIN)


def _check_contents(base: sqlite3.Connection, path: Path) -> None:
    """Bounds what reading the study can cost by the number of its trials."""
    tables = {name for (name,) in base.execute("select name from sqlite_master where type = 'table'")}
    if "version_info" not in tables:  # another program's, which is not read
        return

    def count(table: str) -> int:
        return int(base.execute(f"select count(*) from {table}").fetchone()[0]) if table in tables else 0

    trials = count("trials")
    limits = {"studies": _MOST_STUDIES, "trials": _MOST_TRIALS}
    for table in ("studies", "trials", "study_directions", "trial_values", "trial_intermediate_values"):
        most = limits.get(table, _ROWS + _ROWS_A_TRIAL * trials)
        if (rows := count(table)) > most:
            raise _too_much(path, f"{rows:,} {table.replace('_', ' ')}, and {most:,} are the most")
    there = [(table, column) for table, column in _TEXTS if table in tables]
    sums = [(table, column, _summed(base, table, f"length(cast({column} as blob))")) for table, column in there]
    most = _TEXT_BYTES + _TEXT_BYTES_A_TRIAL * trials
    if (total := sum(size for _, _, size in sums)) > most:
        raise _too_much(path, f"{total:,} bytes of attributes, and {most:,} are the most for {trials:,} trials")
    if total > _FEW_BYTES:  # a text of so many brackets takes thirty times its size when it is read
        plain = "length({0}) - length(replace(replace(replace({0}, ',', ''), '[', ''), '{{', ''))"
        parts = sum(_summed(base, table, plain.format(column)) for table, column, _ in sums)
        if parts > _PARTS + _PARTS_A_TRIAL * trials:
            raise _too_much(path, f"attributes of {parts:,} parts")


def _summed(base: sqlite3.Connection, table: str, expression: str) -> int:
    return int(base.execute(f"select coalesce(sum({expression}), 0) from {table}").fetchone()[0])


def _too_much(path: Path, what: str) -> StudyError:
    return StudyError(f"holds {what}, which no study has", where=str(path), do=_AGAIN)


@contextlib.contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection for copying a file as it is, bounded as all are."""
    with contextlib.closing(sqlite3.connect(path, factory=BoundedConnection)) as connection:
        yield connection
