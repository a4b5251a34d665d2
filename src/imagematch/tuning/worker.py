"""A worker: takes trials from the study, trains them and stores the results, until the study is complete.

The study is all that workers share, those of one machine and those of many.
"""

from __future__ import annotations

import contextlib
import functools
import time
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from imagematch.config import TrainSettings
from imagematch.errors import ImagematchError, InterruptedRunError, StudyError, TrainingFailedError, unloadable_library
from imagematch.events import SILENT, RunLog
from imagematch.interruption import StopRequest, interrupted
from imagematch.tuning import attributes
from imagematch.tuning.baseline import baseline_of, measure_baselines, missing_baselines
from imagematch.tuning.dashboard import artifacts_dir, store_artifacts
from imagematch.tuning.failures import error_json, too_many_failures
from imagematch.tuning.locks import plan_lock
from imagematch.tuning.objective import OnStep, TrialFiles
from imagematch.tuning.plan import Plan, is_running
from imagematch.tuning.planned_trial import PlannedTrial, log_failed, log_finished, log_rerun
from imagematch.tuning.recovery import fail, heartbeats, recover, requeue
from imagematch.tuning.reruns import RerunPlan
from imagematch.tuning.storage import HEARTBEAT_S
from imagematch.tuning.study import WorkerJob, with_study_precision

if TYPE_CHECKING:
    import optuna

RENEW_AFTER_TRIALS = 25
"""TensorFlow does not free some 8 MB of every training; a new process starts without them."""
RENEW_AFTER_GROWTH_MB = 2048
POLL_S = 1.0


class TrialTrainer(Protocol):
    """What trains; see `Trainer`."""

    def train(
        self,
        settings: TrainSettings,
        files: TrialFiles,
        data_digest: str | None,
        *,
        network_digest: str | None = None,
        on_step: OnStep,
        stop: StopRequest,
    ) -> dict[str, Any]: ...

    def measure_baseline(self, settings: TrainSettings, data_digest: str | None) -> dict[str, Any]: ...


class _TrialLostError(Exception):
    """Another process has marked the running trial stale and queued it again."""


class Worker:
    """Works on a study.

    Args:
        study: Optuna's study, created by `open_study`.
        job: what to do.
        trainer: trains the trials; None for a worker that only checks whether there is work.
        log: where progress is logged.
        stop: at level 1 the running trial is the last one, at level 2 it ends at its next step and is queued again.
    """

    def __init__(
        self,
        study: optuna.Study,
        job: WorkerJob,
        trainer: TrialTrainer | None = None,
        *,
        log: RunLog = SILENT,
        stop: StopRequest | None = None,
    ) -> None:
        self._study = study
        self._settings = job.settings
        self._first = job.first
        self._trainer = trainer
        self._log = log
        self._stop = stop or StopRequest()
        self._dir = job.layout.study_dir(job.settings.study_name)
        lock = functools.partial(plan_lock, study, self._dir / ".plan.lock", self._stop)
        self._lock = lock
        self.plan = Plan(study, job.settings, log, lock)
        self.reruns = RerunPlan(study, job.settings, lock)
        self.preparing = False
        self._recovered_at: dict[str, float] = {}
        self._gave_up = False

    def is_complete(self) -> bool:
        """True if nothing is left to do, not even for other workers."""
        baselines = not missing_baselines(self._study, self._settings)
        return baselines and self.plan.is_complete() and self.reruns.is_complete()

    def run(self) -> bool:
        """Works until the study is complete.

        Returns:
            False where another worker should go on, in a process without this one's memory.

        Raises:
            InterruptedRunError: a stop was requested; the study can be resumed.
            ImagematchError: the search cannot go on.
        """
        memory_mb = 0.0
        self._measure_baselines()
        for trials, planned in enumerate(self._planned(), start=1):
            self._run(planned)
            memory_mb = memory_mb or _memory_mb()
            if trials >= RENEW_AFTER_TRIALS or _memory_mb() - memory_mb > RENEW_AFTER_GROWTH_MB:
                return False
        return True

    def _planned(self) -> Iterator[PlannedTrial]:
        """The trials to train, first of the search, then the reruns, while other processes may take some, too."""
        yield from self._until_complete(self._study, self._next_of_search)
        self._measure_baselines()
        if self.reruns.wanted():
            yield from self._until_complete(self.reruns.study, self.reruns.next_trial)

    def _until_complete(
        self, study: optuna.Study, next_trial: Callable[[], PlannedTrial | None]
    ) -> Iterator[PlannedTrial]:
        while True:
            if self._stop.level:
                raise interrupted()
            self._recover(study)
            planned = next_trial()
            if planned is not None:
                yield planned
            elif is_running(study.get_trials(deepcopy=False)):  # should its worker die, the trial is ours to train
                time.sleep(POLL_S)
            else:
                return

    def _next_of_search(self) -> PlannedTrial | None:
        trials = self._study.get_trials(deepcopy=False)
        failed = too_many_failures(trials, self._settings, first=self._first, details=self._dir / "worker.log")
        if not failed:
            return self.plan.next_trial()
        if not self._gave_up:
            self._gave_up = True
            self._log.event(
                "gave_up", f"{failed} trials have failed: the search ends with those that have not", level="warning"
            )
        return None

    def _recover(self, study: optuna.Study) -> None:
        """Now and then: queues again the trials of workers that have died."""
        now = time.monotonic()
        before = self._recovered_at.get(study.study_name)
        if before is not None and now - before < HEARTBEAT_S / 4:
            return
        self._recovered_at[study.study_name] = now
        with self._lock():
            for number, _ in recover(study):
                self._log.event("recovered", f"trial {number} was cut off: queued again", trial=number, level="warning")

    # ---- one trial

    def _run(self, planned: PlannedTrial) -> None:
        trial, files = planned.trial, TrialFiles(self._dir / "trials", planned.name)
        self._log.event(
            "trial_started", trial=trial.number, place=planned.index, name=planned.name, params=trial.params
        )
        with heartbeats(trial):
            try:
                results = self._train(planned, files)
                self._store(planned, files, results)
            except _TrialLostError:
                what = f"trial {trial.number} was marked stale and re-queued by another process"
                self._log.event("lost", what, trial=trial.number, level="warning")
                return
            except TrainingFailedError as error:
                self._fail(planned, {"what": str(error)})
            except (InterruptedRunError, StudyError):  # what cannot be written now cannot for the next trial
                self._requeue(planned)
                raise
            except ImagematchError as error:
                if planned.is_rerun:
                    self._requeue(planned)
                    raise
                self._fail(planned, error_json(error))
            except ImportError as error:  # no trial can do without it
                self._requeue(planned)
                raise unloadable_library(error) from error
            except Exception as error:  # whatever one trial does must not end the study
                traceback.print_exc()
                self._fail(planned, {"what": f"{type(error).__name__}: {error}"})
            files.remove_state()

    def _train(self, planned: PlannedTrial, files: TrialFiles) -> dict[str, Any]:
        assert self._trainer is not None
        trial = planned.trial
        prunes = len(self._settings.objectives) == 1 and not planned.is_rerun  # Optuna prunes by one objective only

        def on_step(step: int, value: float) -> bool:
            with self._unless_lost(trial):
                if prunes:
                    trial.report(value, step=step)
                    return bool(trial.should_prune())
            return False

        settings = with_study_precision(self._study, planned.settings)
        baseline = baseline_of(self._study.user_attrs, trial.params) or {}
        network = baseline.get("network_digest")  # older studies have none
        known: dict[str, Any] = {"network_digest": network, "on_step": on_step, "stop": self._stop}
        return self._trainer.train(settings, files, self._data_digest, **known)

    def _store(self, planned: PlannedTrial, files: TrialFiles, results: dict[str, Any]) -> None:
        import optuna

        trial = planned.trial
        pruned = bool(results["pruned"])  # not at its last step, whatever the pruner says there: the trial is trained
        state = optuna.trial.TrialState.PRUNED if pruned else optuna.trial.TrialState.COMPLETE
        values = results["values"][:1] if planned.is_rerun else results["values"]
        with self._unless_lost(trial):
            for name in attributes.RESULTS:
                if name in results:
                    trial.set_user_attr(name, results[name])
            if not planned.is_rerun:
                trained = with_study_precision(self._study, planned.settings)
                store_artifacts(trial, trained, files.history, artifacts_dir(self._dir))
            trial.study.tell(trial, None if pruned else values, state=state)
        if planned.is_rerun:
            log_rerun(self._log, planned, results)
        else:
            log_finished(self._log, planned, results, state.name, of=self.plan.target)

    def _fail(self, planned: PlannedTrial, failure: dict[str, str]) -> None:
        fail(planned.trial.study, planned.trial.number, failure["what"], failure=failure)
        log_failed(self._log, planned, failure["what"])

    def _requeue(self, planned: PlannedTrial) -> None:
        """Queues the trial again, unless others have done so, or the storage is gone: then whoever resumes does it."""
        study, number = planned.trial.study, planned.trial.number
        with contextlib.suppress(Exception):
            trial = study.get_trials(deepcopy=False)[number]
            if not trial.state.is_finished():
                requeue(study, trial)
                fail(study, number, "interrupted; queued again")

    @contextlib.contextmanager
    def _unless_lost(self, trial: optuna.Trial) -> Iterator[None]:
        """Raises _TrialLostError where others ended the trial, as this process was suspended too long."""
        import optuna

        try:
            yield
        except (optuna.exceptions.UpdateFinishedTrialError, ValueError) as error:
            if not trial.study.get_trials(deepcopy=False)[trial.number].state.is_finished():
                raise
            raise _TrialLostError from error

    # ---- beside the trials

    @property
    def _data_digest(self) -> str | None:
        digest: str | None = self._study.user_attrs.get(attributes.DATA, {}).get("digest")
        return digest

    def _measure_baselines(self) -> None:
        assert self._trainer is not None
        if self._stop.level:
            raise interrupted()
        trainer, self.preparing = self._trainer, True
        try:
            measure_baselines(
                self._study,
                lambda train: trainer.measure_baseline(train, self._data_digest),
                self._settings,
                self._dir,
                log=self._log,
                stop=self._stop,
            )
        finally:
            self.preparing = False


def _memory_mb() -> float:
    import psutil

    return float(psutil.Process().memory_info().rss) / 2**20
