"""The plan of a study: which trial comes next, which are repeats, and when it is over."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.config import LARGEST_GRID, StudySettings, TrainSettings
from imagematch.events import RunLog
from imagematch.tuning import records
from imagematch.tuning.cost import trained_parameters
from imagematch.tuning.joint_tpe import draw
from imagematch.tuning.processes import this_process
from imagematch.tuning.recovery import beat, fail, queue, requeue
from imagematch.tuning.samplers import derived_seed, make_sampler
from imagematch.tuning.space import grid_labels, point_of, quasi_random_labels, suggest
from imagematch.tuning.storage import quiet_about_experiments
from imagematch.tuning.study import NETWORK_PARAMETERS

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

_REPEATS_ALLOWED = 20
_OVER_LIMIT_ALLOWED = 100

Lock = Callable[[], AbstractContextManager[None]]
"""Gives what is held while a trial is planned."""


@dataclass(frozen=True)
class PlannedTrial:
    """A trial that is to be trained.

    Attributes:
        trial: Optuna's, RUNNING.
        place: its place in the plan.
        settings: what to train.
    """

    trial: optuna.Trial
    place: int
    settings: TrainSettings


class Plan:
    """Asks the sampler for trials, each seeded by its place in the plan.

    A point of the search space that was finished before is not trained again: the repeat copies its value and does not
    count. Nor does a model over `max_parameters`, which is not trained. Once the sampler has given nothing but repeats
    for a while, the points of a finite space that it left out follow, in the order of `sampler: grid`. The plan ends
    early when such a space is done, when an endless one gives nothing new, or nothing under the limit.
    """

    def __init__(
        self, study: optuna.Study, settings: StudySettings, log: RunLog, lock: Lock = contextlib.nullcontext
    ) -> None:
        self._study = study
        self._lock = lock
        self._settings = settings
        self._log = log
        self._exhausted = False

    def next_trial(self) -> PlannedTrial | None:
        """The next trial to train; None if none is wanted beside those that run, whoever runs them."""
        while not self._exhausted:
            with self._lock():
                trials = self._study.get_trials(deepcopy=False)
                running = sum(t.state.name == "RUNNING" for t in trials)
                if len(records.counted(trials)) + running >= self._settings.n_trials:
                    return None
                planned = self._ask(trials)
            if planned is not None:
                return planned
        return None

    def runs_elsewhere(self) -> bool:
        """True while another process still runs a trial of this study."""
        return any(t.state.name == "RUNNING" for t in self._study.get_trials(deepcopy=False))

    def settings_of(self, values: dict[str, Any], place: int, repetition: int = 0) -> TrainSettings:
        """What the trial at `place` trains; its seed comes from the study's and the place. Repetitions draw others."""
        seed = derived_seed(self._settings.seed, place, purpose=1 + repetition)
        return self._settings.settings_for(values, training_seed=seed)

    def _ask(self, trials: list[FrozenTrial]) -> PlannedTrial | None:
        queued = _first_queued(trials) or self._queue_another(trials)
        if queued is None:
            return None
        place = int(queued.user_attrs.get(records.PLACE, records.next_place(trials)))
        beat(self._study, [queued])  # before it runs: a process that dies at the next step is noticed
        with quiet_about_experiments():
            self._study.sampler = make_sampler(self._settings.sampler, self._settings.seed, place)
            trial = self._study.ask()
        if not self._has_it_alone(trial.number, queued.number, place):
            return None
        for name, value in ((records.OWNER, this_process()), (records.PLACE, place)):
            if queued.user_attrs.get(name) != value:
                trial.set_user_attr(name, value)
        values = suggest(trial, self._settings)
        point = point_of(self._settings, values)
        trial.set_user_attr(records.POINT, point)
        earlier = self._earlier_at(point, trial.number)
        if earlier is not None:
            self._copy(trial, earlier)
            return None
        settings = self.settings_of(values, place)
        if self._over_limit(trial, settings):
            return None
        return PlannedTrial(trial, place, settings)

    def _over_limit(self, trial: optuna.Trial, settings: TrainSettings) -> bool:
        """Ends a trial whose model would be over `max_parameters`, before it is trained; TPE learns to stay under."""
        import optuna

        limit = self._settings.max_parameters
        if limit is None:
            return False
        parameters = trained_parameters(settings, self._study.user_attrs.get(NETWORK_PARAMETERS, {}))
        if parameters <= limit:
            return False
        with quiet_about_experiments():
            trial.set_constraint("max_parameters", float(parameters - limit))
        trial.set_user_attr(records.OVER_LIMIT, parameters)
        trial.set_user_attr(records.REASON, f"not trained: {parameters:,} parameters are over max_parameters")
        self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        self._log.event("over_limit", trial=trial.number, parameters=parameters)
        return True

    def _queue_another(self, trials: list[FrozenTrial]) -> FrozenTrial | None:
        """Queues a trial at the next place; None where there is nothing more to try."""
        if self._is_done(trials):
            self._end(f"all {self._points} points of the grid are done")
            return None
        if _over_in_a_row(trials) >= _OVER_LIMIT_ALLOWED:
            limit = self._settings.max_parameters
            self._end(f"{_OVER_LIMIT_ALLOWED} configurations in a row are over max_parameters {limit:,}")
            return None
        place = records.next_place(trials)
        repeats_only = _most_repeats_in_a_row(trials) >= _REPEATS_ALLOWED
        params = self._left_out(trials) if repeats_only else self._point_at(place, trials)
        if params is None:
            self._end("all points of the grid were tried" if self._is_listed else "the sampler gives nothing new")
            return None
        queue(self._study, place, params)
        return _first_queued(self._study.get_trials(deepcopy=False))

    def _has_it_alone(self, number: int, queued: int, place: int) -> bool:
        """Whether `ask` gave the trial that was queued, and no other one is at its place; else it is given back.

        The lock sees to both, unless it does not reach all who plan, or its server falls. Then the earlier of two
        trials has the place: each process looks after its own trial is written, so that one of them sees the other's.
        """
        trials = self._study.get_trials(deepcopy=False)
        trial = trials[number]
        if number != queued:
            if records.PLACE in trial.user_attrs:
                requeue(self._study, trial)
            fail(self._study, number, "two processes planned it at once; queued again")
            return False
        retried = trial.user_attrs.get(records.RETRY_OF)
        others = [t for t in trials[:number] if t.state.name != "FAIL" and t.number != retried]
        holder = next((t for t in others if t.user_attrs.get(records.PLACE) == place), None)
        if holder is not None:
            fail(self._study, number, f"trial {holder.number} has its place in the plan")
        return holder is None

    def _point_at(self, place: int, trials: list[FrozenTrial]) -> dict[str, Any] | None:
        """The parameters for a place, none where Optuna's sampler draws them in `ask`; None past the end of a grid."""
        if self._settings.sampler == "tpe":
            return draw(self._study, trials, self._settings, place)
        if self._settings.sampler == "qmc":
            return quasi_random_labels(self._settings, place)
        if self._settings.sampler == "grid":
            return self._grid[place] if place < len(self._grid) else None
        return {}

    def _left_out(self, trials: list[FrozenTrial]) -> dict[str, Any] | None:
        """The first point of the grid that no trial has tried; None where there is none, or too many to list."""
        if not self._is_listed:
            return None
        tried = {t.user_attrs.get(records.POINT) for t in trials}
        return next(
            (params for params, point in zip(self._grid, self._digests, strict=True) if point not in tried), None
        )

    @cached_property
    def _points(self) -> int | None:
        return self._settings.grid_points

    @property
    def _is_listed(self) -> bool:
        """Whether the space is small enough to be listed point by point."""
        return self._points is not None and self._points <= LARGEST_GRID

    @cached_property
    def _grid(self) -> list[dict[str, Any]]:
        """Every point, in the order of the plan."""
        points = list(grid_labels(self._settings))
        return [points[i] for i in np.random.default_rng(self._settings.seed).permutation(len(points))]

    @cached_property
    def _digests(self) -> list[str]:
        return [point_of(self._settings, self._settings.values_of(params)) for params in self._grid]

    def _earlier_at(self, point: str, number: int) -> FrozenTrial | None:
        """Another trial of the same point that is finished or running, whoever runs it."""
        trials = self._study.get_trials(deepcopy=False)
        running = [t for t in trials if t.state.name == "RUNNING" and t.number != number]
        known = [*records.counted(trials), *running]
        return next((t for t in known if t.user_attrs.get(records.POINT) == point), None)

    def _copy(self, trial: optuna.Trial, earlier: FrozenTrial) -> None:
        """Ends a repeat with the earlier trial's value and state; of one that still runs there is nothing to copy."""
        trial.set_user_attr(records.DUPLICATE_OF, earlier.number)
        if earlier.state.name == "RUNNING":
            fail(self._study, trial.number, f"trial {earlier.number}, which runs, is the same")
        elif earlier.state.name == "PRUNED":
            if earlier.value is not None:
                trial.report(earlier.value, step=0)
            self._study.tell(trial, state=earlier.state)
        else:
            self._study.tell(trial, earlier.values)
        self._log.event("repeat", trial=trial.number, duplicate_of=earlier.number)

    def _is_done(self, trials: list[FrozenTrial]) -> bool:
        """Whether every point of a finite space is finished, or known to be over the limit."""
        known = [*records.counted(trials), *(t for t in trials if records.OVER_LIMIT in t.user_attrs)]
        return self._points is not None and len({t.user_attrs.get(records.POINT) for t in known}) >= self._points

    def _end(self, reason: str) -> None:
        if self._exhausted:
            return
        self._exhausted = True
        self._log.event("exhausted", f"{reason}: the search ends here")


def _first_queued(trials: list[FrozenTrial]) -> FrozenTrial | None:
    """The trial that `ask` will take from the queue."""
    return next((t for t in trials if t.state.name == "WAITING"), None)


def _most_repeats_in_a_row(trials: list[FrozenTrial]) -> int:
    """At how many places in a row, anywhere in the plan, the sampler gave a point that had been tried before."""
    at = {
        t.user_attrs.get(records.PLACE, -1): t.user_attrs[records.POINT]
        for t in trials
        if records.POINT in t.user_attrs
    }
    tried: set[str] = set()
    most = now = 0
    for place in sorted(at):
        now = now + 1 if at[place] in tried else 0
        most = max(most, now)
        tried.add(at[place])
    return most


def _over_in_a_row(trials: list[FrozenTrial]) -> int:
    """How many models over the limit came after the last one that was trained; repeats between them are none."""
    over = 0
    for trial in reversed(trials):
        if records.OVER_LIMIT in trial.user_attrs:
            over += 1
        elif trial.state.name in ("COMPLETE", "PRUNED", "RUNNING") and not records.is_repeat(trial):
            break
    return over
