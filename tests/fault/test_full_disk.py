"""A disk that is full: one line, earlier work intact, and `--resume` goes on once there is room."""

import shutil
import sqlite3
from pathlib import Path

import optuna
import pytest
from tests.conftest import SMALL_STUDY, Invoke
from tests.fault.conftest import Start
from tests.fault.full_disks import contents, no_room_beyond
from tests.fault.shared_studies import assert_sound, trials_in

from imagematch.tuning import attributes

pytestmark = pytest.mark.usefixtures("no_report")

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


def trials_of(folder: Path, name: str) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=name, storage=f"sqlite:///{folder}/exp/hpt_studies/{name}.db").trials


def test_no_room_for_the_study(
    small_study: Path, invoke: Invoke, one_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(small_study, tmp_path / "copy"))
    monkeypatch.chdir(folder)
    database, matcher = folder / "exp/hpt_studies/small.db", folder / "exp/saved_models/small"
    before, kept = trials_of(folder, "small"), contents(matcher)
    (folder / "study.yaml").write_text(SMALL_STUDY)
    command = ("hpt", "--hpt-config-filepath", "study.yaml", "--resume", "--n-trials", "4")
    with no_room_beyond(database.stat().st_size):
        done = invoke(*command)
    assert done.returncode == 4, (done.stdout, done.stderr)
    assert done.stderr.count("\n") == 1, done.stderr
    assert "free some space" in done.stderr
    assert "exp/hpt_studies/small" in done.stderr
    after = trials_of(folder, "small")[: len(before)]
    assert [(t.state, t.values, t.params) for t in after] == [(t.state, t.values, t.params) for t in before]
    with sqlite3.connect(database) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert contents(matcher) == kept
    again = invoke(*command)
    assert again.returncode == 0, again.stderr
    assert_sound(trials_of(folder, "small"), planned=4, processes=1)


def test_no_room_for_the_winner(command: Invoke, one_process: None, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(BIG_HEADS)
    hpt = ("hpt", "--hpt-config-filepath", "study.yaml", "--resume")
    with no_room_beyond(2**21):
        done = command(*hpt)
    assert done.returncode == 4, (done.stdout, done.stderr)
    assert done.stderr.count("\n") == 1, done.stderr
    assert "free some space" in done.stderr
    assert "exp/saved_models/big: cannot write" in done.stderr
    before = trials_of(tmp_path, "big")
    again = command(*hpt)
    assert again.returncode == 0, again.stderr
    trials = trials_of(tmp_path, "big")
    assert [t.values for t in trials] == [t.values for t in before], "only the winner was trained again"
    assert_sound(trials, planned=2, processes=1)


def test_a_worker_that_cannot_write_loses_no_trial(quick: Start, tmp_path: Path) -> None:
    """The folder of a trial's files has a file in its place."""
    in_the_way = tmp_path / "exp/hpt_studies/quick/trials"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    url = f"sqlite:///{tmp_path}/quick.db"
    process = quick(url, "--trials", "2")
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 4, stderr
    assert stderr.count("\n") == 1, stderr
    assert "exp/hpt_studies/quick/trials" in stderr
    in_the_way.unlink()
    assert quick(url, "--trials", "2").wait(timeout=600) == 0
    trials = trials_in(url)
    assert_sound(trials, planned=2, processes=1)
    cut = [t for t in trials if t.state.name == "FAIL" and not attributes.is_duplicate(t)]
    assert len(cut) == 1
    assert cut[0].user_attrs["place"] in {t.user_attrs["place"] for t in attributes.counted(trials)}
