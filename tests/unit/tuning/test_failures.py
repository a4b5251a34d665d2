"""When failures end a search: at once where nothing works, after a few that are alike, never for a single trial."""

from pathlib import Path

import optuna
import pytest
from imagematch.tuning.search import _Running

from imagematch.config import parse_study
from imagematch.errors import StudyError
from imagematch.events import SILENT
from imagematch.files import Layout
from imagematch.interruption import StopRequest
from imagematch.tuning import Search
from imagematch.tuning.failures import Failures

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


def test_an_error_of_the_data_ends_a_search_when_it_has_come_thrice() -> None:
    failures = Failures(SETTINGS, Path("worker.log"))
    gone, other = {"what": "the image is gone", "where": "a.png"}, {"what": "the image is gone", "where": "b.png"}
    told = [failures.is_of_one_trial(error, any_worked=True) for error in (gone, other, gone, gone)]
    assert told == [True, True, True, False]


def test_an_error_before_anything_has_worked_is_of_all_trials() -> None:
    assert not Failures(SETTINGS, Path("x")).is_of_one_trial({"what": "gone", "where": ""}, any_worked=False)


def test_failed_trials_end_a_search_in_which_none_has_worked() -> None:
    failures = Failures(SETTINGS, Path("worker.log"))
    for _ in range(4):
        failures.add("not a number", any_worked=False)
    with pytest.raises(StudyError, match="5 have failed, the last because not a number"):
        failures.add("not a number", any_worked=False)


def test_no_more_trials_than_the_study_has_may_fail() -> None:
    failures = Failures(SETTINGS, Path("worker.log"))
    for _ in range(6):
        failures.add("not a number", any_worked=True)
    assert not failures.too_many
    failures.add("not a number", any_worked=True)
    assert failures.too_many


def test_a_trial_that_others_failed_just_before_its_end_is_lost_and_no_error(tmp_path: Path) -> None:
    study = optuna.create_study(study_name="s", direction="maximize")
    with Search(study, SETTINGS, layout=Layout(tmp_path), log=SILENT, stop=StopRequest()) as search:
        planned = search.plan.next_trial()
        assert planned is not None
        child = search._children[0]
        running = search._running[child] = _Running(planned)
        study.tell(planned.trial.number, state=optuna.trial.TrialState.FAIL)
        with search._unless_lost(running):
            study.tell(planned.trial, 0.5)
        assert running.lost
        search._requeue(child)
    assert len(study.trials) == 1, "the others have queued it again"


def test_another_mistake_is_not_taken_for_a_lost_trial(tmp_path: Path) -> None:
    study = optuna.create_study(study_name="s", direction="maximize")
    with Search(study, SETTINGS, layout=Layout(tmp_path), log=SILENT, stop=StopRequest()) as search:
        planned = search.plan.next_trial()
        assert planned is not None
        with pytest.raises(ValueError, match="other"), search._unless_lost(_Running(planned)):
            raise ValueError("other")
