"""A disk that is full: one line, earlier work intact, and `--resume` goes on once there is room."""

import resource
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
from tests.conftest import ROOT, SMALL_STUDY, run_command
from tests.fault.shared_studies import assert_sound

from imagematch.tuning import attributes

BIG_HEADS = """\
study_name: big
dataset: digits
feature_extractor: pixels
image_size: 8
embedding_dim_grid: [256, 512]
intermediate_ff_block_units: [1024, 512]
dropout: 0.1
epochs: 1
n_trials: 2
rerun_top_k: 0
"""


def run_with_room(file_bytes: int, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs hpt.py where no file, its own or its workers', can grow over `file_bytes`."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

    return subprocess.run(
        [sys.executable, str(ROOT / "hpt.py"), *arguments],
        cwd=cwd,
        preexec_fn=limit,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def trials_of(folder: Path, name: str) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=name, storage=f"sqlite:///{folder}/exp/hpt_studies/{name}.db").trials


def test_no_room_for_the_study(small_study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(small_study, folder)
    database, matcher = folder / "exp/hpt_studies/small.db", folder / "exp/saved_models/small"
    before, kept = trials_of(folder, "small"), contents(matcher)
    (folder / "study.yaml").write_text(SMALL_STUDY)
    command = ("--hpt-config-filepath", "study.yaml", "--resume", "--n-trials", "4")
    done = run_with_room(database.stat().st_size, *command, cwd=folder)
    assert done.returncode == 4, (done.stdout, done.stderr)
    assert done.stderr.count("\n") == 1, done.stderr
    assert "free some space" in done.stderr
    assert "exp/hpt_studies/small" in done.stderr
    after = trials_of(folder, "small")[: len(before)]
    assert [(t.state, t.values, t.params) for t in after] == [(t.state, t.values, t.params) for t in before]
    with sqlite3.connect(database) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert contents(matcher) == kept
    again = run_command("hpt.py", *command, cwd=folder)
    assert again.returncode == 0, again.stderr
    assert_sound(trials_of(folder, "small"), planned=4, processes=1)


def test_no_room_for_the_winner(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(BIG_HEADS)
    command = ("--hpt-config-filepath", "study.yaml", "--resume")
    done = run_with_room(2**21, *command, cwd=tmp_path)
    assert done.returncode == 4, (done.stdout, done.stderr)
    assert done.stderr.count("\n") == 1, done.stderr
    assert "free some space" in done.stderr
    assert "exp/saved_models/big: cannot write" in done.stderr
    before = trials_of(tmp_path, "big")
    again = run_command("hpt.py", *command, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    trials = trials_of(tmp_path, "big")
    assert [t.values for t in trials] == [t.values for t in before], "only the winner was trained again"
    assert_sound(trials, planned=2, processes=1)


def test_a_worker_that_cannot_write_loses_no_trial(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(BIG_HEADS)
    command = ("--hpt-config-filepath", "study.yaml", "--resume")
    in_the_way = tmp_path / "exp/hpt_studies/big/trials"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    done = run_command("hpt.py", *command, cwd=tmp_path)
    assert done.returncode == 4, (done.stdout, done.stderr)
    assert done.stderr.count("\n") == 1, done.stderr
    assert "exp/hpt_studies/big/trials" in done.stderr
    in_the_way.unlink()
    again = run_command("hpt.py", *command, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    trials = trials_of(tmp_path, "big")
    assert_sound(trials, planned=2, processes=1)
    cut = [t for t in trials if t.state.name == "FAIL" and not attributes.is_duplicate(t)]
    assert len(cut) == 1
    assert cut[0].user_attrs["place"] in {t.user_attrs["place"] for t in attributes.counted(trials)}
