"""Signals turned into a request that long work looks at between two steps."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class StopRequest:
    """How urgently somebody asked for an end: 0 not at all, 1 finish what you are at, 2 stop at the next step."""

    def __init__(self) -> None:
        self.level = 0

    @property
    def at_next_step(self) -> bool:
        """True if work should end at the next step."""
        return self.level >= 2

    def ask(self, level: int) -> None:
        """Asks for an end, at least this urgently."""
        self.level = max(self.level, level)


@contextlib.contextmanager
def stop_on_signals(*, patient: bool = False) -> Iterator[StopRequest]:
    """Turns SIGINT and SIGTERM into a StopRequest while the block runs.

    Args:
        patient: the first SIGINT asks to finish what is going on (level 1), the second to stop at the next step. Else
            the first one does. SIGTERM always asks to stop at the next step.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        request.ask(1 if patient and request.level == 0 else 2)

    def terminate(_number: int, _frame: FrameType | None) -> None:
        request.ask(2)

    before = {signal.SIGINT: signal.signal(signal.SIGINT, interrupt)}
    before[signal.SIGTERM] = signal.signal(signal.SIGTERM, terminate)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
