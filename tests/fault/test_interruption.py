"""Studies and trainings that are stopped: by Ctrl-C, by SIGTERM, by kill -9, in the supervisor or in a worker."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import optuna
import psutil
import pytest
from optuna.trial import FrozenTrial, TrialState
from tests.conftest import ROOT, Invoke, run_command

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


def start(folder: Path, *arguments: str, own_group: bool = False) -> subprocess.Popen[str]:
    (folder / "study.yaml").write_text(STUDY)
    return subprocess.Popen(
        [sys.executable, str(ROOT / "hpt.py"), "--hpt-config-filepath", "study.yaml", "--resume", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=own_group,
    )


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


def test_ctrl_c_finishes_the_trial_and_says_how_to_go_on(tmp_path: Path) -> None:
    process = start(tmp_path)
    wait_for(process, "trial   0")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in stderr
    assert stderr.count("\n") == 1
    assert {t.state for t in trials_of(tmp_path)} <= {TrialState.COMPLETE, TrialState.PRUNED}


def test_sigterm_leaves_within_ten_seconds_and_queues_the_trial_again(tmp_path: Path) -> None:
    process = start(tmp_path)
    wait_for(process, "trial   0")
    time.sleep(0.2)
    asked = time.monotonic()
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - asked < 10
    trials = trials_of(tmp_path)
    assert not [t for t in trials if t.state == TrialState.RUNNING]
    cut = [t for t in trials if t.state == TrialState.FAIL]
    waiting = [t for t in trials if t.state == TrialState.WAITING]
    assert [t.user_attrs["place"] for t in waiting] == [t.user_attrs["place"] for t in cut]


def test_a_killed_worker_costs_one_trial_which_is_queued_again_at_once(tmp_path: Path) -> None:
    process = start(tmp_path)
    wait_for(process, "trial   0")
    children = [
        c for c in psutil.Process(process.pid).children() if "imagematch.tuning.worker" in " ".join(c.cmdline())
    ]
    while not any(t.state == TrialState.RUNNING for t in trials_of(tmp_path)):
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(children[0].pid, signal.SIGKILL)
    _, stderr = process.communicate(timeout=200)
    assert process.returncode == 0, stderr
    trials = trials_of(tmp_path)
    failed = [t for t in trials if t.state == TrialState.FAIL]
    assert len(failed) == 1
    assert "signal 9" in failed[0].user_attrs["reason"]
    (again,) = [t for t in trials if t.user_attrs.get("retry_of") == failed[0].number]
    assert again.user_attrs["place"] == failed[0].user_attrs["place"]
    assert again.state in (TrialState.COMPLETE, TrialState.PRUNED)
    assert len(list(planned(trials))) >= 6


def test_no_worker_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    process = start(tmp_path)
    wait_for(process, "trial   0")
    children = psutil.Process(process.pid).children()
    assert children
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def whole_and_cut(folder: Path, config: str, moment: str) -> subprocess.Popen[str]:
    """Trains in `whole`; begins the same training in `cut` and comes back when that has told `moment`."""
    for name in ("whole", "cut"):
        (folder / name).mkdir()
        (folder / name / "train.yaml").write_text(config)
    whole = run_command("train.py", "--config", "train.yaml", cwd=folder / "whole")
    assert whole.returncode == 0, whole.stderr
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), "--config", "train.yaml"],
        cwd=folder / "cut",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(process, moment)
    return process


def resumed_to_the_same(folder: Path) -> str:
    """Resumes in `cut`; the epochs, which must be those of `whole`."""
    done = run_command("train.py", "--config", "train.yaml", "--resume", cwd=folder / "cut")
    assert done.returncode == 0, done.stderr
    histories = [(folder / name / "exp/saved_models/t/history.csv").read_text() for name in ("whole", "cut")]
    assert histories[0] == histories[1]
    return histories[0]


def test_an_interrupted_training_goes_on_and_comes_to_the_same(tmp_path: Path) -> None:
    config = "experiment_name: t\ndataset: digits\nfeature_extractor: small_cnn\nimage_size: 16\nepochs: 4\n"
    process = whole_and_cut(tmp_path, config, "epoch   2/4")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "--resume" in stderr
    resumed_to_the_same(tmp_path)


def test_a_training_killed_in_its_second_stage_goes_on_there_and_comes_to_the_same(tmp_path: Path) -> None:
    config = (
        "experiment_name: t\ndataset: digits\nmax_classes: 4\nfeature_extractor: small_cnn\nweights: random\n"
        "image_size: 16\nbatch_classes: 4\nengine: tensorflow\n"
        "stages: [{trainable: 2, epochs: 2}, {trainable: 4, epochs: 3, learning_rate: 1.0e-4}]\n"
    )
    process = whole_and_cut(tmp_path, config, "stage 2  epoch   3/5")
    process.kill()
    process.communicate()
    kept = tmp_path / "cut/exp/saved_models/.t.training/checkpoint.npz"
    with np.load(kept, allow_pickle=False) as archive:
        epochs = json.loads(archive["about"].tobytes())["history"]
    assert len(epochs) >= 2, "the first stage is not lost"
    lines = resumed_to_the_same(tmp_path).splitlines()
    told = [line.split(",")[:2] for line in lines]
    assert told == [["epoch", "stage"], ["1", "1"], ["2", "1"], ["3", "2"], ["4", "2"], ["5", "2"]]


def test_a_signal_to_the_whole_group_queues_the_trial_again(tmp_path: Path) -> None:
    """As batch systems and `timeout` do it: supervisor and workers get it alike."""
    process = start(tmp_path, own_group=True)
    wait_for(process, "trial   0")
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130
    trials = trials_of(tmp_path)
    failed = [t for t in trials if t.state == TrialState.FAIL]
    assert all("queued again" in t.user_attrs["reason"] for t in failed)
    assert len([t for t in trials if t.state == TrialState.WAITING]) == len(failed)


def test_two_processes_on_one_study_share_its_trials(tmp_path: Path) -> None:
    first, second = start(tmp_path), start(tmp_path)
    outputs = [process.communicate(timeout=240) for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0], [stderr for _, stderr in outputs]
    trials = trials_of(tmp_path)
    finished = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    counted = [t for t in finished if "duplicate_of" not in t.user_attrs]
    assert len(counted) == 6
    assert len({t.user_attrs["point"] for t in counted}) == 6
    assert len({t.user_attrs["place"] for t in trials}) == len(trials)
    assert all("ROC AUC" in stdout for stdout, _ in outputs)


def test_a_finished_training_is_not_taken_for_one_with_other_settings(small_study: Path) -> None:
    best = small_study / "exp" / "hpt_studies" / "small" / "best_config.yaml"
    same = run_command("train.py", "--config", best, "--resume", cwd=small_study)
    assert same.returncode == 0, same.stderr
    other = run_command("train.py", "--config", best, "--resume", "--set", "epochs=77", cwd=small_study)
    assert other.returncode == 2
    assert "epochs: 77" in other.stderr
    assert other.stderr.count("\n") == 1


ENDED_WHILE_MEASURING = """\
import os, signal
from imagematch.config import parse_train
from imagematch.errors import InterruptedRunError
from imagematch.files import Layout
from imagematch.interruption import stop_on_signals
from imagematch.pipeline import training_run

settings = {"experiment_name": "one", "dataset": "digits", "feature_extractor": "pixels", "image_size": 8, "epochs": 2}
settings, layout, measure = parse_train(settings), Layout(), training_run.calibrate_and_measure

def ended(*arguments):
    os.kill(os.getpid(), signal.SIGTERM)
    return measure(*arguments)

training_run.calibrate_and_measure = ended
try:
    with stop_on_signals() as stop:
        training_run.run_training(settings, layout, stop=stop)
except InterruptedRunError as error:
    print(error.what, layout.model_dir("one").exists())
training_run.calibrate_and_measure = measure
print(training_run.run_training(settings, layout).metrics["test"] is not None)
"""


def test_sigterm_while_the_model_is_measured_ends_it_there_and_loses_nothing(command: Invoke) -> None:
    done = command("-c", ENDED_WHILE_MEASURING)
    assert done.stdout == "interrupted: nothing is lost False\nTrue\n", done.stderr


TWO_LEVELS = """\
import os, signal
from imagematch.interruption import stop_on_signals

for patient in (True, False):
    with stop_on_signals(patient=True) as stop:
        stop.patient = patient
        os.kill(os.getpid(), signal.SIGINT)
        print(stop.level)
"""


def test_the_first_ctrl_c_is_patient_only_while_the_work_asks_for_it(command: Invoke) -> None:
    done = command("-c", TWO_LEVELS)
    assert done.stdout == "1\n2\n", done.stderr


def test_ctrl_c_stops_the_training_of_the_winner_which_goes_on_later(tmp_path: Path) -> None:
    process = start(tmp_path, "--set", "n_trials=1", "--set", "epochs=120", "--set", "early_stopping_patience=120")
    wait_for(process, "training the winner")
    wait_for(process, "epoch")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "--resume" in stderr
    assert not (tmp_path / "exp" / "saved_models" / "cut").exists()
