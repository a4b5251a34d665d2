"""A study that is cut off again and again comes to the trials it would have had, with every sampler and pruner."""

import itertools
import math

import optuna
import pytest
from optuna.trial import TrialState

from imagematch.config import StudySettings, parse_study
from imagematch.events import SILENT
from imagematch.tuning import attributes
from imagematch.tuning.plan import Plan
from imagematch.tuning.planned_trial import PlannedTrial
from imagematch.tuning.recovery import recover
from imagematch.tuning.samplers import longest_training, make_pruner

EPOCHS, TRIALS = 27, 24
CUTS = (0, 5, 11, 26)
"""After how many epochs a process dies, in turn."""


def settings_of(sampler: str, pruner: str, folds: int = 1) -> StudySettings:
    numbers = {"learning_rate_range": {"low": 1e-4, "high": 1e-1, "log": True}}
    numbers["margin_range"] = {"low": 0.05, "high": 0.95}
    grids = {"learning_rate_grid": [round(0.001 * (k + 1), 3) for k in range(9)], "embedding_dim_grid": [2, 4, 8, 16]}
    return parse_study(
        {
            "study_name": "s",
            "dataset": "digits",
            "feature_extractor": "pixels",
            "dropout": 0,
            "epochs": EPOCHS,
            "folds": folds,
            "sampler": sampler,
            "pruner": pruner,
            "n_trials": TRIALS,
            **(grids if sampler in ("grid", "random") else {**numbers, "embedding_dim_grid": [2, 4, 8, 16]}),
        }
    )


def value_at(planned: PlannedTrial, step: int) -> float:
    """A curve of its own for every trial; those of different trials cross."""
    params = planned.trial.params
    away = abs(math.log10(params["learning_rate"] / 0.01)) + abs(math.log2(params["embedding_dim"] / 8))
    wave = math.sin(step * (1 + planned.settings.training_seed % 7)) / 20
    return (1 - math.exp(-step / (3 + planned.index % 4))) / (1 + away) + wave


def run(storage: optuna.storages.BaseStorage, settings: StudySettings, cut_every: int | None) -> None:
    """Runs the study in processes that die in every `cut_every`-th trial, until it is over."""
    cuts = itertools.cycle(CUTS)
    steps = settings.folds if settings.folds > 1 else EPOCHS
    while True:
        pruner = make_pruner(settings.pruner, longest=longest_training(settings), folds=settings.folds)
        study = optuna.create_study(
            study_name="s", storage=storage, direction="maximize", pruner=pruner, load_if_exists=True
        )
        recover(study)
        plan = Plan(study, settings, SILENT)
        for number in itertools.count(1):
            planned = plan.next_trial()
            if planned is None:
                return
            last = min(next(cuts), steps) if number == cut_every else None
            for step in range(1, steps + 1):
                if last is not None and step > last:
                    break
                planned.trial.report(value_at(planned, step), step)
                if planned.trial.should_prune():
                    break
            if number == cut_every:
                break
            pruned = TrialState.PRUNED if planned.trial.should_prune() else TrialState.COMPLETE
            study.tell(planned.trial, None if pruned == TrialState.PRUNED else value_at(planned, step), state=pruned)


def trials_of(storage: optuna.storages.BaseStorage) -> list[tuple[object, ...]]:
    """Place, parameters, end and value of each trial that ended by itself."""
    trials = optuna.load_study(study_name="s", storage=storage).trials
    return sorted(
        (t.user_attrs[attributes.TRIAL_INDEX], str(sorted(t.params.items())), t.state.name, t.last_step, t.value)
        for t in trials
        if t.state.name != "FAIL"
    )


@pytest.mark.parametrize("pruner", ["none", "median", "asha", "hyperband"])
@pytest.mark.parametrize("sampler", ["tpe", "random", "grid", "qmc", "cmaes"])
def test_cut_off_and_resumed_it_is_the_study_it_would_have_been(sampler: str, pruner: str) -> None:
    settings = settings_of(sampler, pruner)
    whole, cut = optuna.storages.InMemoryStorage(), optuna.storages.InMemoryStorage()
    run(whole, settings, cut_every=None)
    run(cut, settings, cut_every=3)
    assert trials_of(cut) == trials_of(whole)
    study = optuna.load_study(study_name="s", storage=cut)
    assert sum(t.state.name == "FAIL" for t in study.trials) >= TRIALS // 3
    assert len(attributes.counted(study.trials)) == TRIALS
    if pruner != "none":
        assert any(t.state.name == "PRUNED" for t in study.trials)


@pytest.mark.parametrize("pruner", ["median", "asha", "hyperband"])
def test_so_it_is_over_folds(pruner: str) -> None:
    settings = settings_of("tpe", pruner, folds=5)
    whole, cut = optuna.storages.InMemoryStorage(), optuna.storages.InMemoryStorage()
    run(whole, settings, cut_every=None)
    run(cut, settings, cut_every=2)
    assert trials_of(cut) == trials_of(whole)
    assert any(row[2] == "PRUNED" for row in trials_of(whole))
