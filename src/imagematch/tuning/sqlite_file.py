"""A study's SQLite file: looked at before Optuna does, since anybody may have written it, and opened with bounds."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from imagematch.errors import StudyError
from imagematch.files import read_error
from imagematch.reading import GB, KB, MB, RefusedFileError, open_file
from imagematch.sqlite_files import VALUE_BYTES, BoundedConnection, check_files_beside, check_schema, check_schema_size

STUDY_FILE_BYTES = 4 * GB
"""A study of 5,000 trials takes some 20 MB."""
MAGIC = b"SQLite format 3\x00"

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
    """Raises StudyError for an SQLite file that holds more than a study, or is far larger.

    Nothing is written, but that SQLite rolls back what a kill left of a transaction: a connection that may not write
    refuses a file with such a journal.

    Raises:
        StudyError: it holds views, triggers or computed columns, values without measure, or its journal names other
            files.
        sqlite3.Error: it is damaged.
    """
    check_files_beside(path, max_bytes=STUDY_FILE_BYTES, noun="study")
    check_schema_size(path, max_bytes=STUDY_FILE_BYTES, noun="study", do=_AGAIN)
    mode = "rw" if path.with_name(f"{path.name}-journal").exists() else "ro"
    with contextlib.closing(
        sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, factory=BoundedConnection)
    ) as base:
        try:
            check_schema(base, path, noun="study", do=_AGAIN, tables=_TABLES)
            _check_contents(base, path)
        except (sqlite3.DataError, MemoryError) as error:  # SQLITE_TOOBIG
            raise _too_much(path, f"a value of more than {VALUE_BYTES:,} bytes") from error


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
