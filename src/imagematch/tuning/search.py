"""The search: hands trials to worker processes, and tells the study what came of them.

The parent holds the study and never trains; the children train and never see the study. So a child that dies costs one
trial, and memory that a trial leaves behind goes with its process.
"""

from __future__ import annotations

import selectors
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imagematch.config import StudySettings, TrainSettings
from imagematch.errors import InterruptedRunError, StudyError
from imagematch.events import RunLog
from imagematch.files import Layout
from imagematch.training import StopRequest
from imagematch.tuning import records
from imagematch.tuning.child import Child, raise_error
from imagematch.tuning.plan import Plan, PlannedTrial
from imagematch.tuning.recovery import fail, recover, requeue
from imagematch.tuning.storage import HEARTBEAT_S

if TYPE_CHECKING:
    import optuna

_RENEW_AFTER_TASKS = 25
_FAILURES_IN_A_ROW = 5
_STOP_WITHIN_S = 8.0


@dataclass
class _Running:
    """A trial that a child works on."""

    planned: PlannedTrial
    pruned: bool = False

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
        self.plan = Plan(study, settings, log)
        self._selector = selectors.DefaultSelector()
        log_path = self._dir / "worker.log"
        self._children = [Child(layout.manifests, log_path, threads, self._selector) for _ in range(workers)]
        self._running: dict[Child, _Running] = {}
        self._failures_in_a_row = 0
        self._beat = 0.0

    def __enter__(self) -> Search:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.close()
        self._selector.close()

    # ---- one task beside the study

    def call(self, task: dict[str, Any]) -> dict[str, Any]:
        """Gives a child one task and waits for its answer, "done" or "failed". Raises the error the child told."""
        child = self._children[0]
        child.give(task)
        while True:
            for event in self._wait(child):
                if event["event"] == "say":
                    self._log.say(event["message"])
                elif event["event"] == "epoch":
                    child.give({"prune": False})
                elif event["event"] == "error":
                    raise_error(event)
                else:
                    child.tasks_done += 1
                    return event

    def _wait(self, child: Child) -> list[dict[str, Any]]:
        ready = self._selector.select(timeout=0.5)
        if self._stop.level:
            raise _interrupted()
        events, died = child.receive() if ready else ([], "")
        if died:
            raise StudyError(died, where=str(self._dir / "worker.log"), do="see that file, and try again")
        return events

    def training_task(self, settings: TrainSettings, name: str) -> dict[str, Any]:
        """The task of training `settings`, its files named after `name`."""
        folder = self._dir / "trials"
        return {
            "task": "train",
            "settings": settings.model_dump(mode="json", exclude_unset=True),
            "checkpoint": str(folder / f"{name}.npz"),
            "history": str(folder / f"{name}.json"),
        }

    # ---- the study

    def run(self) -> None:
        """Runs trials until `n_trials` distinct ones are finished.

        Raises:
            InterruptedRunError: a stop was asked for; the study can be resumed.
            StudyError: the trials cannot be run, or the storage cannot be written.
        """
        for number in recover(self._study):
            self._log.event("recovered", f"trial {number} was cut off: queued again", trial=number)
        while True:
            self._fill()
            if not self._running:
                break
            self._take_events()
            self._send_heartbeat()
            if self._stop.level >= 2:
                self._cut_off()
        if self._stop.level:
            raise _interrupted()

    def _fill(self) -> None:
        """Gives every idle child a trial, as long as there are trials to run."""
        for child in self._children:
            if child in self._running or self._stop.level:
                continue
            planned = self.plan.next_trial(len(self._running))
            if planned is None:
                return
            if child.tasks_done >= _RENEW_AFTER_TASKS:
                child.close()
            self._running[child] = _Running(planned)
            child.give(self.training_task(planned.settings, _files_of(planned)))
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
        if kind == "say":
            self._log.say(event["message"])
        elif kind == "epoch":
            self._epoch(child, event["record"])
        elif kind == "done":
            self._done(child, event)
        elif kind == "failed":
            self._failed(child, event["reason"])
        elif kind == "interrupted":
            self._requeue(self._running.pop(child))
        else:
            running = self._running.pop(child)
            fail(self._study, running.trial.number, event["what"])
            raise_error(event)

    def _epoch(self, child: Child, record: dict[str, Any]) -> None:
        running = self._running[child]
        running.trial.report(record[self._settings.objective], step=record["epoch"])
        running.pruned = bool(running.trial.should_prune())
        child.give({"prune": running.pruned})

    def _done(self, child: Child, event: dict[str, Any]) -> None:
        import optuna

        running = self._running.pop(child)
        child.tasks_done += 1
        self._failures_in_a_row = 0
        for name in (records.BEST_EPOCH, records.EPOCHS, records.FIGURES, records.PARAMETERS, records.SECONDS):
            running.trial.set_user_attr(name, event[name])
        state = optuna.trial.TrialState.PRUNED if running.pruned else optuna.trial.TrialState.COMPLETE
        self._study.tell(running.trial, None if running.pruned else event["value"], state=state)
        (self._dir / "trials" / f"{_files_of(running.planned)}.npz").unlink(missing_ok=True)
        self._tell_people(running, event)

    def _tell_people(self, running: _Running, event: dict[str, Any]) -> None:
        trials = self._study.get_trials(deepcopy=False)
        best = records.best_of(trials, maximize=self._study.direction.name == "MAXIMIZE")
        params = ", ".join(f"{name} {value}" for name, value in running.trial.params.items())
        outcome = "pruned" if running.pruned else f"{event['value']:.4f}"
        best_text = f"best {best[0].value:.4f} (trial {best[0].number})" if best else "none complete yet"
        self._log.event(
            "trial_finished",
            f"trial {running.trial.number:>3}  {outcome:>8}  {event['epochs']:>3} epochs  "
            f"{event['seconds']['total']:6.1f} s  [{len(records.counted(trials))}/{self._settings.n_trials}, "
            f"{best_text}]  {params}",
            trial=running.trial.number,
            value=event["value"],
            state="PRUNED" if running.pruned else "COMPLETE",
            best_epoch=event["best_epoch"],
            epochs=event["epochs"],
            seconds=event["seconds"],
        )

    def _failed(self, child: Child, reason: str) -> None:
        number = self._running.pop(child).trial.number
        fail(self._study, number, reason)
        self._log.event("trial_failed", f"trial {number:>3}  failed: {reason}", trial=number, reason=reason)
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= _FAILURES_IN_A_ROW:
            raise StudyError(
                f"{_FAILURES_IN_A_ROW} trials in a row have failed, the last because {reason}",
                where=self._settings.study_name,
                do=f"see {self._dir / 'worker.log'}, change the configuration, and start again with --fresh",
            )

    def _send_heartbeat(self) -> None:
        now = time.monotonic()
        if now - self._beat > HEARTBEAT_S / 2:
            self._beat = now
            for running in self._running.values():
                self._study._storage.record_heartbeat(running.trial._trial_id)  # type: ignore[attr-defined]

    def _cut_off(self) -> None:
        """Asks the children to end at their next step, gives them a moment, and queues their trials again."""
        for child in self._running:
            child.ask_to_stop()
        until = time.monotonic() + _STOP_WITHIN_S
        while self._running and time.monotonic() < until:
            self._take_events()
        for running in self._running.values():
            self._requeue(running)
        self._running.clear()

    def _requeue(self, running: _Running) -> None:
        number = running.trial.number
        requeue(self._study, self._study.get_trials(deepcopy=False)[number])
        fail(self._study, number, "interrupted; queued again")


def _files_of(planned: PlannedTrial) -> str:
    return f"trial-{planned.place}"


def _interrupted() -> InterruptedRunError:
    return InterruptedRunError("interrupted: nothing is lost", do="run the same command with --resume to go on")
