"""Parquet: read by a large C++ library whose columns unpack to any size, so in a process of its own, with limits."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from imagematch.errors import DataError, ModelError
from imagematch.files import os_reason
from imagematch.limited_process import run_limited
from imagematch.reading import MAX_LINES, MB, TABLE_BYTES, check_file, text_lines

_ADDRESS_BYTES = 640 * MB
"""Of a process that has loaded the library, 340 MB measured, and for a table."""
_MEMORY_PER_BYTE = 20
_TIME_S = 300
_ROWS_AT_ONCE = 4096
_INDEX = re.compile(r"__index_level_\d+__")
"""A column that pandas adds."""


def parquet_rows(table: Path) -> Iterator[tuple[str, list[str]]]:
    """As `table_rows`.

    Raises:
        DataError: the file cannot be read, unpacks to far more than a table, or pyarrow is missing; names it.
    """
    if find_spec("pyarrow") is None:
        do = "pip install 'imagematch[parquet]', or save it as CSV"
        raise DataError("Parquet needs pyarrow", where=str(table), do=do)
    try:
        check_file(table, max_bytes=TABLE_BYTES, dense=True)
        size = table.stat().st_size
    except OSError as error:
        raise DataError(f"cannot be read as Parquet: {os_reason(error)}", where=str(table)) from error
    with tempfile.TemporaryDirectory(prefix="imagematch-") as folder:
        rows = Path(folder) / "rows.jsonl"
        try:
            run_limited(
                "imagematch.sources.parquet_rows:write_rows",
                *(str(table.absolute()), str(rows)),
                memory_bytes=_ADDRESS_BYTES + _MEMORY_PER_BYTE * size,
                time_s=_TIME_S,
                writes_bytes=TABLE_BYTES + MB,
                where=table,
            )
        except ModelError as error:
            raise DataError(
                f"cannot be read as Parquet: {error.what}", where=str(table), do="save it as CSV"
            ) from error
        for number, line in enumerate(text_lines(rows, max_bytes=TABLE_BYTES + MB)):
            yield f"{table}, row {number}" if number else str(table), json.loads(line)


def write_rows(table: str, target: str) -> None:
    """Writes the names of a table's columns, in lower case, and the text of each row: lists in JSON, one a line."""
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # the others reserve address space by the gigabyte
    import pyarrow

    try:
        lines = _lines(table)
        left = TABLE_BYTES
        with Path(target).open("w", encoding="utf-8") as file:
            for values in lines:
                line = json.dumps(values, ensure_ascii=False) + "\n"
                left -= len(line)
                if left < 0:
                    raise DataError(f"more than {TABLE_BYTES:,} bytes of text", where=table)
                file.write(line)
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, LookupError, RuntimeError) as error:
        raise DataError(f"{error}"[:500], where=table) from error
    except MemoryError as error:
        raise DataError("takes too much memory", where=table) from error


def _lines(table: str) -> Iterator[list[str]]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    pyarrow.set_cpu_count(1)
    with ParquetFile(table) as file:
        facts, texts = file.metadata, [field.name for field in file.schema_arrow if _is_text(field.type)]
    groups = [facts.row_group(number) for number in range(facts.num_row_groups)]
    chunks = (group.column(number) for group in groups for number in range(group.num_columns))
    if facts.num_rows > MAX_LINES or sum(chunk.total_uncompressed_size for chunk in chunks) > TABLE_BYTES:
        raise ValueError(f"more than {MAX_LINES:,} rows or {TABLE_BYTES:,} bytes")
    # a text that is in the file once is in memory once, however many rows have it
    with ParquetFile(table, read_dictionary=texts, pre_buffer=False) as file:
        names = [name for name in file.schema_arrow.names if not _INDEX.fullmatch(name)]
        yield [name.strip().lower() for name in names]
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=names, use_threads=False):
            yield from map(list, zip(*map(_texts, batch.columns), strict=True))


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind))


def _texts(column: Any) -> list[str]:
    """The values of a column as text, "" for none."""
    if hasattr(column, "dictionary"):
        used = column.indices.drop_null().unique()
        own = dict(zip(used.to_pylist(), _texts(column.dictionary.take(used)), strict=True))
        return [own.get(row, "") for row in column.indices.to_pylist()]
    return ["" if value is None else str(value) for value in column.to_pylist()]
