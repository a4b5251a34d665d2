"""Tables cached in a file: a header line that says what it is, with a digest, and a line of columns, both JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from imagematch.events import RunLog
from imagematch.files import digest_bytes, replacing
from imagematch.reading import GB, check_file, read_file

_FILE_BYTES = 4 * GB
"""Of ten million images."""

_Parsed = TypeVar("_Parsed")


def load_table(
    path: Path, kind: Mapping[str, Any], parse: Callable[[dict[str, Any]], _Parsed], log: RunLog
) -> _Parsed | None:
    """Reads a table that `save_table` wrote.

    Args:
        path: its file.
        kind: what its header must say.
        parse: makes the table of its columns; may raise ValueError, KeyError or TypeError.
        log: gets an event where the file is damaged.

    Returns:
        The table; None where the file is not there, torn, tampered with, or of another kind.
    """
    try:
        check_file(path, max_bytes=_FILE_BYTES, dense=True)
        header_line, _, body = read_file(path, max_bytes=_FILE_BYTES).partition(b"\n")
    except FileNotFoundError:
        return None
    except OSError:
        header_line, body = b"", b""
    try:
        header = json.loads(header_line)
        intact = header["digest"] == digest_bytes(body)
        if intact and all(header[name] == value for name, value in kind.items()):
            return parse(json.loads(body))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        intact = False
    if not intact:
        log.event("manifest_rebuilt", f"{path} is damaged and is rebuilt", path=str(path), level="warning")
    return None


def save_table(path: Path, header: Mapping[str, Any], columns: Mapping[str, Sequence[Any]]) -> None:
    """Writes a table in one step. Raises StudyError where it cannot be written."""
    body = json.dumps(columns).encode()
    first = json.dumps({**header, "digest": digest_bytes(body)}).encode()
    with replacing(path) as temporary:
        temporary.write_bytes(first + b"\n" + body)
