"""The plan of a study: which trial comes next, which are duplicates, and when it is complete."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.config import LARGEST_GRID, StudySettings, TrainSettings
from imagematch.events import RunLog
from imagematch.tuning import attributes
from imagematch.tuning.objective import trained_parameters
from imagematch.tuning.planned_trial import PlannedTrial, settings_of, start_queued
from imagematch.tuning.recovery import fail, queue
from imagematch.tuning.samplers import draw_configuration, make_sampler
from imagematch.tuning.space import config_digest, grid_labels, labels_inside, quasi_random_labels, suggest
from imagematch.tuning.storage import quiet_about_experiments

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

_DUPLICATES_ALLOWED = 20
_OVER_LIMIT_ALLOWED = 100

Lock = Callable[[], AbstractContextManager[None]]
"""Returns the lock to hold while a trial is planned."""


class Plan:
    """Asks the sampler for trials, each seeded by its index in the plan.

    A configuration that was finished before is not trained again: the duplicate copies its value and does not count.
    Nor does a model over `max_parameters`, which is not trained. Once the sampler has given nothing but duplicates for
    a while, the configurations of a finite space that it left out follow, in the order of `sampler: grid`. The plan
    ends early when such a space is finished, when an endless one gives nothing new, or nothing under the limit.
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
        """The next trial to train; None if none is needed beside those that run, whoever runs them."""
        while not self._exhausted:
            with self._lock():
                trials = self._study.get_trials(deepcopy=False)
                running = sum(t.state.name == "RUNNING" for t in trials)
                if len(attributes.counted(trials)) + running >= self._settings.n_trials:
                    return None
                planned = self._ask(trials)
            if planned is not None:
                return planned
        return None

    @property
    def target(self) -> int:
        """How many trials the study will have: `n_trials`, or all of a smaller grid."""
        return self._settings.n_trials if self._size is None else min(self._settings.n_trials, self._size)

    def is_complete(self) -> bool:
        """True if the study has its trials and nobody works on one. Planning finds out whether it ends early."""
        trials = self._study.get_trials(deepcopy=False)
        enough = len(attributes.counted(trials)) >= self._settings.n_trials or self._is_done(trials)
        enough = enough or self._has_stagnated(trials)
        return enough and not is_running(trials)

    def _ask(self, trials: list[FrozenTrial]) -> PlannedTrial | None:
        queued = first_queued(trials) or self._queue_another(trials)
        if queued is None:
            return None
        index = int(queued.user_attrs.get(attributes.TRIAL_INDEX, attributes.next_index(trials)))
        with quiet_about_experiments():
            self._study.sampler = make_sampler(self._settings.sampler, self._settings.seed, index)
        trial = start_queued(self._study, queued, index)
        if trial is None:
            return None
        values = suggest(trial, self._settings)
        digest = config_digest(self._settings, values)
        trial.set_user_attr(attributes.CONFIG_DIGEST, digest)
        earlier = self._earlier_with(digest, trial.number)
        if earlier is not None:
            self._copy(trial, earlier)
            return None
        settings = settings_of(self._settings, values, index)
        if self._over_limit(trial, settings):
            return None
        return PlannedTrial(trial, index, settings, f"trial-{index}")

    def _over_limit(self, trial: optuna.Trial, settings: TrainSettings) -> bool:
        """Ends a trial whose model would be over `max_parameters`, before it is trained; TPE learns to avoid them."""
        import optuna

        limit = self._settings.max_parameters
        if limit is None:
            return False
        parameters = trained_parameters(settings, self._study.user_attrs.get(attributes.NETWORK_PARAMETERS, {}))
        if parameters <= limit:
            return False
        with quiet_about_experiments():
            trial.set_constraint("max_parameters", float(parameters - limit))
        trial.set_user_attr(attributes.OVER_LIMIT, parameters)
        trial.set_user_attr(attributes.REASON, f"not trained: {parameters:,} parameters are over max_parameters")
        self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        self._log.event("over_limit", trial=trial.number, parameters=parameters)
        return True

    def _queue_another(self, trials: list[FrozenTrial]) -> FrozenTrial | None:
        """Queues a trial at the next index; None where there is nothing more to try."""
        if self._is_done(trials):
            self._end(f"all {self._size} configurations of the grid are finished")
            return None
        if _over_in_a_row(trials, self._extended_at) >= _OVER_LIMIT_ALLOWED:
            limit = self._settings.max_parameters
            self._end(f"{_OVER_LIMIT_ALLOWED} configurations in a row are over max_parameters {limit:,}")
            return None
        if self._has_stagnated(trials):
            self._end(f"the last {self._settings.stop_after_stagnation} trials were no better than one before them")
            return None
        index = attributes.next_index(trials)
        duplicates_only = _most_duplicates_in_a_row(trials, self._extended_at) >= _DUPLICATES_ALLOWED
        params = self._left_out(trials) if duplicates_only else self._params_at(index, trials)
        if params is None:
            self._end(
                "all configurations of the grid were tried" if self._is_listed else "the sampler gives nothing new"
            )
            return None
        if self._study.user_attrs.get(attributes.ENDED):
            self._study.set_user_attr(attributes.ENDED, "")
        queue(self._study, index, params)
        return first_queued(self._study.get_trials(deepcopy=False))

    def _params_at(self, index: int, trials: list[FrozenTrial]) -> dict[str, Any] | None:
        """The parameters for an index, none where Optuna's sampler draws them in `ask`; None past the end of a grid."""
        if index < len(self._known) and self._settings.sampler != "grid":
            return self._known[index]
        if self._settings.sampler == "tpe":
            return draw_configuration(self._study, trials, self._settings, index)
        if self._settings.sampler == "qmc":
            return quasi_random_labels(self._settings, index)
        if self._settings.sampler == "grid":
            return self._grid[index] if index < len(self._grid) else self._left_out(trials)
        return {}

    @cached_property
    def _known(self) -> list[dict[str, Any]]:
        """The points that the study starts from; the sampler draws what they leave open."""
        stored = self._study.user_attrs.get(attributes.STARTING_POINTS, [])
        return [inside for labels in stored if (inside := labels_inside(self._settings, labels))]

    def _has_stagnated(self, trials: list[FrozenTrial]) -> bool:
        """Whether the last `stop_after_stagnation` trials, in the order of the plan, were no better than one before.

        With two objectives a trial is better where none before is at least as good in both. A pruned one never is.
        """
        limit = self._settings.stop_after_stagnation
        if limit is None:
            return False
        signs = [1.0 if direction.name == "MAXIMIZE" else -1.0 for direction in self._study.directions]
        best: list[np.ndarray] = []
        since = 0
        for trial in sorted(attributes.counted(trials), key=lambda t: t.user_attrs.get(attributes.TRIAL_INDEX, -1)):
            value = np.multiply(signs, trial.values) if trial.state.name == "COMPLETE" else None
            if value is None or any(np.all(earlier >= value) for earlier in best):
                since += trial.user_attrs.get(attributes.TRIAL_INDEX, 0) >= self._extended_at
            else:
                best, since = [*best, value], 0
        return since >= limit

    @cached_property
    def _extended_at(self) -> int:
        return int(self._study.user_attrs.get(attributes.EXTENDED_AT, 0))

    def _left_out(self, trials: list[FrozenTrial]) -> dict[str, Any] | None:
        """The first configuration of the grid not tried yet; None where there is none, or too many to list."""
        if not self._is_listed:
            return None
        tried = {t.user_attrs.get(attributes.CONFIG_DIGEST) for t in trials}
        return next(
            (params for params, digest in zip(self._grid, self._digests, strict=True) if digest not in tried), None
        )

    @cached_property
    def _size(self) -> int | None:
        return self._settings.grid_points

    @property
    def _is_listed(self) -> bool:
        """Whether the space is small enough to be listed."""
        return self._size is not None and self._size <= LARGEST_GRID

    @cached_property
    def _grid(self) -> list[dict[str, Any]]:
        """Every configuration, in the order of the plan."""
        grid = list(grid_labels(self._settings))
        return [grid[i] for i in np.random.default_rng(self._settings.seed).permutation(len(grid))]

    @cached_property
    def _digests(self) -> list[str]:
        return [config_digest(self._settings, self._settings.values_of(params)) for params in self._grid]

    def _earlier_with(self, digest: str, number: int) -> FrozenTrial | None:
        """Another trial of the same configuration that is finished or running, whoever runs it."""
        trials = self._study.get_trials(deepcopy=False)
        running = [t for t in trials if t.state.name == "RUNNING" and t.number != number]
        known = [*attributes.counted(trials), *running]
        return next((t for t in known if t.user_attrs.get(attributes.CONFIG_DIGEST) == digest), None)

    def _copy(self, trial: optuna.Trial, earlier: FrozenTrial) -> None:
        """Ends a duplicate with the earlier trial's value and state; one that still runs has none to copy."""
        trial.set_user_attr(attributes.DUPLICATE_OF, earlier.number)
        if earlier.state.name == "RUNNING":
            fail(self._study, trial.number, f"trial {earlier.number}, which runs, has the same configuration")
        elif earlier.state.name == "PRUNED":
            if earlier.value is not None:
                trial.report(earlier.value, step=0)
            self._study.tell(trial, state=earlier.state)
        else:
            self._study.tell(trial, earlier.values)
        self._log.event("duplicate", trial=trial.number, duplicate_of=earlier.number)

    def _is_done(self, trials: list[FrozenTrial]) -> bool:
        """Whether every configuration of a finite space is finished, or known to be over the limit."""
        known = [*attributes.counted(trials), *filter(attributes.is_over_limit, trials)]
        return self._size is not None and len({t.user_attrs.get(attributes.CONFIG_DIGEST) for t in known}) >= self._size

    def _end(self, reason: str) -> None:
        if self._exhausted:
            return
        self._exhausted = True
        self._study.set_user_attr(attributes.ENDED, reason)
        self._log.event("exhausted", f"{reason}: the search ends here", level="warning")


def is_running(trials: list[FrozenTrial]) -> bool:
    """True while anybody runs a trial."""
    return any(t.state.name == "RUNNING" for t in trials)


def first_queued(trials: list[FrozenTrial]) -> FrozenTrial | None:
    """The trial that `ask` will take from the queue."""
    return next((t for t in trials if t.state.name == "WAITING"), None)


def _most_duplicates_in_a_row(trials: list[FrozenTrial], first: int) -> int:
    """At how many indices in a row, anywhere from the first on, the sampler gave a configuration tried before."""
    at = {
        t.user_attrs.get(attributes.TRIAL_INDEX, -1): t.user_attrs[attributes.CONFIG_DIGEST]
        for t in trials
        if attributes.CONFIG_DIGEST in t.user_attrs
    }
    tried: set[str] = set()
    most = now = 0
    for index in sorted(at):
        now = now + 1 if at[index] in tried and index >= first else 0
        most = max(most, now)
        tried.add(at[index])
    return most


def _over_in_a_row(trials: list[FrozenTrial], first: int) -> int:
    """How many models over the limit came after the last one that was trained; duplicates between them do not count.

    Args:
        trials: of the study.
        first: the index from which on they count.
    """
    over = 0
    for trial in reversed(trials):
        if trial.user_attrs.get(attributes.TRIAL_INDEX, first) < first:
            break
        if attributes.OVER_LIMIT in trial.user_attrs:
            over += 1
        elif trial.state.name in ("COMPLETE", "PRUNED", "RUNNING") and not attributes.is_duplicate(trial):
            break
    return over
