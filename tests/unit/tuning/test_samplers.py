"""TPE over all fields at once: conditional fields are modelled with the rest, and nothing without effect is drawn."""

from __future__ import annotations

from typing import Any

import optuna

from imagematch.config import StudySettings, parse_study
from imagematch.events import SILENT
from imagematch.tuning import attributes
from imagematch.tuning.plan import Plan
from imagematch.tuning.samplers import draw_configuration
from imagematch.tuning.space import quasi_random_labels

SPACE = {
    "study_name": "s",
    "dataset": "digits",
    "feature_extractor": "pixels",
    "image_size": 8,
    "embedding_dim_grid": [8, 16, 32, 64],
    "intermediate_ff_block_units_grid": [[], [8], [16], [32]],
    "dropout_range": {"low": 0.0, "high": 1.0, "step": 0.1},
}


def searched(n_trials: int, **values: Any) -> tuple[optuna.Study, StudySettings]:
    settings = parse_study({**SPACE, "n_trials": n_trials, **values})
    study = optuna.create_study(direction="maximize")
    plan = Plan(study, settings, SILENT)
    while (planned := plan.next_trial()) is not None:
        params = planned.trial.params
        study.tell(planned.trial, params["embedding_dim"] / 64 - abs(params.get("dropout", 1.0) - 0.3))
    return study, settings


def test_the_first_trials_are_the_quasi_random_sequence() -> None:
    study, settings = searched(8)
    assert [t.params for t in study.trials[:8]] == [quasi_random_labels(settings, index) for index in range(8)]


def test_what_an_objective_wants_of_a_conditional_field_is_found() -> None:
    study, _ = searched(40)
    late = [t.params for t in attributes.counted(study.trials)[25:]]
    near = [p for p in late if abs(p.get("dropout", 1.0) - 0.3) <= 0.2 and p["embedding_dim"] >= 32]
    assert len(near) > len(late) / 2
    assert not [t for t in study.trials if ("dropout" in t.params) == (t.params["intermediate_ff_block_units"] == "[]")]


def test_a_draw_leaves_the_study_as_it_is_and_is_the_same_again() -> None:
    study, settings = searched(12)
    trials = study.get_trials(deepcopy=False)
    draws = [draw_configuration(study, trials, settings, index=20) for _ in range(2)]
    assert draws[0] == draws[1]
    assert len(study.trials) == len(trials)


def test_trials_that_run_pruned_ones_and_limits_are_taken_into_account() -> None:
    study, settings = searched(12, max_parameters=5000)
    running = Plan(study, settings.model_copy(update={"n_trials": 13}), SILENT).next_trial()
    assert running is not None
    pruned = Plan(study, settings.model_copy(update={"n_trials": 14}), SILENT).next_trial()
    assert pruned is not None
    pruned.trial.report(0.1, step=1)
    study.tell(pruned.trial, state=optuna.trial.TrialState.PRUNED)
    assert draw_configuration(study, study.get_trials(deepcopy=False), settings, index=30)
