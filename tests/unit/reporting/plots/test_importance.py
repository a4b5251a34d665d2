"""Which setting mattered, and whether the trials can tell."""

from __future__ import annotations

import numpy as np
import optuna
import pytest

from imagematch.errors import StudyError
from imagematch.reporting.plots import importance_sentence, importances

UNIT = optuna.distributions.FloatDistribution(0, 1)


def made(count, value, *, conditional=False, seed=0):
    """Trials of two numbers (one of them in every second trial only), with their values."""
    trials = []
    for number, (x, y, noise) in enumerate(np.random.default_rng(seed).random((count, 3))):
        params = {"x": float(x)} if conditional and number % 2 else {"x": float(x), "y": float(y)}
        trials.append(
            optuna.trial.create_trial(
                params=params, distributions=dict.fromkeys(params, UNIT), value=float(value(x, y, noise))
            )
        )
    return trials


def found(trials, *, maximise=True):
    return importances(trials, lambda trial: trial.value, maximise=maximise)


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_setting_that_decides_is_told_from_chance_and_the_other_is_not(conditional, sign):
    trials = made(200, lambda x, _y, noise: sign * (x > 0.8) + 0.1 * noise, conditional=conditional)
    first, second = found(trials, maximise=sign > 0)
    assert (first.name, second.name) == ("x", "y")
    assert first.share > 0.8
    assert first.low > first.by_chance
    assert (first.established, second.established) == (True, False)
    assert importance_sentence([first, second], 200).startswith("What mattered: x (")
    assert importance_sentence([first, second], 200).endswith("whether the others matter.")


def test_where_nothing_matters_the_sentence_says_so():
    both = found(made(200, lambda _x, _y, noise: noise))
    assert not any(one.established for one in both)
    assert importance_sentence(both, 200).startswith("200 finished trials cannot tell which setting mattered")


def test_the_same_trials_give_the_same_intervals():
    trials = made(30, lambda x, y, _noise: x + y)
    assert found(trials) == found(trials)
    assert all(one.low <= one.high for one in found(trials))


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_few_trials_are_said_to_tell_nothing(count):
    with pytest.raises(StudyError, match=f"^{count} finished trials? cannot tell which setting mattered: it takes 10"):
        found(made(count, lambda x, _y, _noise: x))


def test_trials_that_are_all_alike_vary_in_nothing():
    trials = [optuna.trial.create_trial(params={"x": 0.5}, distributions={"x": UNIT}, value=1.0) for _ in range(12)]
    with pytest.raises(StudyError, match="no setting varies"):
        found(trials)
