"""Which trials are best, of one objective and of two."""

import itertools

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from imagematch.tuning import attributes


@pytest.mark.parametrize("directions", list(itertools.product(("maximize", "minimize"), repeat=2)))
def test_the_front_is_what_no_trial_beats(directions: tuple[str, str]) -> None:
    random = np.random.default_rng(0)
    study = optuna.create_study(directions=directions)
    values = np.round(random.random((40, 2)), 1)  # with ties
    for pair in values:
        study.add_trial(create_trial(values=pair.tolist()))
    signs = [1 if direction == "minimize" else -1 for direction in directions]
    losses = values * signs

    def beaten(row: np.ndarray) -> bool:
        return any((other <= row).all() and (other < row).any() for other in losses)

    expected = {tuple(row) for row in losses if not beaten(row)}
    front = attributes.best_of(study.trials, study.directions)
    found = [tuple(np.array(t.values) * signs) for t in front]
    assert set(found) == expected
    assert len(found) == len(expected)
    assert found == sorted(found), "the best in the first objective stands first"


def test_repeats_pruned_and_untrained_trials_are_not_among_the_best() -> None:
    study = optuna.create_study(direction="maximize")
    study.add_trial(create_trial(value=0.9, user_attrs={attributes.DUPLICATE_OF: 2}))
    study.add_trial(create_trial(state=TrialState.PRUNED, user_attrs={attributes.OVER_LIMIT: 7}))
    study.add_trial(create_trial(value=0.5))
    study.add_trial(create_trial(state=TrialState.PRUNED))
    study.add_trial(create_trial(value=0.7))
    assert [t.number for t in attributes.best_of(study.trials, study.directions)] == [4, 2]
    assert [t.number for t in attributes.counted(study.trials)] == [2, 3, 4]


def test_values_for_people() -> None:
    assert attributes.values_text([0.98123, 12345.0]) == "0.9812 and 12,345"
