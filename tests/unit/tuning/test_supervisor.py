"""Workers as processes: what they log is recorded, deaths cost one trial, renewal keeps the study whole."""

import io
import json
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from tests.conftest import ROOT
from tests.quick_study import NAME, settings_of

from imagematch.config import StudySettings, load_study, parse_study
from imagematch.errors import DataError, InterruptedRunError, StudyError
from imagematch.events import SILENT, RunLog
from imagematch.files import Layout
from imagematch.interruption import StopRequest
from imagematch.tuning import attributes, open_study, run_workers, worker_process
from imagematch.tuning.study import WorkerJob
from imagematch.tuning.supervisor import _Supervisor
from imagematch.tuning.worker_process import EventLines

Run = Callable[..., optuna.Study]


@pytest.fixture(name="run")
def run_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a study of quick workers in the test's folder."""
    monkeypatch.setattr(worker_process, "WORKER", "tests.quick_worker")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]))

    def run(settings: StudySettings, *, log: RunLog = SILENT, workers: int = 1, stop: Any = None) -> optuna.Study:
        layout = Layout(tmp_path / "exp")
        study = open_study(settings, layout)
        run_workers(study, settings, layout, log=log, stop=stop or StopRequest(), workers=workers)
        return study

    return run


def test_two_workers_are_renewed_and_share_the_search_and_the_reruns(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUICK_RENEW_AFTER", "3")
    monkeypatch.setenv("QUICK_TRIAL_S", "0.3")
    log = RunLog(tmp_path / "run.jsonl")
    study = run(settings_of(8, reruns=2), workers=2, log=log)
    counted = attributes.counted(study.trials)
    assert [t.state.name for t in counted] == ["COMPLETE"] * 8
    assert not [t for t in study.trials if t.state.name in ("RUNNING", "WAITING")]
    reruns = optuna.load_study(study_name=f"{NAME}-rerun", storage=study._storage).trials
    assert [t.state.name for t in reruns] == ["COMPLETE"] * 4
    owners = [t.user_attrs[attributes.OWNER]["pid"] for t in (*counted, *reruns)]
    assert max(owners.count(owner) for owner in owners) == 3
    assert len({t.user_attrs[attributes.OWNER]["pid"] for t in reruns}) > 1, "every worker takes reruns"
    events = [json.loads(line)["event"] for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert (events.count("baseline"), events.count("trial_finished"), events.count("rerun")) == (1, 8, 4)
    run(settings_of(8, reruns=2), log=log)
    assert len((tmp_path / "run.jsonl").read_text().splitlines()) == len(events), "a complete study starts no worker"


def test_workers_that_end_before_they_have_a_trial_end_the_study(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "WORKER", "tests.no_such_worker")
    with pytest.raises(StudyError, match=r"ended with code 1; see .*worker\.log") as caught:
        run(settings_of(3))
    assert "\n" not in str(caught.value)


def test_the_error_of_a_worker_is_raised_here_as_it_was(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUICK_GONE_DIM", "8")
    with pytest.raises(DataError, match="here: the images are gone; bring them back"):
        run(settings_of(420, sampler="grid"), workers=2)


def test_a_stop_ends_idle_workers_and_says_that_nothing_is_lost(run: Run) -> None:
    stop = StopRequest()
    threading.Timer(0.5, stop.ask, [1]).start()
    with pytest.raises(InterruptedRunError, match="nothing is lost"):
        run(settings_of(400, sampler="random"), stop=stop)


def test_what_a_worker_logs_is_recorded_whole(tmp_path: Path) -> None:
    pipe, shown = io.StringIO(), io.StringIO()
    log = EventLines(pipe)
    log.event("features_block", images=np.int64(16), seconds={"network": 1.5})
    log.event("engine_fallback", "TensorFlow does, more slowly", cached=2)
    log.say("converting")
    supervisor = supervisor_of(RunLog(tmp_path / "run.jsonl", shown))
    for line in pipe.getvalue().splitlines():
        supervisor._take("a worker", json.loads(line))  # type: ignore[arg-type]
    first, second = map(json.loads, (tmp_path / "run.jsonl").read_text().splitlines())
    assert (first["event"], int(first["images"]), first["seconds"]) == ("features_block", 16, {"network": 1.5})
    assert (second["event"], second["message"], second["cached"]) == (
        "engine_fallback",
        "TensorFlow does, more slowly",
        2,
    )
    assert shown.getvalue() == "TensorFlow does, more slowly\nconverting\n"


def test_an_outage_that_all_workers_meet_is_reported_once(tmp_path: Path) -> None:
    shown = io.StringIO()
    supervisor = supervisor_of(RunLog(None, shown))

    def log(worker: str, kind: str) -> None:
        supervisor._take(worker, {"kind": kind, "message": kind, "level": "warning", "fields": {}})  # type: ignore[arg-type]

    for worker in ("a", "b", "b"):
        log(worker, "storage_away")
    for worker in ("b", "a", "b"):
        log(worker, "storage_back")
    assert shown.getvalue() == "storage_away\nstorage_back\n"


def supervisor_of(log: RunLog) -> _Supervisor:
    study = optuna.create_study(study_name=NAME)
    supervisor = _Supervisor(study, WorkerJob(settings_of(3), Layout(Path("unused")), 0), log, StopRequest(), None)
    supervisor._events = queue.SimpleQueue()
    return supervisor


CONFIGS = sorted([*(ROOT / "configs/hpt").glob("*.yaml"), ROOT / "hpt_config.yaml"])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_worker_gets_the_study_whole(path: Path) -> None:
    study = load_study(path, ["storage=postgresql+psycopg://me@somewhere/db"])
    job = WorkerJob(study, Layout(Path("elsewhere/exp")), 7)
    assert WorkerJob.from_json(job.to_json()) == job
    assert list(WorkerJob.from_json(job.to_json()).settings.space) == list(study.space), "in the file's order"


def test_a_worker_gets_every_kind_of_dimension() -> None:
    study = parse_study(
        {
            "study_name": "s",
            "dataset": "digits",
            "feature_extractor_grid": [["pixels", "small_cnn"], "pixels"],
            "weights": "random",
            "intermediate_ff_block_units_grid": [[], [8, 4]],
            "learning_rate_range": {"low": 1e-4, "high": 1e-2, "log": True},
            "margin_range": {"low": 0.1, "high": 0.9, "step": 0.2},
            "weight_decay_range": {"low": 0.0, "high": 0.1},
            "embedding_dim_range": {"low": 8, "high": 64, "step": 8},
            "batch_classes_range": {"low": 2, "high": 9},
            "objective": ["val_map_at_r", "parameters"],
            "threshold": {"far": 0.01},
            "split": [0.6, 0.2, 0.2],
        }
    )
    job = WorkerJob(study, Layout(), 0)
    assert WorkerJob.from_json(job.to_json()) == job
