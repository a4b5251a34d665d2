"""Studies and trainings that are stopped: by Ctrl-C, by SIGTERM, by kill -9, in the supervisor or in a worker."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import psutil
import pytest
from optuna.trial import FrozenTrial, TrialState
from tests.conftest import ROOT, Invoke, run_command
from tests.fault.conftest import Start, with_tests
from tests.fault.shared_studies import trials_in, wait_for_a_start

from imagematch.config import parse_train
from imagematch.errors import InterruptedRunError
from imagematch.files import Layout
from imagematch.interruption import StopRequest
from imagematch.pipeline import training_run

pytestmark = pytest.mark.usefixtures("no_report")

STUDY = """\
study_name: cut
dataset: digits
feature_extractor: pixels
image_size: 8
embedding_dim_grid: [4, 8, 16, 32]
intermediate_ff_block_units_grid: [[], [16], [32], [64]]
dropout_grid: [0.0, 0.2]
epochs: 6
n_trials: 6
rerun_top_k: 0
"""


PATIENCE_S = 600
"""For what comes at once where nothing else runs."""


def start(folder: Path, *arguments: str, program: Sequence[str] = (str(ROOT / "hpt.py"),)) -> subprocess.Popen[str]:
    (folder / "study.yaml").write_text(STUDY)
    return subprocess.Popen(
        [sys.executable, *program, "--hpt-config-filepath", "study.yaml", "--resume", *arguments],
        cwd=folder,
        env=with_tests(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def quick_url(folder: Path) -> str:
    return f"sqlite:///{folder}/quick.db"


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    """Reads the output until a line holds `text`."""
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"ended without {text!r}: {process.stderr.read() if process.stderr else ''}")


def trials_of(folder: Path) -> list[FrozenTrial]:
    storage = f"sqlite:///{folder}/exp/hpt_studies/cut.db"
    return optuna.load_study(study_name="cut", storage=storage).trials


def outcome(trial: FrozenTrial) -> tuple[object, ...]:
    return (trial.user_attrs["place"], tuple(sorted(trial.params.items())), trial.state.name, trial.value)


def planned(trials: list[FrozenTrial]) -> list[tuple[object, ...]]:
    return sorted(outcome(t) for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED))


@pytest.fixture(scope="module", name="uncut")
def uncut_fixture(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    """What the study comes to when nobody disturbs it."""
    folder = tmp_path_factory.mktemp("uncut")
    (folder / "study.yaml").write_text(STUDY)
    done = run_command("hpt.py", "--hpt-config-filepath", "study.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    return planned(trials_of(folder))


@pytest.mark.soak  # five real searches; test_resumption.py does it without training, for every pruner
def test_kill_9_and_resume_give_the_trials_it_would_have_had(tmp_path: Path, uncut: list[tuple[object, ...]]) -> None:
    for moment in ("baseline", "trial   1", "trial   3"):
        process = start(tmp_path)
        wait_for(process, moment)
        time.sleep(0.3)
        told = planned(trials_of(tmp_path))
        process.kill()
        process.communicate()
        assert [t for t in planned(trials_of(tmp_path)) if t in told] == told, "no finished trial is lost"
    done = run_command("hpt.py", "--hpt-config-filepath", "study.yaml", "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    trials = trials_of(tmp_path)
    assert planned(trials) == uncut
    assert not [t for t in trials if t.state in (TrialState.RUNNING, TrialState.WAITING)]


def test_ctrl_c_finishes_the_trial_and_says_how_to_go_on(tmp_path: Path, quick: Start) -> None:
    process = quick(quick_url(tmp_path), trial_s=3)
    wait_for_a_start(tmp_path)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "--resume" in stderr
    assert stderr.count("\n") == 1
    assert [t.state for t in trials_in(quick_url(tmp_path))] == [TrialState.COMPLETE]


@pytest.mark.parametrize("whole_group", [False, True], ids=["supervisor", "whole group"])
def test_sigterm_ends_the_trial_and_queues_it_again(whole_group: bool, tmp_path: Path, quick: Start) -> None:
    """Batch systems and `timeout` signal the whole group: supervisor and workers get it alike."""
    process = quick(quick_url(tmp_path), trial_s=3_000, own_group=whole_group)
    wait_for_a_start(tmp_path)
    os.killpg(process.pid, signal.SIGTERM) if whole_group else process.terminate()
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    cut, waiting = trials_in(quick_url(tmp_path))
    assert (cut.state, waiting.state) == (TrialState.FAIL, TrialState.WAITING)
    assert "queued again" in cut.user_attrs["reason"]
    assert waiting.user_attrs["place"] == cut.user_attrs["place"]


def test_a_killed_worker_costs_one_trial_which_is_queued_again_at_once(tmp_path: Path, quick: Start) -> None:
    process = quick(quick_url(tmp_path), "--trials", "2", trial_s=3)
    wait_for_a_start(tmp_path)
    (worker,) = psutil.Process(process.pid).children()
    worker.kill()
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, stderr
    trials = trials_in(quick_url(tmp_path))
    failed = [t for t in trials if t.state == TrialState.FAIL]
    assert len(failed) == 1
    assert "signal 9" in failed[0].user_attrs["reason"]
    (again,) = [t for t in trials if t.user_attrs.get("retry_of") == failed[0].number]
    assert again.user_attrs["place"] == failed[0].user_attrs["place"]
    assert again.state == TrialState.COMPLETE
    assert len(planned(trials)) == 2


def test_no_worker_outlives_a_killed_supervisor(tmp_path: Path, quick: Start) -> None:
    process = quick(quick_url(tmp_path), trial_s=3_000)
    wait_for_a_start(tmp_path)
    children = psutil.Process(process.pid).children()
    assert children
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=PATIENCE_S)
    assert not alive


def whole_and_cut(
    folder: Path, config: str, moment: str, invoke: Invoke, patch: pytest.MonkeyPatch
) -> subprocess.Popen[str]:
    """Trains in `whole`; begins the same training in `cut` and comes back when that has told `moment`."""
    for name in ("whole", "cut"):
        (folder / name).mkdir()
        (folder / name / "train.yaml").write_text(config)
    patch.chdir(folder / "whole")
    whole = invoke("train", "--config", "train.yaml")
    assert whole.returncode == 0, whole.stderr
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), "--config", "train.yaml", "--verbose"],
        cwd=folder / "cut",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(process, moment)
    return process


def resumed_to_the_same(folder: Path, invoke: Invoke, patch: pytest.MonkeyPatch) -> str:
    """Resumes in `cut`; the epochs, which must be those of `whole`."""
    patch.chdir(folder / "cut")
    done = invoke("train", "--config", "train.yaml", "--resume")
    assert done.returncode == 0, done.stderr
    histories = [(folder / name / "exp/saved_models/t/history.csv").read_text() for name in ("whole", "cut")]
    assert histories[0] == histories[1]
    return histories[0]


def test_an_interrupted_training_goes_on_and_comes_to_the_same(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = "experiment_name: t\ndataset: digits\nfeature_extractor: small_cnn\nimage_size: 16\nepochs: 4\n"
    process = whole_and_cut(tmp_path, config, "epoch   2/4", invoke, monkeypatch)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, stderr
    assert "--resume" in stderr
    resumed_to_the_same(tmp_path, invoke, monkeypatch)


def test_a_training_killed_in_its_second_stage_goes_on_there_and_comes_to_the_same(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = (
        "experiment_name: t\ndataset: digits\nmax_classes: 4\nfeature_extractor: small_cnn\nweights: random\n"
        "image_size: 16\nbatch_classes: 4\nengine: tensorflow\n"
        "stages: [{trainable: 2, epochs: 2}, {trainable: 4, epochs: 3, learning_rate: 1.0e-4}]\n"
    )
    process = whole_and_cut(tmp_path, config, "stage 2  epoch   3/5", invoke, monkeypatch)
    process.kill()
    process.communicate()
    kept = tmp_path / "cut/exp/saved_models/.t.training/checkpoint.npz"
    with np.load(kept, allow_pickle=False) as archive:
        epochs = json.loads(archive["about"].tobytes())["history"]
    assert len(epochs) >= 2, "the first stage is not lost"
    lines = resumed_to_the_same(tmp_path, invoke, monkeypatch).splitlines()
    told = [line.split(",")[:2] for line in lines]
    assert told == [["epoch", "stage"], ["1", "1"], ["2", "1"], ["3", "2"], ["4", "2"], ["5", "2"]]


@pytest.mark.soak  # two real searches at a time; tests/fault/test_shared_storage.py shares one without training
def test_two_processes_on_one_study_share_its_trials(tmp_path: Path) -> None:
    first, second = start(tmp_path), start(tmp_path)
    outputs = [process.communicate(timeout=PATIENCE_S) for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0], [stderr for _, stderr in outputs]
    trials = trials_of(tmp_path)
    finished = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    counted = [t for t in finished if "duplicate_of" not in t.user_attrs]
    assert len(counted) == 6
    assert len({t.user_attrs["point"] for t in counted}) == 6
    assert len({t.user_attrs["place"] for t in trials}) == len(trials)
    assert all("ROC AUC" in stdout for stdout, _ in outputs)


def test_a_finished_training_is_not_taken_for_one_with_other_settings(
    small_study: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small_study)
    best = small_study / "exp" / "hpt_studies" / "small" / "best_config.yaml"
    same = invoke("train", "--config", best, "--resume")
    assert same.returncode == 0, same.stderr
    other = invoke("train", "--config", best, "--resume", "--set", "epochs=77")
    assert other.returncode == 2
    assert "epochs: 77" in other.stderr
    assert other.stderr.count("\n") == 1


def test_a_stop_while_the_model_is_measured_ends_it_there_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"dataset": "digits", "feature_extractor": "pixels", "image_size": 8, "epochs": 2}
    settings, layout, stop = parse_train({"experiment_name": "one", **values}), Layout(tmp_path / "exp"), StopRequest()

    def stopped(*_arguments: Any) -> Any:
        assert stop.raises
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training_run, "calibrate_and_measure", stopped)
        with pytest.raises(InterruptedRunError, match="nothing is lost"):
            training_run.run_training(settings, layout, stop=stop)
    assert not layout.model_dir("one").exists()
    assert training_run.run_training(settings, layout).metrics["test"] is not None


TWO_LEVELS = """\
import os, signal
from imagematch.errors import InterruptedRunError
from imagematch.interruption import stop_on_signals

for patient in (True, False):
    with stop_on_signals(patient=True) as stop:
        stop.patient = patient
        os.kill(os.getpid(), signal.SIGINT)
        print(stop.level)
with stop_on_signals() as stop:
    try:
        with stop.at_once():
            os.kill(os.getpid(), signal.SIGTERM)
            print("went on")
    except InterruptedRunError:
        print("at once")
"""


def test_the_first_ctrl_c_is_patient_only_while_the_work_asks_for_it(tmp_path: Path) -> None:
    done = run_command("-c", TWO_LEVELS, cwd=tmp_path)
    assert done.stdout == "1\n2\nat once\n", done.stderr


LONG_STEP = """\
import os, signal, time
from imagematch import interruption

interruption._LEAVE_S = 0.1
with interruption.stop_on_signals(patient=True) as stop:
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(600)
"""


def test_sigterm_ends_a_step_that_takes_too_long(tmp_path: Path) -> None:
    done = run_command("-c", LONG_STEP, cwd=tmp_path)
    assert done.returncode == 130
    assert done.stderr == "error: interrupted: nothing is lost; run the same command with --resume to go on\n"


HPT_WITHOUT_TRAINING = """\
from imagematch.cli import main
from imagematch.tuning import worker_process

worker_process.WORKER = "tests.quick_worker"
main.hpt_script()
"""


def test_ctrl_c_stops_the_training_of_the_winner_which_goes_on_later(tmp_path: Path) -> None:
    changes = ("--set", "n_trials=1", "--set", "epochs=120", "--set", "early_stopping_patience=120")
    process = start(tmp_path, *changes, program=("-c", HPT_WITHOUT_TRAINING))
    wait_for(process, "training the winner")
    wait_for(process, "epoch")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, stderr
    assert "--resume" in stderr
    assert not (tmp_path / "exp" / "saved_models" / "cut").exists()
