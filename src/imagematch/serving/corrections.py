"""The table of corrections that the review writes: a row an answer, the last of which can be taken back."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from pathlib import Path

from imagematch.data import Correction, read_corrections
from imagematch.errors import DataError, StudyError
from imagematch.file_locks import locked
from imagematch.files import write_text
from imagematch.reading import MB
from imagematch.sources import Table

_MOST_BYTES = 64 * MB
_MOST_LINES = 20


class Corrections:
    """The file. Threads and processes may share it: every change is made under its lock, and whole.

    Args:
        path: of the file, which need not be there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = path.with_name(f".{path.name}.lock")

    def read(self) -> list[Correction]:
        """All answers, in their order. Raises DataError where the file is something else."""
        return read_corrections(self._path) if self._path.exists() else []

    def add(self, correction: Correction) -> int:
        """Adds an answer; how many there are. Raises StudyError where it cannot be written, DataError as `read`."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with locked(self._lock):
            rows = [*self.read(), Correction(*map(_of_few_lines, correction._replace(answered=now)))]
            self._write(rows)
        return len(rows)

    def undo(self) -> tuple[Correction | None, int]:
        """Takes back the last answer: it, None where there is none, and how many are left."""
        with locked(self._lock):
            rows = self.read()
            if not rows:
                return None, 0
            self._write(rows[:-1])
        return rows[-1], len(rows) - 1

    def _write(self, rows: list[Correction]) -> None:
        if self._path.exists() and (others := Table(self._path, dict.fromkeys(Correction._fields, ())).unused):
            what = f"has columns that are not the review's own, as {others[0]!r}"
            raise DataError(what, where=str(self._path), do="name another file")
        file = io.StringIO(newline="")
        csv.writer(file, lineterminator="\n").writerows([Correction._fields, *rows])
        if file.tell() > _MOST_BYTES:
            raise StudyError("is full", where=str(self._path), do="train with it, and begin a new one")
        write_text(self._path, file.getvalue())


def _of_few_lines(text: str) -> str:
    """A label as it is, or in one line: a row over a hundred lines would be taken for a missing quotation mark."""
    lines = text.splitlines()
    return text if len(lines) <= _MOST_LINES else " ".join(lines)
