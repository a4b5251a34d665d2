"""The search: hands trials to worker processes, and tells the study what came of them.

The parent holds the study and never trains; the children train and never see the study. So a child that dies costs one
trial, and memory that a trial leaves behind goes with its process.
"""

from __future__ import annotations

import contextlib
import functools
import selectors
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imagematch.config import StudySettings, TrainSettings
from imagematch.errors import StudyError
from imagematch.events import RunLog
from imagematch.files import Layout
from imagematch.training import StopRequest
from imagematch.training.interruption import interrupted
from imagematch.tuning import records
from imagematch.tuning.artifacts import artifacts_dir, keep_artifacts
from imagematch.tuning.calls import call_all, passed_on
from imagematch.tuning.child import Child, raise_error
from imagematch.tuning.failures import Failures
from imagematch.tuning.locks import plan_lock
from imagematch.tuning.plan import Plan, PlannedTrial
from imagematch.tuning.recovery import beat, fail, recover, requeue
from imagematch.tuning.storage import HEARTBEAT_S
from imagematch.tuning.study import DATA, as_begun
from imagematch.tuning.telling import tell_finished
from imagematch.tuning.trial import TrialFiles

if TYPE_CHECKING:
    import optuna

_LOOK_EVERY_S = 1.0
_STOP_WITHIN_S = 8.0


@dataclass
class _Running:
    """A trial that a child works on."""

    planned: PlannedTrial
    lost: bool = False  # another process took us for dead, and does it again

    @property
    def trial(self) -> optuna.Trial:
        return self.planned.trial


class Search:
    """Runs a study until it has its trials.

    Args:
        study: Optuna's study, created by `open_study`.
        settings: what is searched.
        layout: where files go.
        log: told what happens.
        stop: looked at all the time; level 1 finishes the running trials, level 2 cuts them off.
        workers: how many processes train at a time.
        threads: threads a process may use; None lets it choose.
    """

    def __init__(
        self,
        study: optuna.Study,
        settings: StudySettings,
        *,
        layout: Layout,
        log: RunLog,
        stop: StopRequest,
        workers: int = 1,
        threads: int | None = None,
    ) -> None:
        self._study = study
        self._settings = settings
        self._dir = layout.study_dir(settings.study_name)
        self._log = log
        self._stop = stop
        self._planning = functools.partial(plan_lock, study, self._dir / ".plan.lock", stop)
        self.plan = Plan(study, settings, log, self._planning)
        self._selector = selectors.DefaultSelector()
        log_path = self._dir / "worker.log"
        self._children = [Child(layout.manifests, log_path, threads, self._selector) for _ in range(workers)]
        self._running: dict[Child, _Running] = {}
        self._failures = Failures(settings, see=self._dir / "worker.log")
        self._beat = 0.0

    def __enter__(self) -> Search:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.close()
        self._selector.close()
        with contextlib.suppress(Exception):  # an error is on its way up; should this fail too, a resume does it
            for child in list(self._running):
                self._requeue(child)

    # ---- tasks beside the study

    def call_all(self, tasks: Sequence[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Has the children do the tasks, and yields each one's place and answer, as `calls.call_all` does."""
        for place, answer in call_all(self._children, self._selector, tasks, self._log, self._stop):
            if tasks[place]["task"] == "train":
                self._files(tasks[place]["name"]).remove_state()
            yield place, answer

    def training_task(self, settings: TrainSettings, name: str) -> dict[str, Any]:
        """The task of training `settings`, its files named after `name`."""
        return {
            "task": "train",
            "settings": as_begun(self._study, settings).model_dump(mode="json", exclude_unset=True),
            "data": self._study.user_attrs.get(DATA, {}).get("digest"),
            "folds": self._settings.folds,
            "second": self._settings.objectives[1] if len(self._settings.objectives) > 1 else "",
            "folder": str(self._files(name).folder),
            "name": name,
        }

    def _files(self, name: str) -> TrialFiles:
        return TrialFiles(self._dir / "trials", name)

    # ---- the study

    def run(self) -> None:
        """Runs trials until `n_trials` distinct ones are finished.

        Raises:
            InterruptedRunError: a stop was asked for; the study can be resumed.
            StudyError: the trials cannot be run, or the storage cannot be written.
        """
        told_to_stop = False
        while True:
            self._look_after_trials()
            self._fill()
            if not self._running and (self._stop.level or not self._waits_for_others()):
                break
            self._take_events()
            if self._stop.level == 1 and not told_to_stop:
                told_to_stop = True
                self._log.say("finishing the running trial; Ctrl-C again stops at its next step")
            if self._stop.level >= 2:
                self._cut_off()
        if self._stop.level:
            raise interrupted()

    def _waits_for_others(self) -> bool:
        """True while other processes run trials: should one of them die, its trial is ours to do again."""
        waits = self.plan.runs_elsewhere()
        if waits:
            time.sleep(_LOOK_EVERY_S)
        return waits

    def _fill(self) -> None:
        """Gives every idle child a trial, as long as there are trials to run."""
        for child in self._children:
            if child in self._running or self._stop.level:
                continue
            planned = None if self._failures.too_many else self.plan.next_trial()
            if planned is None:
                return
            self._running[child] = _Running(planned)
            child.begin(self.training_task(planned.settings, _name_of(planned)))
            trial = planned.trial
            self._log.event("trial_started", trial=trial.number, place=planned.place, params=trial.params)

    # ---- what the children tell

    def _take_events(self) -> None:
        for key, _ in self._selector.select(timeout=1.0):
            child: Child = key.data
            events, died = child.receive()
            for event in events:
                self._take(child, event)
            if died and child in self._running:
                self._failed(child, died)

    def _take(self, child: Child, event: dict[str, Any]) -> None:
        kind = event["event"]
        if passed_on(event, self._log):
            return
        if kind == "step":
            self._step(child, event)
        elif kind == "done":
            self._done(child, event)
        elif kind == "failed":
            self._failed(child, event["reason"])
        elif kind == "interrupted":
            self._requeue(child)
        elif event["kind"] == StudyError.__name__:  # it cannot write: nor could the next trial
            self._requeue(child)
            raise_error(event)
        elif self._failures.is_of_one_trial(event, any_worked=self._any_worked()):
            self._failed(child, event["what"])
        else:
            fail(self._study, self._running[child].trial.number, event["what"])
            del self._running[child]
            raise_error(event)

    def _step(self, child: Child, event: dict[str, Any]) -> None:
        running, prune = self._running[child], False
        with self._unless_lost(running):
            if len(self._settings.objectives) == 1:  # Optuna prunes by one objective only
                running.trial.report(event["value"], step=event["step"])
                prune = bool(running.trial.should_prune())
        child.give({"prune": prune or running.lost})

    def _done(self, child: Child, event: dict[str, Any]) -> None:
        import optuna

        running = self._running[child]
        pruned = bool(event["pruned"])  # not at its last step, whatever the pruner says there: the trial is trained
        state = optuna.trial.TrialState.PRUNED if pruned else optuna.trial.TrialState.COMPLETE
        with self._unless_lost(running):
            for name in records.NOTED:
                if name in event:
                    running.trial.set_user_attr(name, event[name])
            history = self._files(_name_of(running.planned)).history
            trained = as_begun(self._study, running.planned.settings)
            keep_artifacts(running.trial, trained, history, artifacts_dir(self._dir))
            self._study.tell(running.trial, None if pruned else event["values"], state=state)
        del self._running[child]  # now that its end is written; till then it is ours to queue again
        self._files(_name_of(running.planned)).remove_state()
        if not running.lost:
            tell_finished(self._log, self._study, running.trial, event, of=self._settings.n_trials)

    @contextlib.contextmanager
    def _unless_lost(self, running: _Running) -> Iterator[None]:
        """Inside, a trial may turn out to have been ended by others: this process was away too long."""
        import optuna

        try:
            yield
        except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
            number = running.trial.number
            if not self._study.get_trials(deepcopy=False)[number].state.is_finished():
                raise
            if not running.lost:
                self._log.event("lost", f"trial {number} was taken for dead: it is done again elsewhere", trial=number)
            running.lost = True

    def _failed(self, child: Child, reason: str) -> None:
        if self._stop.level >= 2:
            self._requeue(child)
            return
        planned = self._running[child].planned
        number = planned.trial.number
        fail(self._study, number, reason)
        del self._running[child]
        self._files(_name_of(planned)).remove_state()
        self._log.event("trial_failed", f"trial {number:>3}  failed: {reason}", trial=number, reason=reason)
        self._failures.add(reason, any_worked=self._any_worked())
        if self._failures.too_many:
            self._log.event(
                "gave_up", f"{self._failures.count} trials have failed: the search ends with those that have not"
            )

    def _any_worked(self) -> bool:
        return bool(records.counted(self._study.get_trials(deepcopy=False)))

    def _look_after_trials(self) -> None:
        """Now and then: shows that ours are alive, and queues again what dead processes left."""
        now = time.monotonic()
        if self._beat and now - self._beat < HEARTBEAT_S / 4:
            return
        self._beat = now
        ours = [running.trial for running in self._running.values()]
        beat(self._study, ours)
        with self._planning():
            for number in recover(self._study, [trial.number for trial in ours]):
                self._log.event("recovered", f"trial {number} was cut off: queued again", trial=number)

    def _cut_off(self) -> None:
        """Asks the children to end at their next step, gives them a moment, and queues their trials again."""
        for child in self._running:
            child.ask_to_stop()
        until = time.monotonic() + _STOP_WITHIN_S
        while self._running and time.monotonic() < until:
            self._take_events()
        for child in list(self._running):
            self._requeue(child)

    def _requeue(self, child: Child) -> None:
        """Queues the trial of a child again, unless it has ended, or others have queued it."""
        running = self._running[child]
        trial = self._study.get_trials(deepcopy=False)[running.trial.number]
        if not running.lost and not trial.state.is_finished():
            requeue(self._study, trial)
            fail(self._study, trial.number, "interrupted; queued again")
        del self._running[child]


def _name_of(planned: PlannedTrial) -> str:
    return f"trial-{planned.place}"
