"""Successive halving decides as Optuna's pruners do, and goes by places, not by numbers or trials that failed."""

import numpy as np
import optuna
import pytest
from imagematch.tuning.halving import Halving
from optuna.trial import TrialState

from imagematch.tuning import attributes

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
