"""What a study notes is of the kinds that are expected when it is read."""

import pytest
from imagematch.tuning.attribute_kinds import OF_STUDIES, OF_TRIALS, of_their_kind

from imagematch.tuning import records, rerun, siblings, study


def test_the_names_are_those_that_are_noted() -> None:
    of_trials = {
        value
        for name, value in vars(records).items()
        if name.isupper() and isinstance(value, str) and not name.startswith("_")
    }
    assert set(OF_TRIALS) == {*of_trials, siblings.RERUN_OF, rerun.SEED_NUMBER}
    noted = {study.DEFINITION, study.BASELINE, study.NETWORK_PARAMETERS, study.PRECISIONS, study.DATA}
    assert set(OF_STUDIES) == {*noted, rerun.WINNER, rerun.COMPARED, siblings._REPEATS}


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
