"""Worker processes that train: renewed while a study runs, so that what their trainings left in memory goes."""

import subprocess
from pathlib import Path
from typing import Any

import optuna
import pytest

from imagematch.config import parse_study
from imagematch.events import SILENT
from imagematch.files import Layout
from imagematch.interruption import StopRequest
from imagematch.tuning import Search, child, records

STUDY = {
    "study_name": "renewed",
    "dataset": "digits",
    "feature_extractor": "pixels",
    "image_size": 8,
    "dropout": 0,
    "embedding_dim_grid": [2, 4, 8, 16, 32],
    "epochs": 1,
    "n_trials": 5,
}


@pytest.mark.slow
def test_two_workers_that_train_are_renewed_and_the_study_has_its_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks: dict[int, int] = {}
    plain = child.Child.begin

    def counted(self: child.Child, task: Any) -> None:
        plain(self, task)
        process = self._process
        assert isinstance(process, subprocess.Popen)
        tasks[process.pid] = tasks.get(process.pid, 0) + 1

    monkeypatch.setattr(child, "RENEW_AFTER_TASKS", 2)
    monkeypatch.setattr(child.Child, "begin", counted)
    study = optuna.create_study(study_name="renewed", direction="maximize")
    settings = parse_study({**STUDY, "feature_dir": str(tmp_path / "features")})
    layout, stop = Layout(tmp_path), StopRequest()
    with Search(study, settings, layout=layout, log=SILENT, stop=stop, workers=2, threads=1) as search:
        search.run()
    assert [t.state.name for t in records.counted(study.trials)] == ["COMPLETE"] * 5
    assert not [t for t in study.trials if t.state.name in ("RUNNING", "WAITING")]
    assert sum(tasks.values()) == 5
    assert max(tasks.values()) == 2
