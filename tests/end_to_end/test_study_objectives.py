"""Studies with two objectives, folds and a limit, as a user runs them; and one in which no trial is complete."""

import csv
import json
from pathlib import Path

import optuna
import pytest
from tests.conftest import Invoke

FOLDED = """\
study_name: folded
dataset: digits
split_by: class
split: [0.4, 0.2, 0.4]
feature_extractor: pixels
image_size: 8
folds: 2
objective: [val_tar_at_far_0.1, parameters]
max_parameters: 6000
embedding_dim_grid: [4, 8, 64]
dropout: 0
epochs: 1
n_trials: 2
rerun_top_k: 0
"""

pytestmark = pytest.mark.slow


def test_two_objectives_over_folds_under_a_limit(command: Invoke, one_process: None, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(FOLDED)
    done = command("hpt.py", "--hpt-config-filepath", "study.yaml")
    assert done.returncode == 0, done.stderr
    assert "objective val_tar_at_far_0.1 (maximize) and parameters (minimize); mean over 2 folds" in done.stdout
    study = optuna.load_study(study_name="folded", storage=f"sqlite:///{tmp_path}/exp/hpt_studies/folded.db")
    trained = [t for t in study.trials if "fold_values" in t.user_attrs]
    assert {t.params["embedding_dim"] for t in trained} == {4, 8}
    for trial in trained:
        assert trial.values == [
            sum(trial.user_attrs["fold_values"]) / 2,
            (8 * 8 * 3 + 1) * trial.params["embedding_dim"],
        ]
    assert not [t for t in study.trials if t.params["embedding_dim"] == 64 and "fold_values" in t.user_attrs]
    assert study.user_attrs["baseline"]["pixels"]["val_tar_at_far_0.1"] > 0
    folder = tmp_path / "exp" / "hpt_studies" / "folded"
    assert "The Pareto front" in (folder / "report.html").read_text()
    with (folder / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {"second_value", "fold_values", "fold_spread"} <= set(rows[0])
    metrics = json.loads((tmp_path / "exp" / "saved_models" / "folded" / "metrics.json").read_text())
    assert metrics["test"]["split_by"] == "class"


def test_a_study_in_which_no_trial_is_complete_leaves_a_report_that_says_why(
    command: Invoke, one_process: None, tmp_path: Path
) -> None:
    text = FOLDED.replace("folds: 2\n", "").replace("max_parameters: 6000", "max_parameters: 5")
    (tmp_path / "study.yaml").write_text(text)
    done = command("hpt.py", "--hpt-config-filepath", "study.yaml")
    assert done.returncode == 4
    assert "no trial was completed" in done.stderr
    assert done.stderr.count("\n") == 1
    report = (tmp_path / "exp" / "hpt_studies" / "folded" / "report.html").read_text()
    assert "No trial is finished" in report
    assert "parameters are over max_parameters" in report
    shown = command("study", "show", "folded")
    assert "No trial is finished yet" in shown.stdout


def test_a_dry_run_refuses_batches_of_more_classes_than_a_fold_has(command: Invoke, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(FOLDED + "batch_classes: 4\n")
    done = command("hpt.py", "--hpt-config-filepath", "study.yaml", "--dry-run")
    assert done.returncode == 2
    assert "batch_classes: a batch of 4 classes cannot be drawn from 3 training classes" in done.stderr
