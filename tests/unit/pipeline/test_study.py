"""What a study does between its search and its winner, and when it is begun afresh."""

from pathlib import Path
from typing import Any

import optuna
import pytest

from imagematch.config import StudySettings, parse_study
from imagematch.errors import StudyError
from imagematch.file_locks import BusyError, locked
from imagematch.files import Layout
from imagematch.interruption import StopRequest
from imagematch.pipeline import finished_training, forget_study, run_study
from imagematch.pipeline import study as pipeline
from imagematch.pipeline.experiments import TrainedMatcher
from imagematch.tuning import attributes, lock_file, open_study, study_exists, working_on

SETTINGS = parse_study(
    {
        "study_name": "s",
        "dataset": "digits",
        "feature_extractor": "pixels",
        "dropout": 0,
        "n_trials": 1,
        "embedding_dim_grid": [4, 8],
    }
)


def test_the_winner_is_trained_when_the_workers_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would hold their memory beside the training, and as long as other processes train."""
    order: list[str] = []

    def searched(study: optuna.Study, settings: StudySettings, *_: object, **__: object) -> None:
        order.append("workers")
        choices = optuna.distributions.CategoricalDistribution((4, 8))
        params, stored = {"embedding_dim": 4}, {attributes.TRIAL_INDEX: 0}
        distributions: dict[str, Any] = {"embedding_dim": choices}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=distributions, value=0.5, user_attrs=stored)
        )

    def trained(*_: object) -> TrainedMatcher:
        order.append("winner")
        return TrainedMatcher(tmp_path, {})

    monkeypatch.setattr(pipeline, "run_workers", searched)
    monkeypatch.setattr(pipeline, "_trained_winner", trained)
    finished = run_study(SETTINGS, Layout(tmp_path))
    assert finished.settings.embedding_dim == 4
    assert order == ["workers", "winner"]


def test_a_study_is_locked_until_it_is_deleted_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that joined in between would work on files and rows that are being removed."""
    layout = Layout(tmp_path)
    open_study(SETTINGS, layout)
    lock, steps = lock_file("s", layout), []

    def held(step: str, plain: Any) -> Any:
        def call(*arguments: Any) -> Any:
            with pytest.raises(BusyError), locked(lock, wait=False, shared=True):
                pass
            steps.append(step)
            return plain(*arguments)

        return call

    monkeypatch.setattr(pipeline, "delete_study", held("rows", pipeline.delete_study))
    monkeypatch.setattr(pipeline, "remove_locked_dir", held("files", pipeline.remove_locked_dir))
    forget_study(SETTINGS.study_name, layout)
    assert steps == ["rows", "files"]
    assert not study_exists(SETTINGS, layout)
    assert not layout.study_dir("s").exists()


def test_a_study_that_is_worked_on_or_whose_winner_is_trained_is_not_forgotten(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    study = open_study(SETTINGS, layout)
    with (
        working_on(study, layout, StopRequest()),
        pytest.raises(StudyError, match="another process works on this study"),
    ):
        forget_study(SETTINGS.study_name, layout)
    training = layout.model_dir("s").with_name(".s.training")
    with locked(training / ".lock"), pytest.raises(StudyError, match="another process trains this experiment"):
        forget_study(SETTINGS.study_name, layout)
    assert study_exists(SETTINGS, layout)
    forget_study(SETTINGS.study_name, layout)
    assert not study_exists(SETTINGS, layout)
    assert not training.exists()


@pytest.mark.parametrize("damage", ["metrics.json", "config.yaml"])
def test_a_damaged_matcher_counts_as_not_trained(damage: str, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    folder = layout.model_dir("s")
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text('{"test": null}')
    (folder / "config.yaml").write_text("seed: 0")
    found = finished_training(layout, "s")
    assert found is not None
    assert found.metrics == {"test": None}
    if damage == "metrics.json":
        (folder / damage).write_text('{"test": nu')
    else:
        (folder / damage).unlink()
    assert finished_training(layout, "s") is None
