"""The search with real child processes that train nothing: what reaches the last step, and what may go wrong."""

import os
from pathlib import Path

import optuna
import pytest
from tests.conftest import ROOT
from tests.quick_study import NAME, settings_of

from imagematch.config import StudySettings, parse_train
from imagematch.errors import StudyError
from imagematch.events import SILENT
from imagematch.files import Layout
from imagematch.interruption import StopRequest
from imagematch.tuning import Search, child, rank_again, records
from imagematch.tuning.samplers import longest_training, make_pruner
from imagematch.tuning.study import PRECISIONS, network_label


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


def test_a_child_that_has_had_many_tasks_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[child.Child] = []
    plain = child.Child._start

    def counted(self: child.Child) -> object:
        started.append(self)
        return plain(self)

    monkeypatch.setattr(child, "RENEW_AFTER_TASKS", 3)
    monkeypatch.setattr(child.Child, "_start", counted)
    settings = settings_of(7).model_copy(update={"rerun_top_k": 2, "rerun_seeds": 4})
    study = study_of(settings)
    with search_in(tmp_path, study, settings) as search:
        search.run()
        assert len(started) == 3, "for trials 1 to 3, 4 to 6, and 7"
        rank_again(records.best_of(study.trials, study.directions), study, search, settings, SILENT)
    assert len(started) == 5, "and the repeated runs: 1 and 2, 3 to 5, 6 to 8"


def test_a_trial_whose_end_cannot_be_written_is_queued_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would stand as running for all other machines as long as this process lives."""
    settings = settings_of(3)
    study = study_of(settings)

    def full_disk(*_: object) -> None:
        raise StudyError("no space left on device")

    with monkeypatch.context() as patched, search_in(tmp_path, study, settings) as search:
        patched.setattr("imagematch.tuning.search.keep_artifacts", full_disk)
        with pytest.raises(StudyError, match="no space"):
            search.run()
    assert [t.state.name for t in study.trials] == ["FAIL", "WAITING"]
    assert study.trials[1].user_attrs[records.RETRY_OF] == 0
    with search_in(tmp_path, study, settings) as search:
        search.run()
    assert len(records.counted(study.trials)) == 3


def test_every_trial_is_trained_in_the_precision_in_which_the_study_was_begun(tmp_path: Path) -> None:
    settings = settings_of(3)
    study = study_of(settings)
    trained = settings.settings_for({"embedding_dim": 2, "learning_rate": 0.001})
    study.set_user_attr(PRECISIONS, {network_label(trained): "bfloat16"})
    with search_in(tmp_path, study, settings) as search:
        task = search.training_task(trained, "trial-0")
    assert parse_train(task["settings"]).feature_precision == "bfloat16"
