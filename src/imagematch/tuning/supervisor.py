"""Starts the workers of a study, renews them, shows what they log, passes stop requests on, and recovers their trials.

The supervisor never trains. So a worker that dies costs one trial, and memory that trainings leave behind goes with it.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import time
from typing import TYPE_CHECKING, Any

from imagematch.callbacks import Callbacks, TrialResult
from imagematch.config import StudySettings
from imagematch.errors import ImagematchError, InterruptedRunError, StudyError
from imagematch.events import Advance, RunLog
from imagematch.files import Layout
from imagematch.interruption import StopRequest, interrupted
from imagematch.tuning import attributes, optuna_internals
from imagematch.tuning.failures import error_of
from imagematch.tuning.locks import plan_lock
from imagematch.tuning.recovery import recover
from imagematch.tuning.reruns import rerun_study_of
from imagematch.tuning.study import WorkerJob
from imagematch.tuning.worker import Worker
from imagematch.tuning.worker_process import ERROR, PROGRESS, RENEW, WorkerProcess

if TYPE_CHECKING:
    import optuna

_STOP_WITHIN_S = 5.0
"""Well within the time that `stop_on_signals` leaves: the trials of killed workers are queued again after it."""
_IDLE_DEATHS_ALLOWED = 1
_AWAY, _BACK = "storage_away", "storage_back"


def run_workers(
    study: optuna.Study,
    settings: StudySettings,
    layout: Layout,
    *,
    log: RunLog,
    stop: StopRequest,
    workers: int = 1,
    threads: int | None = None,
    callbacks: Callbacks | None = None,
) -> None:
    """Runs workers until the study is complete: its baselines, its trials, and the reruns of the best.

    Args:
        study: Optuna's study, created by `open_study`.
        settings: what is searched.
        layout: where files go.
        log: where progress is logged.
        stop: level 1 finishes the running trials, level 2 ends them at their next step.
        workers: how many train at a time.
        threads: threads a worker may use; None lets it choose.
        callbacks: told of each trial that ends.

    Raises:
        InterruptedRunError: a stop was requested; the study can be resumed.
        ImagematchError: what a worker raised: the trials cannot be trained, or the storage cannot be written.
    """
    job = WorkerJob(settings, layout, first=len(study.get_trials(deepcopy=False)))
    whole = Worker(study, job)
    if not whole.is_complete():
        with _Supervisor(study, job, log, stop, threads, callbacks) as supervisor:
            supervisor.run(workers, whole.plan.target)


class _Supervisor:
    def __init__(
        self,
        study: optuna.Study,
        job: WorkerJob,
        log: RunLog,
        stop: StopRequest,
        threads: int | None,
        callbacks: Callbacks | None = None,
    ) -> None:
        self._study = study
        self._job = job
        self._log = log
        self._stop = stop
        self._threads = threads
        self._callbacks = callbacks or Callbacks()
        self._dir = job.layout.study_dir(job.settings.study_name)
        self._planning = functools.partial(plan_lock, study, self._dir / ".plan.lock", stop)
        self._events: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        self._workers: set[WorkerProcess] = set()
        self._without_storage: set[WorkerProcess] = set()
        self._idle_deaths = 0
        self._error: ImagematchError | None = None
        self._bars: dict[tuple[object, str], tuple[contextlib.ExitStack, Advance]] = {}
        self._finished = 0

    def __enter__(self) -> _Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the workers that still run: an error is on its way up. Their trials are queued again."""
        self._close_bars()
        if self._workers:
            for worker in self._workers:
                worker.request_end()
            deadline = time.monotonic() + 1.0  # for all: a process that got SIGTERM has little time left
            for worker in self._workers:
                worker.close(wait_s=max(0.0, deadline - time.monotonic()))
            with contextlib.suppress(Exception):  # should this fail too, whoever resumes does it
                self._recover()

    def run(self, workers: int, trials: int) -> None:
        """See `run_workers`."""
        self._finished = len(attributes.counted(self._study.get_trials(deepcopy=False)))
        self._bar(self, "trials", trials).skip(self._finished)
        for _ in range(workers):
            self._start()
        requested, deadline = 0, float("inf")
        while self._workers and time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                self._take(*self._events.get(timeout=0.2))
            level = 2 if self._error is not None else self._stop.level
            if level > requested:
                if level == 1:
                    self._log.say("stopping after the running trials; Ctrl-C again ends them at their next step")
                for worker in self._workers:
                    worker.request_stop(level)
                requested = level
                deadline = time.monotonic() + _STOP_WITHIN_S if level == 2 else deadline
        self.__exit__()
        self._workers.clear()
        if self._error is not None:
            raise self._error
        if self._stop.level:
            raise interrupted()

    def _start(self) -> None:
        self._workers.add(WorkerProcess(self._job, self._dir / "worker.log", self._threads, self._events))

    def _take(self, worker: WorkerProcess, event: dict[str, Any] | None) -> None:
        if event is None:
            self._close_bars(worker)
            if worker in self._workers:
                self._workers.remove(worker)
                self._ended(worker, worker.close(wait_s=30.0))
        elif event["kind"] == ERROR:
            self._error = self._error or error_of(event["error"])
        elif event["kind"] == PROGRESS:
            if event["count"] is None:
                self._close_bars(worker, event["what"])
            else:
                self._bar(worker, event["what"], event["total"])(event["count"], event["note"])
        elif self._is_news(worker, event["kind"]):
            if event["kind"]:
                self._log.event(event["kind"], event["message"], level=event["level"], **event["fields"])
                self._show_study(event["kind"], event["fields"])
            else:
                self._log.say(event["message"], event["level"])

    def _show_study(self, kind: str, fields: dict[str, Any]) -> None:
        """Shows how far the study is, after what a worker has logged."""
        settings = self._job.settings
        if kind == "trial_finished":
            self._idle_deaths = 0
            self._bar(self, "trials", fields["of"])(fields["finished"] - self._finished, fields["best"])
            self._finished = fields["finished"]
            found = (fields["trial"], fields["state"], tuple(fields["values"]), fields["params"], fields["metrics"])
            self._callbacks.call("on_trial_end", TrialResult(*found))
        elif kind == "rerun":
            self._bar(self, "reruns", settings.rerun_top_k * settings.rerun_seeds)()

    def _bar(self, owner: object, what: str, total: int) -> Advance:
        """The display of some work, shown from now on; `owner` is a worker, or the study itself."""
        if (owner, what) not in self._bars:
            stack = contextlib.ExitStack()
            self._bars[owner, what] = stack, stack.enter_context(self._log.progress(what, total))
        return self._bars[owner, what][1]

    def _close_bars(self, owner: object = None, what: str = "") -> None:
        """Ends what is shown of a worker, or all of it."""
        for key in [key for key in self._bars if owner in (None, key[0]) and what in ("", key[1])]:
            self._bars.pop(key)[0].close()

    def _is_news(self, worker: WorkerProcess, kind: str) -> bool:
        """False for an event that another worker has logged already: the database being away, or back."""
        if kind == _AWAY:
            first = not self._without_storage
            self._without_storage.add(worker)
            return first
        if kind == _BACK and worker in self._without_storage:
            self._without_storage.remove(worker)
            return not self._without_storage
        return kind != _BACK

    def _ended(self, worker: WorkerProcess, code: int) -> None:
        self._without_storage.discard(worker)
        if code == 0 or self._error is not None or (code == InterruptedRunError.exit_code and self._stop.level):
            return
        if code != RENEW:
            self._died(worker, WorkerProcess.reason(code))
        if not self._stop.level:
            self._start()

    def _died(self, worker: WorkerProcess, reason: str) -> None:
        """Queues the dead worker's trial again; it fails for good only if it kills the next worker, too."""
        recovered = self._recover({worker.pid: reason})
        for number, failed in recovered:
            message = f"trial {number:>3}  failed: {reason}" if failed else f"trial {number:>3}  re-queued: {reason}"
            self._log.event(
                "trial_failed" if failed else "recovered", message, trial=number, reason=reason, level="warning"
            )
        if recovered:
            return
        self._idle_deaths += 1
        self._log.event(
            "worker_died", f"a worker ended while no trial was running: {reason}", reason=reason, level="warning"
        )
        if self._idle_deaths > _IDLE_DEATHS_ALLOWED:
            raise StudyError(
                f"workers end while no trial is running, the last because {reason}",
                where=self._job.settings.study_name,
                do=f"see {self._dir / 'worker.log'}",
            )

    def _recover(self, died: dict[int, str] | None = None) -> list[tuple[int, bool]]:
        """Number of each trial whose worker has died, and whether it has failed for good."""
        reruns = rerun_study_of(self._study.study_name, optuna_internals.storage_of(self._study))
        found = []
        with self._planning():
            for study in (self._study, reruns):
                if study is not None:
                    found += recover(study, died=died)
        return found
