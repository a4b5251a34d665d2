"""The parent's handle on a worker process: start, tasks out, events in, renewal, end."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagematch.errors import StudyError
from imagematch.files import make_dir, write_error

WORKER = "imagematch.tuning.worker"
"""The module a child runs."""
RENEW_AFTER_TASKS = 25


class Child:
    """One worker process, started when it is first given a task.

    Args:
        manifest_dir: where manifests are kept.
        log_path: where whatever the process prints goes.
        threads: how many threads it may use; None lets it choose.
        selector: told which pipe to watch; its key's data is this object.
    """

    def __init__(
        self, manifest_dir: Path, log_path: Path, threads: int | None, selector: selectors.BaseSelector
    ) -> None:
        self._manifest_dir = manifest_dir
        self._log_path = log_path
        self._threads = threads
        self._selector = selector
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""
        self._tasks = 0

    def begin(self, task: Mapping[str, Any]) -> None:
        """Gives a task, to a new process where the present one has had many: what they left in memory goes with it."""
        if self._tasks >= RENEW_AFTER_TASKS:
            self.close()
        self.give(task)
        self._tasks += 1

    def give(self, message: Mapping[str, Any]) -> None:
        """Sends a message; starts the process if there is none. A process that is gone is noticed by `receive`."""
        process = self._process or self._start()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            return

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONUNBUFFERED": "1"}
        if self._threads is not None:
            # not OpenVINO's: of several workers one computes features, and the others wait for them
            for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "OPENBLAS_NUM_THREADS"):
                environment[name] = str(self._threads)
        make_dir(self._log_path.parent)
        try:
            with self._log_path.open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", WORKER, str(self._manifest_dir)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=environment,
                )
        except OSError as error:
            raise write_error(self._log_path, error) from error
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._selector.register(self._process.stdout, selectors.EVENT_READ, self)
        self._buffer = b""
        self._tasks = 0
        return self._process

    def receive(self) -> tuple[list[dict[str, Any]], str]:
        """The events that have arrived, and why the process died (empty while it lives)."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        data = process.stdout.read()
        died = ""
        if data == b"":
            died = self._bury()
        self._buffer += data or b""
        *lines, self._buffer = self._buffer.split(b"\n")
        return [json.loads(line) for line in lines], died

    def _bury(self) -> str:
        process = self._process
        assert process is not None
        code = process.wait()
        self._forget()
        if code == -signal.SIGKILL:
            return "the worker was killed (signal 9): out of memory, or by hand"
        return f"the worker ended by signal {-code}" if code < 0 else f"the worker ended with code {code}"

    def _forget(self) -> None:
        process = self._process
        if process is not None:
            assert process.stdout is not None
            assert process.stdin is not None
            self._selector.unregister(process.stdout)
            process.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        self._process = None

    def ask_to_stop(self) -> None:
        """Asks the running task to end at its next step."""
        if self._process is not None:
            self.give({"stop": True})

    def close(self) -> None:
        """Ends the process and waits until it is gone: closing its input is enough; a stuck one is killed."""
        process = self._process
        if process is None:
            return
        self._forget()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def raise_error(event: Mapping[str, Any]) -> None:
    """Raises here the error that a child told."""
    from imagematch import errors

    kind = getattr(errors, event["kind"], errors.StudyError)
    if not issubclass(kind, errors.ImagematchError):
        kind = StudyError
    raise kind(event["what"], where=event["where"], do=event["do"])
