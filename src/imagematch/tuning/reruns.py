"""The best trials trained again with other seeds: the winner is the best by mean, not by luck.

The reruns are trials of a second study beside the first, so that every worker and every machine can take one, and a
resumed study trains none of them twice.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.config import RERUN_SUFFIX, StudySettings
from imagematch.errors import StudyError
from imagematch.events import RunLog
from imagematch.tuning import attributes, optuna_internals
from imagematch.tuning.attributes import COMPARED, RERUN_OF, RERUNS_OF, SEED_NUMBER, WINNER
from imagematch.tuning.plan import Lock, first_queued, is_running
from imagematch.tuning.planned_trial import PlannedTrial, settings_of, start_queued
from imagematch.tuning.recovery import queue
from imagematch.tuning.space import suggest

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

# ---- the rerun study


def rerun_study_of(study_name: str, storage: BaseStorage) -> optuna.Study | None:
    """The rerun study of a study; None where there is none, or another study has its name."""
    import optuna

    try:
        found = optuna.load_study(study_name=_rerun_name(study_name), storage=storage)
    except KeyError:
        return None
    return found if _holds_reruns(found) else None


def rerun_study_names(storage: BaseStorage) -> set[str]:
    """The names of all rerun studies in a storage."""
    found = [rerun_study_of(study.study_name, storage) for study in storage.get_all_studies()]
    return {reruns.study_name for reruns in found if reruns is not None}


def open_rerun_study(study: optuna.Study) -> optuna.Study:
    """The rerun study of a study, created where there is none; raises StudyError where another study has its name."""
    import optuna

    storage = optuna_internals.storage_of(study)
    refuse_another(study.study_name, storage)
    reruns = optuna.create_study(
        study_name=_rerun_name(study.study_name),
        storage=storage,
        direction=study.directions[0],
        sampler=optuna.samplers.RandomSampler(seed=0),  # every parameter is settled
        pruner=optuna.pruners.NopPruner(),
        load_if_exists=True,
    )
    if reruns.user_attrs.get(RERUNS_OF) != study.study_name:
        reruns.set_user_attr(RERUNS_OF, study.study_name)
    return reruns


def refuse_another(study_name: str, storage: BaseStorage) -> None:
    """Raises StudyError where another study has the name that the rerun study of `study_name` would have."""
    name = _rerun_name(study_name)
    taken = any(other.study_name == name for other in storage.get_all_studies())
    if taken and rerun_study_of(study_name, storage) is None:
        raise StudyError(
            f"another study is called {name}, where the reruns of the best trials would be stored",
            where=study_name,
            do="choose another study_name, or rerun_top_k: 0",
        )


def _rerun_name(study_name: str) -> str:
    return f"{study_name}{RERUN_SUFFIX}"


def _holds_reruns(study: optuna.Study) -> bool:
    """Whether a study is marked as a rerun study or, as those of older versions, holds nothing but reruns."""
    marked = RERUNS_OF in study.user_attrs or all(RERUN_OF in t.user_attrs for t in study.get_trials(deepcopy=False))
    return marked and len(study.directions) == 1


# ---- its plan


class RerunPlan:
    """Which rerun comes next: of the first `rerun_top_k` trials by value, each with `rerun_seeds` other seeds.

    Used when the search is complete. A rerun that failed is not tried again.

    Args:
        study: the search's.
        settings: of the study.
        lock: held while a rerun is planned.
    """

    def __init__(self, study: optuna.Study, settings: StudySettings, lock: Lock = contextlib.nullcontext) -> None:
        self._search = study
        self._settings = settings
        self._lock = lock
        self._reruns: optuna.Study | None = None

    @property
    def study(self) -> optuna.Study:
        """The rerun study; created when it is first needed."""
        if self._reruns is None:
            self._reruns = open_rerun_study(self._search)
        return self._reruns

    def wanted(self) -> list[FrozenTrial]:
        """The trials of the search that are to be trained again; none where the winner needs no reruns."""
        ranked = attributes.best_of(self._search.get_trials(deepcopy=False), self._search.directions)
        top = ranked[: self._settings.rerun_top_k]
        return top if len(top) > 1 and self._settings.rerun_seeds else []

    def is_complete(self) -> bool:
        """True if every rerun has ended."""
        wanted = self.wanted()
        if not wanted:
            return True
        trials = self.study.get_trials(deepcopy=False)
        return not (self._missing(wanted, trials) or first_queued(trials) or is_running(trials))

    def next_trial(self) -> PlannedTrial | None:
        """The next rerun to train; None if none is needed beside those that run, whoever runs them."""
        wanted = self.wanted()
        while wanted:
            with self._lock():
                trials = self.study.get_trials(deepcopy=False)
                missing = self._missing(wanted, trials)
                queued = first_queued(trials)
                if queued is None:
                    if not missing:
                        return None
                    original, seed_number = missing[0]
                    named = {RERUN_OF: original.number, SEED_NUMBER: seed_number}
                    queue(self.study, attributes.next_index(trials), original.params, named)
                    queued = first_queued(self.study.get_trials(deepcopy=False))
                planned = None if queued is None else self._start(queued)
            if planned is not None:
                return planned
        return None

    def _missing(self, wanted: list[FrozenTrial], trials: list[FrozenTrial]) -> list[tuple[FrozenTrial, int]]:
        """The reruns, by trial and number of the seed, that are neither trained nor queued."""
        present = {(t.user_attrs.get(RERUN_OF), t.user_attrs.get(SEED_NUMBER)) for t in trials}
        seeds = range(1, self._settings.rerun_seeds + 1)
        return [(trial, seed) for trial in wanted for seed in seeds if (trial.number, seed) not in present]

    def _start(self, queued: FrozenTrial) -> PlannedTrial | None:
        index = int(queued.user_attrs[attributes.TRIAL_INDEX])
        trial = start_queued(self.study, queued, index)
        if trial is None:
            return None
        original = self._search.get_trials(deepcopy=False)[queued.user_attrs[RERUN_OF]]
        of, seed_number = original.user_attrs[attributes.TRIAL_INDEX], queued.user_attrs[SEED_NUMBER]
        suggest(trial, self._settings)  # stores the settled parameters
        trial.set_user_attr(attributes.CONFIG_DIGEST, original.user_attrs.get(attributes.CONFIG_DIGEST, ""))
        train = settings_of(self._settings, self._settings.values_of(original.params), of, seed_number)
        return PlannedTrial(trial, index, train, f"rerun-{of}-{seed_number}", is_rerun=True)


# ---- the winner


def choose_winner(study: optuna.Study, settings: StudySettings, log: RunLog) -> FrozenTrial | None:
    """The best of the first `rerun_top_k` trials by the mean over their reruns; None where no trial is complete.

    A trial of which a rerun failed ranks after those with fewer failures, whatever its mean: a configuration that
    collapses with every other seed is no winner. The trial's own value, which it was chosen by, is not in its mean.
    """
    ranked = attributes.best_of(study.get_trials(deepcopy=False), study.directions)
    if not ranked:
        return None
    top = ranked[: settings.rerun_top_k]
    reruns = rerun_study_of(study.study_name, optuna_internals.storage_of(study))
    if len(top) < 2 or not settings.rerun_seeds or reruns is None:
        winner, compared = ranked[0], {"trials": [], "seeds": 0}
    else:
        compared = {"trials": [trial.number for trial in top], "seeds": settings.rerun_seeds}
        runs = reruns.get_trials(deepcopy=False)
        values, failed = rerun_values(runs, compared), _failed_reruns(runs, compared)
        sign = -1.0 if study.directions[0].name == "MAXIMIZE" else 1.0

        def rank(trial: FrozenTrial) -> tuple[float, float]:
            own = values.get(trial.number, [])
            return failed[trial.number], sign * float(np.mean(own)) if own else float("inf")

        winner = min(top, key=rank)
        _log_winner(winner, values.get(winner.number, []), settings, log)
    study.set_user_attr(COMPARED, compared)
    study.set_user_attr(WINNER, winner.number)
    return winner


def _log_winner(winner: FrozenTrial, values: list[float], settings: StudySettings, log: RunLog) -> None:
    if not values:
        return
    mean = float(np.mean(values))
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    seeds = "1 other seed" if spread is None else f"{len(values)} other seeds (standard deviation {spread:.4f})"
    log.event(
        "winner",
        f"winner: trial {winner.number}, {settings.objectives[0]} {mean:.4f} by mean of {seeds}; "
        f"{winner.values[0]:.4f} in the search",
        trial=winner.number,
        mean=mean,
        spread=spread,
    )


def rerun_values(runs: Iterable[FrozenTrial], compared: Mapping[str, Any] | None = None) -> dict[int, list[float]]:
    """Trial -> the values of its reruns, in the order of their seeds; those that failed are left out.

    Args:
        runs: of the rerun study; of two with the same seed, which two processes may have trained, the later counts.
        compared: the study's attribute COMPARED, to count only its trials and seeds; None counts all.
    """
    values: dict[int, dict[int, float]] = {}
    for run in runs:
        trial, seed = run.user_attrs.get(RERUN_OF), run.user_attrs.get(SEED_NUMBER, 0)
        if trial is not None and run.value is not None and _counts(trial, seed, compared):
            values.setdefault(trial, {})[seed] = float(run.value)
    return {trial: [by_seed[seed] for seed in sorted(by_seed)] for trial, by_seed in values.items()}


def _failed_reruns(runs: list[FrozenTrial], compared: Mapping[str, Any]) -> Counter[int]:
    """Trial -> with how many seeds it has no value."""
    values = rerun_values(runs, compared)
    return Counter({trial: compared["seeds"] - len(values.get(trial, [])) for trial in compared["trials"]})


def _counts(trial: int, seed: int, compared: Mapping[str, Any] | None) -> bool:
    return compared is None or (trial in compared["trials"] and seed <= compared["seeds"])
