"""The search: asks for points, hands them to worker processes, and tells the study what came of them.

The parent holds the study and never trains; the children train and never see the study. So a child that dies costs one
trial, and memory that a trial leaves behind goes with its process.
"""

from __future__ import annotations

import json
import selectors
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.config import StudySettings, TrainSettings
from imagematch.errors import InterruptedRunError, StudyError
from imagematch.events import RunLog
from imagematch.files import Layout
from imagematch.training import StopRequest
from imagematch.tuning import records
from imagematch.tuning.child import Child, raise_error
from imagematch.tuning.recovery import fail, queue, recover, requeue
from imagematch.tuning.samplers import derived_seed, make_sampler
from imagematch.tuning.space import grid_labels, point_of, suggest
from imagematch.tuning.storage import HEARTBEAT_S, quiet_about_heartbeats

if TYPE_CHECKING:
    import optuna

_RENEW_AFTER_TASKS = 25
_REPEATS_ALLOWED = 20
_FAILURES_IN_A_ROW = 5
_STOP_WITHIN_S = 8.0


@dataclass
class _Running:
    """A trial that a child works on."""

    trial: optuna.Trial
    values: dict[str, Any]
    started: float = field(default_factory=time.monotonic)
    pruned: bool = False


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
        self._selector = selectors.DefaultSelector()
        log_path = self._dir / "worker.log"
        self._children = [Child(layout.manifests, log_path, threads, self._selector) for _ in range(workers)]
        self._running: dict[Child, _Running] = {}
        self._repeats_in_a_row = 0
        self._failures_in_a_row = 0
        self._exhausted = False
        self._beat = 0.0
        self._maximize = study.direction.name == "MAXIMIZE"

    def __enter__(self) -> Search:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.close()
        self._selector.close()

    # ---- one task outside the study

    def call(self, task: dict[str, Any]) -> dict[str, Any]:
        """Gives a child one task and waits for its answer. Raises the error the child told."""
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
                elif event["event"] == "interrupted":
                    raise _interrupted()
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
            while child not in self._running and not self._stop.level and self._wanted():
                self._start_trial(child)

    def _wanted(self) -> bool:
        if self._exhausted:
            return False
        trials = self._study.get_trials(deepcopy=False)
        return len(records.counted(trials)) + len(self._running) < self._settings.n_trials

    def _start_trial(self, child: Child) -> None:
        trial, values = self._ask()
        if trial is None:
            return
        point = point_of(self._settings, values)
        trial.set_user_attr(records.POINT, point)
        earlier = self._finished_at(point, trial.number)
        if earlier is not None:
            self._copy(trial, earlier)
            return
        self._repeats_in_a_row = 0
        if child.tasks_done >= _RENEW_AFTER_TASKS:
            child.close()
        settings = self.trial_settings(values, trial.user_attrs[records.PLACE])
        self._running[child] = _Running(trial, values)
        child.give(self.training_task(settings, f"trial-{trial.user_attrs[records.PLACE]}"))
        self._log.event("trial_started", trial=trial.number, place=trial.user_attrs[records.PLACE], params=trial.params)

    def training_task(self, settings: TrainSettings, name: str) -> dict[str, Any]:
        """The task of training `settings`, its files named after `name`."""
        folder = self._dir / "trials"
        return {
            "task": "train",
            "settings": settings.model_dump(mode="json", exclude_unset=True),
            "checkpoint": str(folder / f"{name}.npz"),
            "history": str(folder / f"{name}.json"),
        }

    def trial_settings(self, values: dict[str, Any], place: int) -> TrainSettings:
        """What a trial trains; its seed comes from the study's and its place."""
        return self._settings.settings_for(values, training_seed=derived_seed(self._settings.seed, place, purpose=1))

    def _ask(self) -> tuple[optuna.Trial | None, dict[str, Any]]:
        import optuna

        trials = self._study.get_trials(deepcopy=False)
        waiting = [t for t in trials if t.state == optuna.trial.TrialState.WAITING]
        if waiting:
            place = int(waiting[0].user_attrs.get(records.PLACE, records.next_place(trials)))
        else:
            place = records.next_place(trials)
            params = self._grid_point(place) if self._settings.sampler == "grid" else {}
            if params is None:
                self._exhausted = True
                return None, {}
            queue(self._study, place, params)
        self._study.sampler = make_sampler(self._settings.sampler, self._settings.seed, place)
        with quiet_about_heartbeats():
            trial = self._study.ask()
        trial.set_user_attr(records.OWNER, records.this_process())
        if records.PLACE not in trial.user_attrs:  # queued by another tool
            trial.set_user_attr(records.PLACE, place)
        return trial, suggest(trial, self._settings)

    def _grid_point(self, place: int) -> dict[str, Any] | None:
        points = list(grid_labels(self._settings))
        order = np.random.default_rng(self._settings.seed).permutation(len(points))
        return points[order[place]] if place < len(points) else None

    def _finished_at(self, point: str, number: int) -> optuna.trial.FrozenTrial | None:
        finished = records.counted(self._study.get_trials(deepcopy=False))
        return next((t for t in finished if t.user_attrs.get(records.POINT) == point and t.number != number), None)

    def _copy(self, trial: optuna.Trial, earlier: optuna.trial.FrozenTrial) -> None:
        """Ends a repeat with the earlier trial's value and state."""
        trial.set_user_attr(records.DUPLICATE_OF, earlier.number)
        pruned = earlier.state.name == "PRUNED"
        if pruned and earlier.value is not None:
            trial.report(earlier.value, step=0)
        self._study.tell(trial, None if pruned else earlier.value, state=earlier.state)
        self._log.event("repeat", trial=trial.number, duplicate_of=earlier.number)
        self._repeats_in_a_row += 1
        points = self._settings.grid_points
        seen = len(records.counted(self._study.get_trials(deepcopy=False)))
        if points is not None and seen >= points:
            self._exhausted = True
            self._log.event("exhausted", f"all {points} points of the grid are done: the study ends early")
        elif self._repeats_in_a_row >= _REPEATS_ALLOWED:
            self._exhausted = True
            self._log.event("exhausted", f"the sampler repeats itself ({_REPEATS_ALLOWED} times): the study ends early")

    # ---- events

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
        trial = running.trial
        child.tasks_done += 1
        self._failures_in_a_row = 0
        figures = {name: float(value) for name, value in event["figures"].items()}
        for name, value in (
            (records.BEST_EPOCH, event["best_epoch"]),
            (records.EPOCHS, event["epochs"]),
            (records.FIGURES, figures),
            (records.PARAMETERS, event["parameters"]),
            (records.SECONDS, event["seconds"]),
        ):
            trial.set_user_attr(name, value)
        state = optuna.trial.TrialState.PRUNED if running.pruned else optuna.trial.TrialState.COMPLETE
        self._study.tell(trial, None if running.pruned else event["value"], state=state)
        self._remove_checkpoint(trial)
        self._tell_people(running, event)

    def _remove_checkpoint(self, trial: optuna.Trial) -> None:
        (self._dir / "trials" / f"trial-{trial.user_attrs[records.PLACE]}.npz").unlink(missing_ok=True)

    def _tell_people(self, running: _Running, event: dict[str, Any]) -> None:
        trials = self._study.get_trials(deepcopy=False)
        done = len(records.counted(trials))
        best = records.best_of(trials, maximize=self._maximize)
        params = ", ".join(f"{name} {value}" for name, value in running.trial.params.items())
        outcome = "pruned" if running.pruned else f"{event['value']:.4f}"
        best_text = f"best {best[0].value:.4f} (trial {best[0].number})" if best else "none complete yet"
        self._log.event(
            "trial_finished",
            f"trial {running.trial.number:>3}  {outcome:>8}  {event['epochs']:>3} epochs  "
            f"{event['seconds']['total']:6.1f} s  [{done}/{self._settings.n_trials}, {best_text}]  {params}",
            trial=running.trial.number,
            value=event["value"],
            state="PRUNED" if running.pruned else "COMPLETE",
            best_epoch=event["best_epoch"],
            epochs=event["epochs"],
            seconds=event["seconds"],
        )

    def _failed(self, child: Child, reason: str) -> None:
        running = self._running.pop(child)
        fail(self._study, running.trial.number, reason)
        self._log.event("trial_failed", f"trial {running.trial.number:>3}  failed: {reason}", trial=running.trial.number)
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


def _interrupted() -> InterruptedRunError:
    return InterruptedRunError("interrupted: nothing is lost", do="run the same command with --resume to go on")


def read_history(path: Path) -> list[dict[str, Any]]:
    """The epochs of a trial; empty where it has left none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
