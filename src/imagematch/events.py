"""What happens while a run goes on: lines and progress for people, `run.jsonl` for programs."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO

from imagematch.files import make_dir, write_error

Level = Literal["detail", "info", "warning"]
"""How much a message matters: detail is shown with --verbose only, warning with --quiet, too."""

_LEVELS: tuple[Level, ...] = ("detail", "info", "warning")
_SHOWN_AFTER_S = 2.0
_LINE_EVERY_S = 30.0
_LINE_EVERY_SHARE = 0.1


class Advance:
    """Tells a progress display that so many more units are done; this one shows nothing."""

    def __call__(self, count: int = 1, note: str = "") -> None:
        """Adds `count`; `note` is what else is to be shown beside it from now on, as the best value so far."""

    def skip(self, count: int) -> None:
        """Adds what was done before, which says nothing about the time that is left."""


class _Pace(Advance):
    """Counts, and estimates the time left from what was done since the start."""

    def __init__(self, what: str, total: int, clock: Callable[[], float], changed: Callable[[_Pace], None]) -> None:
        self.what, self.total, self.done, self.note = what, total, 0, ""
        self._clock, self._changed = clock, changed
        self._started = self._advanced = self.told_s = clock()
        self._skipped = self.told = 0

    def __call__(self, count: int = 1, note: str = "") -> None:
        self.done += count
        self.note = note or self.note
        self._advanced = self._clock()
        self._changed(self)

    def skip(self, count: int) -> None:
        self.done += count
        self._skipped += count
        self.told = self.done

    @property
    def elapsed_s(self) -> float:
        return self._clock() - self._started

    @property
    def rest(self) -> str:
        """The note, and the time left where it can be estimated."""
        fresh = self.done - self._skipped
        if fresh <= 0 or self.done >= self.total:
            return self.note
        per_unit = (self._advanced - self._started) / fresh
        left = max(0.0, per_unit * (self.total - self.done) - (self._clock() - self._advanced))
        return ", ".join(text for text in (self.note, f"{time_text(left)} left") if text)

    def line_is_due(self) -> bool:
        """Whether a line is to be written where there is no terminal: about every 30 s, or every 10 %."""
        now = self._clock()
        since, share = now - self.told_s, (self.done - self.told) / self.total
        due = since >= _LINE_EVERY_S or (since >= _SHOWN_AFTER_S and share >= _LINE_EVERY_SHARE)
        if due and self.done < self.total:
            self.told_s, self.told = now, self.done
            return True
        return False


class RunLog:
    """Reports events as console lines (with live bars on a terminal) and in `run.jsonl`, one JSON object a line.

    Args:
        path: the `run.jsonl` to append to; None keeps no file.
        stream: where lines for people go; None is silent.
        shows: the least level that people are shown; `run.jsonl` has everything.
        clock: seconds, for progress.
    """

    def __init__(
        self,
        path: Path | None = None,
        stream: TextIO | None = None,
        *,
        shows: Level = "info",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._stream = stream
        self._shows = shows
        self._clock = clock
        self._bars: Any = None

    def recorded_in(self, path: Path) -> RunLog:
        """The same for people, with events in `path`."""
        return RunLog(path, self._stream, shows=self._shows, clock=self._clock)

    def event(self, kind: str, message: str | None = None, *, level: Level = "info", **fields: Any) -> None:
        """Records an event; `message` is also shown to people. `fields` must be JSON values.

        Raises:
            StudyError: `run.jsonl` cannot be written.
        """
        if self._path is not None:
            record = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": kind, **fields}
            if message is not None:
                record["message"] = message
            line = json.dumps(finite(record), default=str, allow_nan=False) + "\n"
            make_dir(self._path.parent)
            try:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(line)
            except OSError as error:
                raise write_error(self._path, error) from error
        if message is not None:
            self.say(message, level)

    def say(self, message: str, level: Level = "info") -> None:
        """Prints one console line that is not recorded; control characters in it are escaped."""
        if self._stream is None or _LEVELS.index(level) < _LEVELS.index(self._shows):
            return
        line = printable(message).replace("\n", "\\n")
        if self._bars is None:
            print(line, file=self._stream, flush=True)
        else:
            self._bars.console.print(line, markup=False, highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def progress(self, what: str, total: int) -> Iterator[Advance]:
        """Shows how far `what` is of `total`, and the time left, once it has taken two seconds.

        On a terminal that is a live bar, else a line about every 30 seconds or every tenth of the work.
        """
        if self._stream is None or total <= 0 or self._shows == "warning":
            yield Advance()
        elif not self._stream.isatty():
            yield _Pace(what, total, self._clock, self._tell_pace)
        else:
            if self._bars is None:
                self._bars = _live_bars(self._stream)
                self._bars.start()
            pace = _Pace(what, total, self._clock, lambda pace: self._bars.update(task, completed=pace.done))
            task = self._bars.add_task(what, total=total, pace=pace)
            try:
                yield pace
            finally:
                self._bars.remove_task(task)
                if not self._bars.tasks:
                    self._bars.stop()
                    self._bars = None

    def _tell_pace(self, pace: _Pace) -> None:
        if pace.line_is_due():
            rest = f" ({pace.rest})" if pace.rest else ""
            self.say(f"{pace.what}: {pace.done:,} of {pace.total:,}{rest}")


class EachEventOnce(RunLog):
    """Forwards each distinct event to another log only once, for a folder that is scanned twice."""

    def __init__(self, log: RunLog) -> None:
        super().__init__()
        self._log = log
        self._told: set[tuple[str, str | None]] = set()

    def event(self, kind: str, message: str | None = None, *, level: Level = "info", **fields: Any) -> None:
        """See RunLog."""
        if (kind, message) not in self._told:
            self._told.add((kind, message))
            self._log.event(kind, message, level=level, **fields)

    def say(self, message: str, level: Level = "info") -> None:
        """See RunLog; this is always passed on."""
        self._log.say(message, level)

    @contextlib.contextmanager
    def progress(self, what: str, total: int) -> Iterator[Advance]:
        """See RunLog; this is always passed on."""
        with self._log.progress(what, total) as advance:
            yield advance


def _live_bars(stream: TextIO) -> Any:
    """Rich's progress display on a terminal: a line for each work that has gone on for two seconds."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task
    from rich.text import Text

    class Words(ProgressColumn):
        max_refresh = 0.5

        def render(self, task: Task) -> Text:
            return Text(task.fields["pace"].rest)

    class What(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(printable(task.description))

    class Late(Progress):
        def get_renderables(self) -> Iterator[Any]:
            shown = [task for task in self.tasks if task.fields["pace"].elapsed_s >= _SHOWN_AFTER_S]
            if shown:
                yield self.make_tasks_table(shown)

    return Late(
        What(), BarColumn(bar_width=24), MofNCompleteColumn(), Words(), console=Console(file=stream), transient=True
    )


def time_text(seconds: float) -> str:
    """A rough time in words: 40 s, 3 min, 2 h 10 min."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def finite(value: Any) -> Any:
    """The same value with null for NaN and infinity, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(inner) for key, inner in value.items()}
    return [finite(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def printable(text: str) -> str:
    """`text` with control characters (escape codes, carriage returns) shown as escapes; line feeds and tabs stay."""
    return "".join(c if c in "\n\t" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)


SILENT = RunLog()
"""A log that tells nobody: the default in library functions."""
