"""A clock that steps by hours, either way, while something runs or between two runs: nothing is lost or done again."""

import io
import math
import os
import sqlite3
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import optuna
import pytest
from tests.fault.shared_studies import assert_sound
from tests.fault.test_feature_store import Pictures, pixels
from tests.quick_study import settings_of
from tests.quick_worker import QuickTrainer

from imagematch.config import parse_train
from imagematch.errors import InterruptedRunError
from imagematch.events import SILENT, RunLog
from imagematch.features import FeatureStore
from imagematch.file_locks import BusyError, locked
from imagematch.files import Layout, remove_leftovers, replacing
from imagematch.interruption import StopRequest
from imagematch.pipeline import training_run
from imagematch.reporting.studies import trial_seconds
from imagematch.tuning import open_study
from imagematch.tuning.recovery import _start, alive, recover, this_process
from imagematch.tuning.study import WorkerJob
from imagematch.tuning.worker import Worker

pytestmark = [pytest.mark.usefixtures("no_report"), pytest.mark.parametrize("hours", [-7, 7])]

TIMES = {
    "trials": ("datetime_start", "datetime_complete"),
    "trial_heartbeats": ("heartbeat",),
}
"""What a study's database stores of the clock."""


def step(database: Path, hours: int) -> None:
    """Moves what is stored: the same to every reader as a clock that was moved the other way."""
    with sqlite3.connect(database) as connection:
        for table, columns in TIMES.items():
            for column in columns:
                connection.execute(
                    f"UPDATE {table} SET {column} = strftime('%Y-%m-%d %H:%M:%f', {column}, '{hours} hours')"
                )
    connection.close()


def step_files(folder: Path, hours: int) -> None:
    """As `step`, for the times of files."""
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (path.stat().st_atime + 3600 * hours, path.stat().st_mtime + 3600 * hours))


def test_a_step_during_each_trial_costs_none(hours: int, tmp_path: Path) -> None:
    settings, layout = settings_of(5), Layout(tmp_path)
    study = open_study(settings, layout)
    another = {**this_process(), "pid": os.getppid(), "started": _start(os.getppid())}

    class Trainer(QuickTrainer):
        """While it trains, another process of this machine looks after the study."""

        def train(self, *arguments: Any, **options: Any) -> dict[str, Any]:
            step(layout.study_database("quick"), hours)
            with patch("imagematch.tuning.recovery.this_process", lambda: another):
                assert len(alive(study)) == 1
                assert recover(study) == []
            return super().train(*arguments, **options)

    assert Worker(study, WorkerJob(settings, layout, 0), Trainer(settings, tmp_path, SILENT)).run()
    assert_sound(study.trials, planned=5, processes=1)
    assert {t.state.name for t in study.trials} == {"COMPLETE"}


def test_no_trial_takes_less_than_no_time(hours: int) -> None:
    began = datetime(2026, 3, 29, 2, 30)
    trial = optuna.trial.create_trial(value=0.0)
    trial.datetime_start, trial.datetime_complete = began, began + timedelta(hours=hours)
    seconds = trial_seconds(trial)
    assert math.isnan(seconds) if hours < 0 else seconds == 3600 * hours


def test_a_training_goes_on_at_its_checkpoint(hours: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"dataset": "digits", "feature_extractor": "pixels", "image_size": 8, "epochs": 3}
    settings, layout = parse_train({"experiment_name": "one", **values}), Layout(tmp_path / "exp")
    stop, shown = StopRequest(), io.StringIO()

    def stopped(*_arguments: Any) -> Any:
        assert stop.raises
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(training_run, "calibrate_and_measure", stopped)
        patched.setattr("imagematch.training.loop._CHECKPOINT_IMAGES", 1)
        with pytest.raises(InterruptedRunError):
            training_run.run_training(settings, layout, stop=stop)
    step_files(tmp_path, hours)
    training_run.run_training(settings, layout, log=RunLog(stream=shown))
    assert "resuming after epoch 3 of 3" in shown.getvalue()
    assert "epoch   " not in shown.getvalue(), "no old epoch is told again"


def test_features_stay(hours: int, tmp_path: Path) -> None:
    FeatureStore(tmp_path).features(Pictures(8), pixels())
    step_files(tmp_path, hours)
    assert FeatureStore(tmp_path).features(Pictures(8), pixels()).computed == 0


def test_a_lock_has_no_age(hours: int, tmp_path: Path) -> None:
    with locked(tmp_path / "lock"):
        step_files(tmp_path, hours)
        with pytest.raises(BusyError), locked(tmp_path / "lock", wait=False):
            pass
    with locked(tmp_path / "lock", wait=False):
        pass


def test_a_file_that_is_being_written_is_no_left_over(
    hours: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time() + 3600 * hours
    with replacing(tmp_path / "file") as temporary:
        temporary.write_text("new")
        monkeypatch.setattr("imagematch.files.time.time", lambda: now)
        remove_leftovers(tmp_path)
    assert (tmp_path / "file").read_text() == "new"
