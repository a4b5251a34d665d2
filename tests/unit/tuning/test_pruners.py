"""Successive halving decides as Optuna's pruners do, and goes by indices, not by numbers or failed trials."""

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from imagematch.config import parse_study
from imagematch.tuning import attributes
from imagematch.tuning.samplers import Halving, falls_by_cosine, longest_training, make_pruner

LONGEST, TRIALS = 45, 60


def curves(seed: int = 0) -> np.ndarray:
    """(trials, steps) values that grow and cross each other."""
    random = np.random.default_rng(seed)
    return np.cumsum(random.random((TRIALS, LONGEST)) * random.random((TRIALS, 1)), axis=1)


def ended(study: optuna.Study, direction: str) -> list[int]:
    """The step at which each trial ended."""
    sign = 1 if direction == "maximize" else -1
    steps = []
    for curve in sign * curves():
        trial = study.ask()
        for step, value in enumerate(curve, start=1):
            trial.report(float(value), step)
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, float(value))
        steps.append(step)
    return steps


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize(
    ("ours", "optunas"),
    [
        (Halving(5, 4), optuna.pruners.SuccessiveHalvingPruner(min_resource=5, reduction_factor=4)),
        (Halving(2, 2), optuna.pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=2)),
        (
            Halving(5, 3, LONGEST),
            optuna.pruners.HyperbandPruner(min_resource=5, max_resource=LONGEST, reduction_factor=3),
        ),
        (
            Halving(2, 2, LONGEST),
            optuna.pruners.HyperbandPruner(min_resource=2, max_resource=LONGEST, reduction_factor=2),
        ),
    ],
)
def test_the_decisions_are_optunas(ours: Halving, optunas: optuna.pruners.BasePruner, direction: str) -> None:
    found, expected = (
        ended(optuna.create_study(study_name="s", direction=direction, pruner=pruner), direction)
        for pruner in (ours, optunas)
    )
    assert found == expected
    assert len(set(expected)) > 2


@pytest.mark.parametrize("longest", [None, LONGEST])
def test_a_trial_that_was_cut_off_and_done_again_changes_nothing(longest: int | None) -> None:
    def pruned(cut: int | None) -> list[int]:
        study = optuna.create_study(study_name="s", direction="maximize", pruner=Halving(2, 2, longest))
        steps = []
        for place, curve in enumerate(curves()):
            for last in [20, LONGEST] if place == cut else [LONGEST]:
                trial = study.ask()
                trial.set_user_attr(attributes.TRIAL_INDEX, place)
                for step in range(1, last + 1):
                    trial.report(float(curve[step - 1]), step)
                    if trial.should_prune():
                        break
                if last != LONGEST:
                    study.tell(trial, state=TrialState.FAIL)
            study.tell(trial, float(curve[step - 1]))
            steps.append(step)
        return steps

    assert pruned(cut=7) == pruned(cut=None)


def test_what_is_no_number_is_pruned_and_counts_for_nobody() -> None:
    study = optuna.create_study(direction="maximize", pruner=Halving(1, 2))
    for value, told in ((float("nan"), True), (0.5, False), (0.4, True)):
        trial = study.ask()
        trial.report(value, step=1)
        assert trial.should_prune() is told


@pytest.mark.parametrize("longest", [1, 4, 5])
def test_short_trainings_have_one_bracket(longest: int) -> None:
    assert set(Halving(5, 3, longest)._bracket_of_share) == {0}


def reported(study: optuna.Study, means: list[float]) -> list[bool]:
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
        assert reported(study, [sign * 0.9, sign * 0.7, sign * 0.6]) == [False] * 3
    assert reported(study, [sign * 0.95, sign * 0.65, sign * 0.55]) == [False, True, True]
    assert reported(study, [sign * 0.5, sign * 0.75, sign * 0.65]) == [False, False, False]


def test_the_first_trials_are_never_pruned() -> None:
    study = optuna.create_study(direction="maximize", pruner=make_pruner("median", longest=9, folds=2))
    assert [reported(study, [0.9 - 0.1 * n, 0.8 - 0.1 * n]) for n in range(5)] == [[False, False]] * 5


@pytest.mark.parametrize("name", ["asha", "hyperband"])
def test_other_pruners_take_folds_as_steps(name: str) -> None:
    study = optuna.create_study(study_name="s", direction="maximize", pruner=make_pruner(name, longest=9, folds=4))
    said = [reported(study, [value] * 4) for value in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)]
    assert any(any(one) for one in said)
    assert not any(said[0])
    assert not any(one[0] for one in said), "the first fold is let go on"


@pytest.mark.parametrize("name", ["median", "asha", "hyperband"])
def test_the_first_epochs_are_let_go_on(name: str) -> None:
    study = optuna.create_study(study_name="s", direction="maximize", pruner=make_pruner(name, longest=9))
    said = [reported(study, [0.9 - 0.05 * trial] * 9) for trial in range(12)]
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


@pytest.mark.parametrize(("cosine", "first"), [(False, 5), (True, 30)])
def test_the_median_waits_for_the_last_third_of_a_cosine(cosine: bool, first: int) -> None:
    pruner = make_pruner("median", longest=LONGEST, cosine=cosine)
    steps = ended(optuna.create_study(direction="maximize", pruner=pruner), "maximize")
    assert min(steps) == first
    assert steps[:5] == [LONGEST] * 5


@pytest.mark.parametrize(
    ("fields", "falls"),
    [({}, False), ({"lr_schedule": "cosine"}, True), ({"lr_schedule_grid": ["constant", "cosine"]}, True)],
)
def test_a_study_whose_rates_fall_by_a_cosine_is_known(fields: dict[str, object], falls: bool) -> None:
    assert falls_by_cosine(parse_study({"study_name": "s", "embedding_dim_grid": [8, 16], **fields})) is falls
