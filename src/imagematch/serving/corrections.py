"""`corrections.csv`: what people said of images, a row an answer, the last of which can be taken back."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from imagematch.errors import DataError, StudyError
from imagematch.file_locks import locked
from imagematch.files import os_reason, write_text
from imagematch.reading import MB, read_file

CORRECTIONS_BYTES = 64 * MB
ANSWERS = ("same", "different", "not sure", "wrong label", "delete")


class Correction(NamedTuple):
    """An answer: the digests and labels of the image and of the one it was compared with ("" for none), their distance,
    one of `ANSWERS`, and when it was given (ISO 8601, UTC). "wrong label" and "delete" are said of the first image."""

    digest: str
    label: str
    other_digest: str
    other_label: str
    distance: str
    answer: str
    answered: str

    @property
    def pair(self) -> frozenset[str]:
        """The digests of its images."""
        return frozenset((self.digest, self.other_digest))


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
        try:
            text = read_file(self._path, max_bytes=CORRECTIONS_BYTES).decode("utf-8")
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            reason = os_reason(error) if isinstance(error, OSError) else "is not UTF-8 text"
            raise DataError(f"cannot be read: {reason}", where=str(self._path)) from error
        try:
            head, *rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
            if tuple(head) != Correction._fields:
                raise ValueError("another header")
            return [Correction._make(row) for row in rows]
        except (csv.Error, ValueError, TypeError) as error:
            raise DataError("is no table of corrections", where=str(self._path), do="name another file") from error

    def add(self, digest: str, label: str, other_digest: str, other_label: str, distance: float, answer: str) -> None:
        """Adds an answer. Raises StudyError where it cannot be written."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        row = Correction(digest, label, other_digest, other_label, f"{distance:.6f}", answer, now)
        with locked(self._lock):
            self._write([*self.read(), row])

    def undo(self) -> Correction | None:
        """Takes back the last answer, and gives it; None where there is none."""
        with locked(self._lock):
            rows = self.read()
            if rows:
                self._write(rows[:-1])
        return rows[-1] if rows else None

    def _write(self, rows: list[Correction]) -> None:
        file = io.StringIO(newline="")
        csv.writer(file).writerows([Correction._fields, *rows])
        if file.tell() > CORRECTIONS_BYTES:
            raise StudyError("is full", where=str(self._path), do="train with it, and begin a new one")
        write_text(self._path, file.getvalue())
