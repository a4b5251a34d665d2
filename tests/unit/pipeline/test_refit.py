"""Training again on train and validation images: what it trains on, what is reported, and when it is left."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagematch import training
from imagematch.config import parse_train
from imagematch.errors import TrainingFailedError
from imagematch.events import RunLog
from imagematch.files import Layout
from imagematch.matching import read_card
from imagematch.pipeline import evaluate_model, run_training
from imagematch.training import load_training_data, train_model

pytestmark = pytest.mark.usefixtures("no_report")

VALUES = {
    "experiment_name": "x",
    "dataset": "digits",
    "feature_extractor": "pixels",
    "image_size": 8,
    "split_by": "class",
    "split": [0.4, 0.3, 0.3],
    "embedding_dim": 8,
    "epochs": 2,
    "join": {"weight": 1.5},
    "refit": "train_and_validation",
}


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, **values: Any) -> tuple[Any, str]:
    """The matcher, and what was said."""
    monkeypatch.chdir(folder)
    said = io.StringIO()
    trained = run_training(parse_train({**VALUES, **values}), Layout(), log=RunLog(stream=said))
    return trained, said.getvalue()


def test_the_model_is_trained_again_on_all_but_calibration_and_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_on: list[tuple[dict[str, int], int | None, Any]] = []
    flips: list[Any] = []
    real = training.train_model

    def watched(data: Any, settings: Any, **options: Any) -> Any:
        counts = {split: len(data.dataset.rows(split)) for split in ("train", "validation", "calibration", "test")}
        trained_on.append((counts, options.get("last_epoch"), settings.join))
        flips.append(settings.test_time_flip)
        return real(data, settings, **options)

    monkeypatch.setitem(vars(training), "train_model", watched)
    trained, said = run(monkeypatch, tmp_path, join="whitened", test_time_flip="auto")
    (before, _, _), (after, epochs, join) = trained_on
    moved = {"train": before["train"] + before["validation"], "validation": 0}
    assert after == {**before, **moved}
    assert join == "none" or isinstance(join["weight"], float), "the weight is settled"
    card = read_card(trained.folder)
    assert flips == ["auto", card.embedding.test_time_flip], "it is settled, too"
    assert f"test_time_flip: {str(flips[1]).lower()}, by validation" in said
    metrics = trained.metrics
    assert metrics["refit"]["images"] == moved["train"]
    assert metrics["refit"]["epochs"] == epochs
    assert metrics["refit"]["before"]["test"]["roc_auc"] != metrics["test"]["roc_auc"]
    assert "belong to the model before" in metrics["validation"]["remarks"][-1]
    assert "trained again" in metrics["test"]["remarks"][-1]
    assert metrics["test"]["threshold"]["chosen_on"] == "calibration"
    assert f"training again on {moved['train']:,} train and validation images" in said
    provenance = card.provenance
    assert provenance.refitted
    assert len(provenance.training_classes) == 7, "four of train and three of validation"
    seen = evaluate_model(trained.folder, "validation", feature_dir=tmp_path / "exp/features")
    assert any("trained again on these images" in remark for remark in seen.metrics["validation"]["remarks"])


def test_where_it_collapses_the_model_before_is_the_result_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = training.train_model

    def collapsing(data: Any, settings: Any, **options: Any) -> Any:
        if "last_epoch" in options:
            raise TrainingFailedError("the embeddings have collapsed", where="x", do="lower learning_rate")
        return real(data, settings, **options)

    monkeypatch.setitem(vars(training), "train_model", collapsing)
    trained, said = run(monkeypatch, tmp_path)
    assert "trained again it failed (the embeddings have collapsed): the model before is the result" in said
    plain, _ = run(monkeypatch, tmp_path, experiment_name="y", refit="none")
    assert trained.metrics == plain.metrics
    assert "refit" not in plain.metrics
    assert not read_card(trained.folder).provenance.refitted


def test_where_the_threshold_needs_the_validation_images_they_train_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, said = run(monkeypatch, tmp_path, threshold={"far": 1e-6})
    assert trained.metrics["test"]["threshold"]["chosen_on"] == "calibration and validation"
    assert "not trained again on validation images: the threshold was chosen on them" in said
    assert "refit" not in trained.metrics


def test_a_last_epoch_ends_the_training_with_its_weights(tmp_path: Path) -> None:
    settings = parse_train({**VALUES, "join": "none", "epochs": 9, "early_stopping_patience": 0})
    settings = settings.model_copy(update={"feature_dir": tmp_path / "features", "learning_rate": 0.1})
    data = load_training_data(settings, manifest_dir=tmp_path)
    rows = data.dataset.rows("validation")
    whole = replace(
        data,
        dataset=replace(
            data.dataset, splits=np.where(data.dataset.splits == "validation", "train", data.dataset.splits)
        ),
    )
    again = train_model(whole, settings, last_epoch=4, validate_on=rows)
    assert [record["epoch"] for record in again.result.history] == [1, 2, 3, 4]
    assert (again.result.best_epoch, again.result.ended_by) == (4, "epochs")
    spread = float(np.sqrt(np.mean(np.sum((again.embed(rows) - again.embed(rows).mean(axis=0)) ** 2, axis=1))))
    assert spread == pytest.approx(again.result.history[-1]["spread"], abs=1e-5)
