"""What a cut-off study resumes: the same trials whatever prunes them, and a trial at the epoch it had reached."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from optuna.trial import FrozenTrial
from tests.fault.conftest import Start, with_tests
from tests.fault.shared_studies import trials_in

from imagematch.tuning import attributes

EPOCHS = 80
ONE_TRIAL = f"""\
study_name: cut
dataset: digits
feature_extractor: pixels
image_size: 8
embedding_dim_grid: [4, 8]
dropout: 0
epochs: {EPOCHS}
early_stopping_patience: {EPOCHS}
n_trials: 1
rerun_top_k: 0
"""
HPT = (
    "from imagematch.tuning import worker_process; worker_process.WORKER = 'tests.counting_worker'; "
    "from imagematch.cli import main; main.hpt_script()"
)


def ends_of(trials: list[FrozenTrial]) -> list[tuple[object, ...]]:
    return sorted(
        (t.user_attrs[attributes.TRIAL_INDEX], str(sorted(t.params.items())), t.state.name, t.last_step, t.value)
        for t in trials
        if t.state.name != "FAIL"
    )


def test_killed_and_resumed_hyperband_prunes_as_it_would_have(tmp_path: Path, quick: Start) -> None:
    """Past the quasi-random beginning; tests/unit/tuning/test_resumption.py has every sampler and pruner."""
    options = ("--trials", "20", "--pruner", "hyperband", "--epochs", "9")
    whole, cut = (f"sqlite:///{tmp_path}/{name}.db" for name in ("whole", "cut"))
    uncut = quick(whole, *options, folder=tmp_path / "whole")
    for finished in (5, 11, 15):
        process = quick(cut, *options, trial_s=0.4, folder=tmp_path / "cut")
        assert process.stdout is not None
        while f"[{finished}/20" not in process.stdout.readline():
            assert process.poll() is None
        time.sleep(0.2)
        process.kill()
        process.communicate()
    assert quick(cut, *options, folder=tmp_path / "cut").wait(timeout=600) == 0
    assert uncut.wait(timeout=600) == 0
    assert ends_of(trials_in(cut)) == ends_of(trials_in(whole))
    assert any(t.state.name == "PRUNED" for t in trials_in(whole))
    assert any(t.state.name == "FAIL" for t in trials_in(cut))


def test_a_trial_goes_on_with_its_last_epoch(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(ONE_TRIAL)
    counted = tmp_path / "epochs.txt"
    environment = {**with_tests(), "COUNTED_EPOCHS": str(counted)}

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", HPT, "--hpt-config-filepath", "study.yaml", "--resume"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def trained() -> list[int]:
        return [int(line) for line in counted.read_text().split()] if counted.exists() else []

    process = start()
    while len(trained()) < 5:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 130, stderr
    before = trained()
    assert 5 <= len(before) < EPOCHS
    resumed = start()
    _, stderr = resumed.communicate(timeout=600)
    assert resumed.returncode == 0, stderr
    assert trained() == list(range(1, EPOCHS + 1)), "no epoch twice, none left out"
    trials = trials_in(f"sqlite:///{tmp_path}/exp/hpt_studies/cut.db", "cut")
    assert [t.state.name for t in trials] == ["FAIL", "COMPLETE"]
    assert list(trials[1].intermediate_values) == list(range(1, EPOCHS + 1)), "the earlier epochs are told again"
