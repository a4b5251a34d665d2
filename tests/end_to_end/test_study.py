"""`hpt.py` as a user runs it: what it prints, what it leaves, how it goes on."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import optuna
import pytest
from tests.conftest import SMALL_STUDY, Invoke, run_command

from imagematch import ImageMatcher, config
from imagematch.data import open_dataset

EXP = Path("exp")


def test_everything_the_design_promises_is_there(small_study: Path) -> None:
    study, model = small_study / EXP / "hpt_studies" / "small", small_study / EXP / "saved_models" / "small"
    assert (small_study / EXP / "hpt_studies" / "small.db").is_file()
    assert {"best_config.yaml", "report.html", "trials.csv", "run.jsonl"} <= {p.name for p in study.iterdir()}
    files = {"feature_model.keras", "matcher.json", "config.yaml", "metrics.json", "history.csv", "report.html"}
    assert files <= {p.name for p in model.iterdir()}
    assert list((small_study / EXP / "logs" / "small").glob("events.out.tfevents.*"))
    assert not [p for p in (small_study / EXP / "saved_models").iterdir() if p.name.startswith(".")]
    assert not list((study / "trials").glob("*.npz")), "checkpoints of finished trials are removed"


def test_any_optuna_tool_can_open_it(small_study: Path) -> None:
    database = small_study / EXP / "hpt_studies" / "small.db"
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{database}")
    finished = [t for t in study.trials if t.state.is_finished() and "duplicate_of" not in t.user_attrs]
    assert len(finished) == 3
    assert study.direction.name == "MAXIMIZE"
    assert all(t.params["intermediate_ff_block_units"] in ("[]", "[32]") for t in finished)
    assert all(0 <= t.value <= 1 for t in finished if t.state.name == "COMPLETE")
    assert {t.user_attrs["place"] for t in study.trials} == set(range(len(study.trials)))
    assert study.user_attrs["baseline"]["pixels"]["val_roc_auc"] < 1
    assert study.user_attrs["feature_precisions"] == {"pixels, weights imagenet, image_size 8": "float32"}


def test_the_metrics_have_every_promised_key(small_study: Path) -> None:
    metrics = json.loads((small_study / EXP / "saved_models" / "small" / "metrics.json").read_text())
    keys = {
        *("roc_auc", "roc_auc_ci95", "eer", "tar_at_far", "recall_at_1", "map_at_r", "r_precision", "images"),
        *("classes", "genuine_pairs", "impostor_pairs", "split_by", "threshold"),
    }
    at_threshold = {
        *("distance", "chosen_on", "criterion", "accuracy", "balanced_accuracy", "precision", "recall", "f1"),
        "confusion",
    }
    for block in (metrics["validation"], metrics["test"], metrics["baseline"]["test"]):
        assert keys <= set(block)
        assert at_threshold <= set(block["threshold"])
        assert block["threshold"]["chosen_on"] == "calibration"
    assert metrics["test"]["genuine_pairs"] + metrics["test"]["impostor_pairs"] == 180 * 179 // 2
    assert metrics["test"]["shared_classes"] is True


def test_the_best_configuration_runs_as_it_is_and_gives_the_same(small_study: Path, tmp_path: Path) -> None:
    best = small_study / EXP / "hpt_studies" / "small" / "best_config.yaml"
    assert "feature_precision: float32\n" in best.read_text(), "the study's, whatever auto comes to elsewhere"
    again = run_command("train.py", "--config", best, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    first, second = (
        json.loads((folder / EXP / "saved_models" / "small" / "metrics.json").read_text())
        for folder in (small_study, tmp_path)
    )
    assert second["test"]["roc_auc"] == pytest.approx(first["test"]["roc_auc"], abs=1e-6)


def test_the_trials_table_agrees_with_the_database(small_study: Path) -> None:
    with (small_study / EXP / "hpt_studies" / "small" / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    database = small_study / EXP / "hpt_studies" / "small.db"
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{database}")
    assert [int(row["number"]) for row in rows] == [t.number for t in study.trials]
    assert [row["state"] for row in rows] == [t.state.name for t in study.trials]


@pytest.fixture
def copy(small_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a copy of the study's."""
    folder = Path(shutil.copytree(small_study, tmp_path / "copy"))
    monkeypatch.chdir(folder)
    return folder


def pictures_run(folder: Path) -> int:
    """How many pictures went through a network, by all that was logged in a folder."""
    logs = (folder / EXP).rglob("run.jsonl")
    events = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
    return sum(event["images"] for event in events if event["event"] == "features_block")


def kept_rows(folder: Path) -> list[tuple[int, int]]:
    """Size of every entry's rows, and when they were last written."""
    return [(file.stat().st_size, file.stat().st_mtime_ns) for file in (folder / EXP / "features").glob("*/rows.bin")]


def test_the_network_runs_once_per_image(small_study: Path) -> None:
    """Baseline, trials, repeated runs, the winner's training and evaluation: the features are computed once."""
    assert pictures_run(small_study) == 1797
    assert [size for size, _ in kept_rows(small_study)] == [1797 * 8 * 8 * 3 * 4]


def test_a_second_study_and_a_later_evaluation_run_the_network_zero_times(
    copy: Path, invoke: Invoke, one_process: None
) -> None:
    text = SMALL_STUDY.replace("study_name: small", "study_name: second").replace("n_trials: 3", "n_trials: 2")
    (copy / "study.yaml").write_text(text.replace("rerun_top_k: 2", "rerun_top_k: 0"))
    before = kept_rows(copy)
    second = invoke("hpt", "--hpt-config-filepath", "study.yaml")
    assert second.returncode == 0, second.stderr
    evaluated = invoke("evaluate", "--model", "exp/saved_models/second")
    assert evaluated.returncode == 0, evaluated.stderr
    assert (copy / EXP / "hpt_studies" / "second" / "run.jsonl").is_file()
    reports = [(copy / EXP / "hpt_studies" / name / "report.html").read_text() for name in ("small", "second")]
    assert ["The features were computed once" in report for report in reports] == [True, False]
    assert ["no image went through the network" in report for report in reports] == [False, True]
    assert pictures_run(copy) == 1797
    assert kept_rows(copy) == before


def test_a_finished_study_resumes_to_its_summary(copy: Path, invoke: Invoke) -> None:
    again = invoke("hpt", "--hpt-config-filepath", "study.yaml", "--resume")
    assert again.returncode == 0, again.stderr
    assert "ROC AUC" in again.stdout
    assert "epoch" not in again.stdout.split("ROC AUC")[0].replace("epochs", "")


def test_more_trials_go_on_where_the_study_was(copy: Path, invoke: Invoke, one_process: None) -> None:
    again = invoke("hpt", "--hpt-config-filepath", "study.yaml", "--resume", "--n-trials", "4")
    assert again.returncode == 0, again.stderr
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{copy / EXP}/hpt_studies/small.db")
    counted = [t for t in study.trials if t.state.is_finished() and "duplicate_of" not in t.user_attrs]
    assert len(counted) == 4


def test_a_wider_space_keeps_the_trials(copy: Path, invoke: Invoke, one_process: None) -> None:
    (copy / "study.yaml").write_text(SMALL_STUDY.replace("[8, 16]", "[4, 16, 8]"))
    both = invoke("hpt", "--hpt-config-filepath", "study.yaml", "--extend", "--fresh")
    assert both.returncode == 2
    assert "--extend and --fresh exclude each other" in both.stderr
    url = f"sqlite:///{copy / EXP}/hpt_studies/small.db"
    before = optuna.load_study(study_name="small", storage=url).trials
    again = invoke("hpt", "--hpt-config-filepath", "study.yaml", "--extend", "--n-trials", "4")
    assert again.returncode == 0, again.stderr
    assert "extended: embedding_dim: choices 8, 16 became choices 4, 16, 8; 3 trials kept" in again.stdout
    after = optuna.load_study(study_name="small", storage=url).trials
    assert [(t.params, t.values) for t in after[: len(before)]] == [(t.params, t.values) for t in before]
    assert len(after) > len(before)


def test_neither_flag_is_a_usage_error_that_names_both(
    small_study: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small_study)
    refused = invoke("hpt", "--hpt-config-filepath", "study.yaml")
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    assert "--fresh" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_another_space_under_the_same_name_is_refused_with_the_difference(
    small_study: Path, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small_study)
    changed = tmp_path / "changed.yaml"
    changed.write_text(SMALL_STUDY.replace("[8, 16]", "[8, 32]"))
    refused = invoke("hpt", "--hpt-config-filepath", changed, "--resume")
    assert refused.returncode == 4
    assert "choices 8, 16 became choices 8, 32" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_the_saved_matcher_tells_digits_apart(small_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small_study)
    folder = EXP / "saved_models" / "small"
    matcher = ImageMatcher.load(folder)
    dataset = open_dataset(config.load_train(folder / "config.yaml"), manifest_dir=EXP / "manifests")
    rows = dataset.rows("test")
    embeddings = matcher.embed([dataset.pixels(int(row), 8) for row in rows])
    first, second = np.triu_indices(len(rows), k=1)
    distances = np.linalg.norm(embeddings[first] - embeddings[second], axis=1)
    genuine = dataset.labels[rows][first] == dataset.labels[rows][second]
    kept = json.loads((folder / "metrics.json").read_text())["test"]["threshold"]
    assert ((distances < matcher.threshold) == genuine).mean() == pytest.approx(kept["accuracy"], abs=1e-3)


def test_match_answers_in_words_and_json(
    small_study: Path, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    monkeypatch.chdir(small_study)
    for name, grey in (("a.png", 10), ("b.png", 200)):
        Image.new("L", (20, 30), grey).save(tmp_path / name)
    arguments = ("match", "--model", "exp/saved_models/small", tmp_path / "a.png", tmp_path / "b.png")
    words = invoke(*arguments)
    assert words.returncode == 0, words.stderr
    assert words.stdout.startswith(("match: distance", "no match: distance"))
    answer = json.loads(invoke(*arguments, "--json").stdout)
    assert set(answer) == {"is_match", "distance", "threshold", "probability"}
    assert answer["is_match"] == (answer["distance"] < answer["threshold"])


def test_validate_and_dry_run_say_what_would_run(command: Invoke, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(SMALL_STUDY)
    plan = command("hpt.py", "--hpt-config-filepath", "study.yaml", "--validate")
    assert plan.returncode == 0
    assert "3 trials out of 4 grid points" in plan.stdout
    assert not (tmp_path / "exp").exists()
    counted = command("hpt.py", "--hpt-config-filepath", "study.yaml", "--dry-run")
    assert counted.returncode == 0
    for line in ("grid points: 4", "images: 1,797", "classes: 10", "trials: 3"):
        assert line in counted.stdout
