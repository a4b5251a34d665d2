"""A worker's process, seen from both ends: the supervisor's handle on it, and what it runs.

`python -m imagematch.tuning.worker_process` reads a `WorkerJob`, a line of JSON, from its input, then stop requests, a
level a line; it writes what it logs, a JSON object a line, to its output. It needs no answers: the study is all that
workers share. The end of its input is the end of the supervisor, which it does not outlive.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TextIO

from imagematch.config import StudySettings
from imagematch.errors import ImagematchError, InterruptedRunError
from imagematch.events import Advance, Level, RunLog
from imagematch.files import make_dir, write_error
from imagematch.interruption import StopRequest
from imagematch.processor import choose_sorts_of_numpy
from imagematch.tuning.failures import error_json
from imagematch.tuning.study import WorkerJob, open_study
from imagematch.tuning.trainer import Trainer
from imagematch.tuning.worker import TrialTrainer, Worker

WORKER = "imagematch.tuning.worker_process"
"""The module that a worker's process runs."""
ERROR, PROGRESS = "error", "progress"
RENEW = 75
"""Exit code of a worker that is to be renewed."""

_SEND_EVERY_S = 0.2

MakeTrainer = Callable[[StudySettings, Path, RunLog], TrialTrainer]

# ---- the supervisor's end


class WorkerProcess:
    """A worker's process; what it logs is put on `events` with the worker, and None at its end."""

    def __init__(
        self, job: WorkerJob, log_path: Path, threads: int | None, events: queue.SimpleQueue[tuple[Any, Any]]
    ) -> None:
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONUNBUFFERED": "1"}
        choose_sorts_of_numpy(environment)
        if threads is not None:
            # not OpenVINO's: of several workers one computes features, and the others wait for them
            for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "OPENBLAS_NUM_THREADS"):
                environment[name] = str(threads)
        make_dir(log_path.parent)
        try:
            with log_path.open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", WORKER],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=environment,
                )
        except OSError as error:
            raise write_error(log_path, error) from error
        self.pid = self._process.pid
        self._send(job.to_json().encode() + b"\n")
        threading.Thread(target=self._read, args=(events,), daemon=True).start()

    def _send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which its output tells
            self._process.stdin.write(data)
            self._process.stdin.flush()

    def _read(self, events: queue.SimpleQueue[tuple[Any, Any]]) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                with contextlib.suppress(ValueError):  # cut off by its death
                    events.put((self, json.loads(line)))
        events.put((self, None))

    def request_stop(self, level: int) -> None:
        """Passes a stop request on."""
        self._send(f"{level}\n".encode())

    def request_end(self) -> None:
        """Closes the worker's input, at whose end it ends at once."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def close(self, wait_s: float) -> int:
        """Ends the worker, which is killed if it has not ended within `wait_s`; returns its exit code."""
        self.request_end()
        try:
            return self._process.wait(timeout=wait_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    @staticmethod
    def reason(code: int) -> str:
        """Why a worker died, from its exit code."""
        if code == -signal.SIGKILL:
            return "the worker was killed (signal 9): out of memory, or by hand"
        return f"the worker ended by signal {-code}" if code < 0 else f"the worker ended with code {code}"


# ---- the worker's end


class EventLines(RunLog):
    """A log whose events go to the supervisor, as one JSON object a line."""

    def __init__(self, output: TextIO) -> None:
        super().__init__()
        self._output = output
        self._writing = threading.Lock()

    def event(self, kind: str, message: str | None = None, *, level: Level = "info", **fields: Any) -> None:
        """See RunLog."""
        self._write({"kind": kind, "message": message, "level": level, "fields": fields})

    def error(self, error: ImagematchError) -> None:
        """Sends the error that ends the worker, for the supervisor to raise."""
        self._write({"kind": ERROR, "error": error_json(error)})

    def _write(self, value: dict[str, Any]) -> None:
        with self._writing:
            self._output.write(json.dumps(value, default=str) + "\n")
            self._output.flush()

    def say(self, message: str, level: Level = "info") -> None:
        """See RunLog."""
        self.event("", message, level=level)

    @contextlib.contextmanager
    def progress(self, what: str, total: int) -> Iterator[Advance]:
        """See RunLog; it is the supervisor that shows it."""
        named = {"kind": PROGRESS, "what": what, "total": total}
        sent = _Sent(lambda count, note: self._write({**named, "count": count, "note": note}))
        try:
            yield sent
        finally:
            self._write({**named, "count": None})


class _Sent(Advance):
    """Passes on what was done, a few times a second."""

    def __init__(self, send: Callable[[int, str], None]) -> None:
        self._send = send
        self._count = 0
        self._sent_s = 0.0

    def __call__(self, count: int = 1, note: str = "") -> None:
        self._count += count
        if time.monotonic() - self._sent_s >= _SEND_EVERY_S:
            self._send(self._count, note)
            self._count, self._sent_s = 0, time.monotonic()


def train_trials(make_trainer: MakeTrainer = Trainer) -> NoReturn:
    """Works on the study of the job read from stdin. Signals to the whole process group are ignored."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever prints goes to the log file, not between the events
    log, stop = EventLines(lines), StopRequest()
    job = WorkerJob.from_json(sys.stdin.buffer.readline())
    workers: list[Worker] = []
    threading.Thread(target=_listen, args=(sys.stdin.buffer, stop, workers), daemon=True).start()
    try:
        study = open_study(job.settings, job.layout, log=log, stop=stop)
        trainer = make_trainer(job.settings, job.layout.manifests, log)
        workers.append(Worker(study, job, trainer, log=log, stop=stop))
        code = 0 if workers[0].run() else RENEW
    except ImagematchError as error:
        code = error.exit_code
        if not isinstance(error, InterruptedRunError):
            log.error(error)
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)  # at once: tearing TensorFlow down takes longer than some trials


def _listen(commands: BinaryIO, stop: StopRequest, workers: list[Worker]) -> None:
    """Reads stop requests, one level a line; end of input means that the supervisor has ended."""
    for line in commands:
        stop.ask(int(line))
        if any(worker.preparing for worker in workers):
            os._exit(InterruptedRunError.exit_code)  # what is computed of the features is cached
    os._exit(InterruptedRunError.exit_code)


if __name__ == "__main__":
    train_trials()
