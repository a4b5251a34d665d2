"""The quick fANOVA is Optuna's, tree by tree."""

import numpy as np
import optuna
import pytest
from optuna.importance import FanovaImportanceEvaluator, get_param_importances

from imagematch.reporting.fanova import QuickFanova


def mixed_study(trials: int, choices: int = 3) -> optuna.Study:
    """A study of a float, an integer on a logarithmic scale and a choice."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(trials):
        trial = study.ask()
        x, k = trial.suggest_float("x", -1, 3), trial.suggest_int("k", 1, 500, log=True)
        choice = trial.suggest_categorical("choice", [f"c{number}" for number in range(choices)])
        study.tell(trial, x**2 + np.log(k) * (choice == "c0") + 0.1 * int(choice[1:]))
    return study


@pytest.mark.parametrize(("depth", "choices"), [(2, 3), (64, 3), (64, 7)])
def test_importances_are_those_of_optuna(depth, choices):
    study = mixed_study(40, choices)
    options = {"n_trees": 6, "max_depth": depth, "seed": 3}
    expected = get_param_importances(study, evaluator=FanovaImportanceEvaluator(**options))
    found = get_param_importances(study, evaluator=QuickFanova(**options))
    assert found.keys() == expected.keys() == {"x", "k", "choice"}
    assert [found[name] for name in expected] == pytest.approx(list(expected.values()), abs=1e-9)


def test_a_field_of_forty_choices_does_not_try_their_combinations():
    found = get_param_importances(mixed_study(200, choices=40), evaluator=QuickFanova(n_trees=4, seed=0))
    assert sum(found.values()) == pytest.approx(1.0)
    assert all(share > 0.0 for share in found.values())


def test_trials_that_are_all_alike_say_nothing():
    study = optuna.create_study()
    for x in (0.1, 0.4, 0.9):
        study.add_trial(
            optuna.trial.create_trial(
                value=1.0, params={"x": x}, distributions={"x": optuna.distributions.FloatDistribution(0, 1)}
            )
        )
    with pytest.raises(RuntimeError, match="zero total variance"):
        get_param_importances(study, evaluator=QuickFanova())
