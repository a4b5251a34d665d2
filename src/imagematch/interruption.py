"""Signals turned into a stop request, which long work checks between two steps."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from imagematch.errors import InterruptedRunError

_LEAVE_S = 8.0
"""After SIGTERM a process that has not stopped by then ends where it is: what it has finished is saved."""


def interrupted() -> InterruptedRunError:
    """The error of a run that was stopped and can go on."""
    return InterruptedRunError("interrupted: nothing is lost", do="run the same command with --resume to go on")


class StopRequest:
    """The requested level of stopping: 0 none, 1 after the work in progress, 2 at the next step.

    Args:
        patient: the first Ctrl-C requests level 1; else level 2, for work that can be resumed where it was.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self.patient = patient
        self.level = 0
        self.raises = False

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """In the block, a signal ends the work immediately: for work that can be cut off anywhere without loss.

        Raises:
            InterruptedRunError: a stop was requested.
        """
        if self.at_next_step:
            raise interrupted()
        self.raises = True
        try:
            yield
        except KeyboardInterrupt as error:
            raise interrupted() from error
        finally:
            self.raises = False

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
            the first one does. SIGTERM always asks to stop at the next step, and ends the process after `_LEAVE_S`
            seconds: a step may be long, and what sends SIGTERM kills soon after.
    """
    request = StopRequest(patient=patient)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        request.ask(1 if request.patient and request.level == 0 and not request.raises else 2)
        if request.raises:
            raise KeyboardInterrupt

    leaving = threading.Timer(_LEAVE_S, _leave)
    leaving.daemon = True

    def terminate(_number: int, _frame: FrameType | None) -> None:
        request.ask(2)
        if leaving.ident is None:
            leaving.start()
        if request.raises:
            raise KeyboardInterrupt

    before = {signal.SIGINT: signal.signal(signal.SIGINT, interrupt)}
    before[signal.SIGTERM] = signal.signal(signal.SIGTERM, terminate)
    try:
        yield request
    finally:
        leaving.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave() -> None:
    error = interrupted()
    print(f"error: {error}", file=sys.stderr, flush=True)
    os._exit(error.exit_code)
