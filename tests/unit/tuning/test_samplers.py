"""Pruners of trials in folds, and how long trials can be."""

import optuna
import pytest

from imagematch.config import parse_study
from imagematch.tuning.samplers import longest_training, make_pruner


def told(study: optuna.Study, means: list[float]) -> list[bool]:
    """Reports the means of a trial's folds and gives what the pruner says to each; the trial is told as complete."""
    trial = study.ask()
    said = []
    for number, mean in enumerate(means, start=1):
        trial.report(mean, step=number)
        said.append(trial.should_prune())
    study.tell(trial, means[-1])
    return said


@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1.0), ("minimize", -1.0)])
def test_a_lucky_first_fold_does_not_save_a_trial(direction: str, sign: float) -> None:
    study = optuna.create_study(direction=direction, pruner=make_pruner("median", longest=9, folds=3))
    for _ in range(5):
        assert told(study, [sign * 0.9, sign * 0.7, sign * 0.6]) == [False] * 3
    assert told(study, [sign * 0.95, sign * 0.65, sign * 0.55]) == [False, True, True]
    assert told(study, [sign * 0.5, sign * 0.75, sign * 0.65]) == [False, False, False]


def test_the_first_trials_are_never_pruned() -> None:
    study = optuna.create_study(direction="maximize", pruner=make_pruner("median", longest=9, folds=2))
    assert [told(study, [0.9 - 0.1 * n, 0.8 - 0.1 * n]) for n in range(5)] == [[False, False]] * 5


@pytest.mark.parametrize("name", ["asha", "hyperband"])
def test_other_pruners_take_folds_as_steps(name: str) -> None:
    study = optuna.create_study(study_name="s", direction="maximize", pruner=make_pruner(name, longest=9, folds=4))
    said = [told(study, [value] * 4) for value in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)]
    assert any(any(one) for one in said)
    assert not any(said[0])
    assert not any(one[0] for one in said), "the first fold is let go on"


@pytest.mark.parametrize("name", ["median", "asha", "hyperband"])
def test_the_first_epochs_are_let_go_on(name: str) -> None:
    study = optuna.create_study(study_name="s", direction="maximize", pruner=make_pruner(name, longest=9))
    said = [told(study, [0.9 - 0.05 * trial] * 9) for trial in range(12)]
    assert any(any(one) for one in said)
    assert not any(any(one[:4]) for one in said)


@pytest.mark.parametrize(
    ("fields", "epochs"),
    [
        ({}, 50),
        ({"epochs": 7}, 7),
        ({"epochs_grid": [3, 12, 5]}, 12),
        ({"epochs_range": {"low": 5, "high": 20}}, 20),
        ({"feature_extractor": "small_cnn", "stages": [{"epochs": 2}, {"epochs": 9, "trainable": 2}]}, 11),
        ({"feature_extractor": "small_cnn", "stages_grid": [[{"epochs": 2}], [{"epochs": 3}, {"trainable": 1}]]}, 53),
    ],
)
def test_the_longest_training_is_known_from_the_fields(fields: dict[str, object], epochs: int) -> None:
    given = {"study_name": "s", "dataset": "digits", "feature_extractor": "pixels", "embedding_dim_grid": [4, 8]}
    assert longest_training(parse_study({**given, **fields})) == epochs
