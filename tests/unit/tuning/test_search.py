"""The search with real child processes that train nothing: what becomes of trials that reach their last step."""

import os
from pathlib import Path

import optuna
import pytest
from tests.conftest import ROOT
from tests.quick_study import NAME, settings_of

from imagematch.config import StudySettings
from imagematch.events import SILENT
from imagematch.files import Layout
from imagematch.training import StopRequest
from imagematch.tuning import Search, child, records
from imagematch.tuning.samplers import longest_training, make_pruner


@pytest.fixture(autouse=True)
def quick_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "WORKER", "tests.quick_worker")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]))


def study_of(settings: StudySettings) -> optuna.Study:
    pruner = make_pruner(settings.pruner, longest=longest_training(settings))
    return optuna.create_study(study_name=NAME, direction="maximize", pruner=pruner)


def search_in(folder: Path, study: optuna.Study, settings: StudySettings) -> Search:
    return Search(study, settings, layout=Layout(folder), log=SILENT, stop=StopRequest())


@pytest.mark.parametrize(("pruner", "epochs"), [("asha", 20), ("hyperband", 15), ("median", 5)])
def test_a_trial_that_has_reached_its_last_step_is_a_candidate(pruner: str, epochs: int, tmp_path: Path) -> None:
    settings = settings_of(24, sampler="random", pruner=pruner, epochs=epochs)
    study = study_of(settings)
    with search_in(tmp_path, study, settings) as search:
        search.run()
    trained = records.counted(study.trials)
    reached = [t for t in trained if t.last_step == epochs]
    assert {t.number for t in records.best_of(trained, study.directions)} == {t.number for t in reached}
    assert {t.state.name for t in trained if t not in reached} <= {"PRUNED"}
    assert any(study.pruner.prune(study, t) for t in reached), "it would prune there"
