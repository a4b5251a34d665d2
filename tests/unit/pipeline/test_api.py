"""`imagematch.train` and `imagematch.tune`: what they hand on, and what they return."""

from __future__ import annotations

import os
import sys

import optuna
import pytest

import imagematch
from imagematch.config import parse_train
from imagematch.errors import ConfigError
from imagematch.files import Layout
from imagematch.pipeline import FinishedStudy, TrainedMatcher, api

TRAIN = {"experiment_name": "one", "dataset": "digits", "embedding_dim": 8}
STUDY = {"study_name": "two", "dataset": "digits", "embedding_dim_grid": [8, 16]}
METRICS = {"test": None, "validation": None}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """What trainings were asked for, in place of trainings: settings and whether afresh."""
    asked = []

    def run(settings, layout, *, fresh, log, stop):
        os.write(2, b"a message of a native library\n")
        log.say("an epoch")
        asked.append((settings, fresh, layout, stop.patient))
        return TrainedMatcher(tmp_path / "exp/saved_models/one", METRICS)

    monkeypatch.setattr(api, "run_training", run)
    return asked


def test_a_dict_and_a_file_train_alike_and_progress_is_printed(trained, tmp_path, capfd):
    (tmp_path / "train.yaml").write_text("experiment_name: one\ndataset: digits\nembedding_dim: 8\n")
    results = [imagematch.train(TRAIN), imagematch.train("train.yaml", fresh=True), imagematch.train(TRAIN)]
    assert [settings for settings, *_ in trained] == [parse_train(TRAIN)] * 3
    assert [fresh for _, fresh, *_ in trained] == [False, True, False]
    assert results[0].folder == tmp_path / "exp/saved_models/one"
    assert results[0].report == tmp_path / "exp/saved_models/one/report.html"
    assert repr(results[0]).endswith("one: Nothing was measured, so nothing can be said.")
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("an epoch\n" * 3, "")


def test_without_progress_nothing_is_printed_and_the_error_stream_comes_back(trained, capfd):
    before = sys.stderr
    imagematch.train(TRAIN, progress=False)
    assert sys.stderr is before
    os.write(2, b"after\n")
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "after\n")


def test_a_finished_training_is_returned_and_other_settings_are_refused(trained, monkeypatch, tmp_path):
    folder = tmp_path / "exp/saved_models/one"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text('{"test": null}')
    (folder / "config.yaml").write_text(parse_train(TRAIN).to_yaml())
    result = imagematch.train(TRAIN)
    assert (result.folder, result.metrics, trained) == (Layout().model_dir("one"), {"test": None}, [])
    with pytest.raises(ConfigError, match="trained with other settings"):
        imagematch.train({**TRAIN, "embedding_dim": 16})
    imagematch.train({**TRAIN, "embedding_dim": 16}, fresh=True)
    assert len(trained) == 1


def test_wrong_settings_are_one_clear_line():
    with pytest.raises(ConfigError, match="unknown key 'embeding_dim'; did you mean embedding_dim"):
        imagematch.train({**TRAIN, "embeding_dim": 3})
    with pytest.raises(ConfigError):
        imagematch.tune({**STUDY, "n_trials": 0})


def test_a_study_returns_its_winner_and_the_optuna_study(monkeypatch, tmp_path):
    forgotten, asked = [], []

    def run(settings, layout, *, workers, log, stop):
        asked.append((settings.study_name, workers, stop.patient))
        database = layout.study_database("two")
        database.parent.mkdir(parents=True, exist_ok=True)
        storage = f"sqlite:///{database}"
        study = optuna.create_study(study_name="two", storage=storage, direction="maximize", load_if_exists=True)
        study.add_trial(optuna.trial.create_trial(value=0.5))
        winner = parse_train({**TRAIN, "experiment_name": "two"})
        return FinishedStudy(winner, tmp_path / "best_config.yaml", TrainedMatcher(tmp_path / "m", METRICS))

    monkeypatch.setattr(api, "run_study", run)
    monkeypatch.setattr(api, "forget_study", lambda name, _layout, _storage: forgotten.append(name))
    result = imagematch.tune(STUDY, workers=2, fresh=True)
    assert (asked, forgotten) == ([("two", 2, True)], []), "there was none to forget"
    assert (result.folder, result.metrics, result.best_config) == (
        tmp_path / "m",
        METRICS,
        tmp_path / "best_config.yaml",
    )
    assert result.study.best_value == 0.5
    assert result.study_folder == Layout().study_dir("two")
    assert repr(result).startswith("Winner: trial 0, objective 0.5000 in the search.")
    imagematch.tune(STUDY, fresh=True)
    assert forgotten == ["two"]
