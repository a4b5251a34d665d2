"""Repeated runs are kept in a study of their own; another study that has its name is neither touched nor hidden."""

from pathlib import Path

import optuna
import pytest
from imagematch.tuning.siblings import RERUN_OF, open_sibling

from imagematch.config import StudySettings, parse_study
from imagematch.errors import StudyError
from imagematch.files import Layout
from imagematch.reporting import read_study
from imagematch.reporting.study_reading import sibling_trials
from imagematch.tuning import delete_study, open_study
from imagematch.tuning.storage import open_storage
from imagematch.tuning.tables import overviews


@pytest.fixture(name="settings")
def settings_fixture(tmp_path: Path) -> StudySettings:
    base = {"study_name": "x", "dataset": "digits", "feature_extractor": "pixels", "dropout": 0}
    return parse_study({**base, "embedding_dim_grid": [2, 4], "storage": f"sqlite:///{tmp_path}/shared.db"})


def names_in(settings: StudySettings) -> list[str]:
    return sorted(optuna.get_all_study_names(open_storage(str(settings.storage))))


def study_of_somebody(settings: StudySettings) -> optuna.Study:
    """A study `x-rerun` with a trial of its own."""
    study = optuna.create_study(study_name="x-rerun", storage=open_storage(str(settings.storage)))
    study.add_trial(optuna.trial.create_trial(value=0.5))
    return study


def test_the_sibling_is_hidden_and_goes_with_its_study(settings: StudySettings, tmp_path: Path) -> None:
    study = open_study(settings, Layout(tmp_path))
    sibling = open_sibling(study)
    sibling.add_trial(optuna.trial.create_trial(value=0.5, user_attrs={RERUN_OF: 0}))
    assert [trial.value for trial in sibling_trials(study)] == [0.5]
    assert [row.name for row in overviews(Layout(tmp_path), settings.storage)] == ["x"]
    assert read_study(str(settings.storage)).study_name == "x"
    delete_study(settings, Layout(tmp_path))
    assert names_in(settings) == []


def test_the_sibling_that_an_older_version_left_is_one(settings: StudySettings, tmp_path: Path) -> None:
    study = open_study(settings, Layout(tmp_path))
    older = optuna.create_study(study_name="x-rerun", storage=study._storage)
    older.add_trial(optuna.trial.create_trial(value=0.5, user_attrs={RERUN_OF: 0}))
    assert [row.name for row in overviews(Layout(tmp_path), settings.storage)] == ["x"]
    assert len(open_sibling(study).trials) == 1
    delete_study(settings, Layout(tmp_path))
    assert names_in(settings) == []


def test_a_study_of_somebody_else_is_shown_and_stays(settings: StudySettings, tmp_path: Path) -> None:
    study_of_somebody(settings)
    alone = settings.model_copy(update={"rerun_top_k": 0})
    study = open_study(alone, Layout(tmp_path))
    assert sibling_trials(study) == []
    assert [row.name for row in overviews(Layout(tmp_path), settings.storage)] == ["x", "x-rerun"]
    delete_study(alone, Layout(tmp_path))
    assert names_in(settings) == ["x-rerun"]


def test_where_the_name_is_taken_nothing_is_searched(settings: StudySettings, tmp_path: Path) -> None:
    other = study_of_somebody(settings)
    with pytest.raises(StudyError, match=r"another study is called x-rerun.*rerun_top_k: 0") as refused:
        open_study(settings, Layout(tmp_path))
    assert "\n" not in str(refused.value)
    assert (names_in(settings), len(other.trials)) == (["x-rerun"], 1)
