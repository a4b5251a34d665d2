"""What happens while a run goes on: lines and progress for people, `run.jsonl` for programs."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from imagematch.files import make_dir, write_error

Advance = Callable[[int], None]
"""Tells a progress display that so many more units are done."""

_LINE_EVERY_S = 10.0


class RunLog:
    """Reports events as console lines (with a live bar on a terminal) and in `run.jsonl`, one JSON object a line.

    Args:
        path: the `run.jsonl` to append to; None keeps no file.
        stream: where lines for people go; None is silent.
    """

    def __init__(self, path: Path | None = None, stream: TextIO | None = None) -> None:
        self._path = path
        self._stream = stream

    def event(self, kind: str, message: str | None = None, **fields: Any) -> None:
        """Records an event; `message` is also shown to people. `fields` must be JSON values.

        Raises:
            StudyError: `run.jsonl` cannot be written.
        """
        if self._path is not None:
            record = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": kind, **fields}
            if message is not None:
                record["message"] = message
            line = json.dumps(_finite(record), default=str, allow_nan=False) + "\n"
            make_dir(self._path.parent)
            try:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(line)
            except OSError as error:
                raise write_error(self._path, error) from error
        if message is not None:
            self.say(message)

    def say(self, message: str) -> None:
        """Prints one console line that is not recorded; control characters in it are escaped."""
        if self._stream is not None:
            print(printable(message).replace("\n", "\\n"), file=self._stream, flush=True)

    @contextlib.contextmanager
    def progress(self, what: str, total: int) -> Iterator[Advance]:
        """Shows how far `what` is of `total`: a live bar on a terminal, else a line every ten seconds."""
        if self._stream is None or total <= 0:
            yield lambda _count: None
        elif self._stream.isatty():
            with _bar(what, total, self._stream) as advance:
                yield advance
        else:
            yield self._lines(what, total)

    def _lines(self, what: str, total: int) -> Advance:
        done, started = 0, time.monotonic()
        told = started

        def advance(count: int) -> None:
            nonlocal done, told
            done += count
            now = time.monotonic()
            if now - told >= _LINE_EVERY_S:
                told = now
                self.say(f"{what}: {done:,} of {total:,} ({done / (now - started):,.0f}/s)")

        return advance


class EachEventOnce(RunLog):
    """Forwards each distinct event to another log only once, for a folder that is scanned twice."""

    def __init__(self, log: RunLog) -> None:
        super().__init__()
        self._log = log
        self._told: set[tuple[str, str | None]] = set()

    def event(self, kind: str, message: str | None = None, **fields: Any) -> None:
        """See RunLog."""
        if (kind, message) not in self._told:
            self._told.add((kind, message))
            self._log.event(kind, message, **fields)

    def say(self, message: str) -> None:
        """See RunLog; this is always passed on."""
        self._log.say(message)

    @contextlib.contextmanager
    def progress(self, what: str, total: int) -> Iterator[Advance]:
        """See RunLog; this is always passed on."""
        with self._log.progress(what, total) as advance:
            yield advance


@contextlib.contextmanager
def _bar(what: str, total: int, stream: TextIO) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=stream), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


def _finite(value: Any) -> Any:
    """The same value with null for NaN and infinity, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def printable(text: str) -> str:
    """`text` with control characters (escape codes, carriage returns) shown as escapes; line feeds and tabs stay."""
    return "".join(c if c in "\n\t" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)


SILENT = RunLog()
"""A log that tells nobody: the default in library functions."""


def console_log(path: Path | None = None) -> RunLog:
    """The log of a command: lines on standard output, events in `path`."""
    return RunLog(path, sys.stdout)
