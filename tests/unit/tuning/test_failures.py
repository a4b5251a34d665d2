"""When failures end a search: at once where nothing works, after a few that are equal, never for a single trial."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from imagematch.config import parse_study
from imagematch.errors import DataError, StudyError
from imagematch.tuning.attributes import FAILURE, REASON
from imagematch.tuning.failures import error_json, error_of, too_many_failures

SETTINGS = parse_study(
    {
        "study_name": "s",
        "dataset": "digits",
        "feature_extractor": "pixels",
        "dropout": 0,
        "embedding_dim_grid": [2, 4],
        "n_trials": 7,
    }
)
GONE = error_json(DataError("the image is gone", where="a.png", do="bring it back"))
OTHER = {**GONE, "where": "b.png"}
COLLAPSED = {"what": "not a number"}


def trials_of(*failures: dict[str, Any], finished: int = 1) -> list[FrozenTrial]:
    study = optuna.create_study()
    for _ in range(finished):
        study.add_trial(create_trial(value=0.5))
    for failure in failures:
        study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={FAILURE: failure, REASON: failure["what"]}))
    return study.trials


def failures_of(trials: list[FrozenTrial], first: int = 0) -> int:
    return too_many_failures(trials, SETTINGS, first=first, details=Path("worker.log"))


def test_an_error_of_the_data_ends_a_search_when_it_has_come_thrice() -> None:
    assert failures_of(trials_of(GONE, OTHER, GONE)) == 0
    with pytest.raises(DataError, match=r"a\.png: the image is gone; bring it back"):
        failures_of(trials_of(GONE, OTHER, GONE, GONE))


def test_an_error_before_anything_has_worked_is_of_all_trials() -> None:
    with pytest.raises(DataError):
        failures_of(trials_of(GONE, finished=0))


def test_failed_trials_end_a_search_in_which_none_has_worked() -> None:
    assert failures_of(trials_of(*[COLLAPSED] * 4, finished=0)) == 0
    with pytest.raises(StudyError, match=r"5 have failed, the last because not a number; see worker\.log"):
        failures_of(trials_of(*[COLLAPSED] * 5, finished=0))


def test_no_more_trials_than_the_study_has_may_fail() -> None:
    assert failures_of(trials_of(*[COLLAPSED] * 6)) == 0
    assert failures_of(trials_of(*[COLLAPSED] * 7)) == 7


def test_what_failed_before_a_study_was_resumed_does_not_count() -> None:
    trials = trials_of(*[GONE] * 7)
    assert failures_of(trials, first=len(trials)) == 0


def test_trials_that_were_cut_off_are_no_failures() -> None:
    study = optuna.create_study()
    for _ in range(9):
        study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={REASON: "interrupted; queued again"}))
    assert failures_of(study.trials) == 0


def test_an_error_comes_back_as_it_was() -> None:
    error = error_of(error_json(DataError("gone", where="x", do="y")))
    assert (type(error), str(error)) == (DataError, "x: gone; y")
    assert type(error_of({"kind": "os", "what": "gone"})) is StudyError, "another program's"
