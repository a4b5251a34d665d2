"""Which trials are best, of one objective and of two; stored attributes are of the kinds that are expected."""

import itertools

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from imagematch.tuning import attributes
from imagematch.tuning.attributes import OF_STUDIES, OF_TRIALS, of_their_kind


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


def test_every_name_has_its_kind() -> None:
    names = {value for name, value in vars(attributes).items() if name.isupper() and isinstance(value, str)}
    assert set(OF_TRIALS) | set(OF_STUDIES) == names
    assert not set(OF_TRIALS) & set(OF_STUDIES)


def test_a_failure_is_stored_with_what_it_was() -> None:
    stored = {"failure": {"kind": "DataError", "what": "gone", "where": "a.png", "do": ""}, "worker_died": True}
    assert of_their_kind(stored, OF_TRIALS) == stored
    assert of_their_kind({"failure": {"kind": "DataError"}, "worker_died": 1}, OF_TRIALS) == {}


def test_other_programs_attributes_stay() -> None:
    assert of_their_kind({"colour": [1, {}], "note": None}, OF_TRIALS) == {"colour": [1, {}], "note": None}


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("place", 3, True),
        ("place", 0, "3"),
        ("seconds", {"total": 1.5}, {"total": "long"}),
        ("seconds", {"total": 1}, 3.2),
        ("fold_values", [0.5, 1], [0.5, None]),
        ("best_epoch", [1, 2], [1.5]),
        ("figures", {"val_eer": None}, []),
        ("retry_of", 1, 10**400),
    ],
)
def test_a_trials_attribute_of_another_kind_is_left_out(name: str, right: object, wrong: object) -> None:
    assert of_their_kind({name: right}, OF_TRIALS) == {name: right}
    assert of_their_kind({name: wrong}, OF_TRIALS) == {}


def test_a_studys_attribute_of_another_kind_is_left_out() -> None:
    kept = {"data": {"images": 3, "root": None, "splits": {"train": {"images": 1, "classes": 1}}}, "winner": 1}
    assert of_their_kind(kept, OF_STUDIES) == kept
    assert of_their_kind({"data": {"images": "many"}, "compared": {"trials": [1]}}, OF_STUDIES) == {}
