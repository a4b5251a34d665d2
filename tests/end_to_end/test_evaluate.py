"""A saved matcher is measured again: the same figures from kept features, and clear words where something changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import without_report
from tests.unit.data.drawings import photo

from imagematch.cli.summary import metric_lines
from imagematch.config import parse_train
from imagematch.errors import ConfigError, DataError
from imagematch.files import Layout
from imagematch.matching.card_file import sealed
from imagematch.pipeline import run_training
from imagematch.pipeline.evaluate import evaluate_model, write_evaluation
from imagematch.pipeline.experiments import read_history
from imagematch.pipeline.export import export_projector
from imagematch.pipeline.pairs import evaluate_pairs
from imagematch.reporting import warnings_of
from imagematch.retrieval import embed_images, list_images

SETTINGS = {
    "experiment_name": "tiny",
    "dataset": "digits",
    "feature_extractor": "pixels",
    "image_size": 8,
    "embedding_dim": 8,
    "epochs": 2,
}


def write_photos(folder: Path) -> None:
    """Three classes of twelve noisy pictures each: red, green and blue ones."""
    random = np.random.default_rng(0)
    for label in range(3):
        for number in range(12):
            path = folder / f"c{label}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = random.integers(0, 90, (8, 8, 3), np.uint8)
            picture[..., label] += 160
            Image.fromarray(picture).save(path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a small matcher was trained."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        without_report(patch)
        run_training(parse_train(SETTINGS), Layout())
    return folder


@pytest.fixture
def model_dir(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    return Path("exp/saved_models/tiny")


def test_the_figures_are_those_of_the_training_and_no_network_runs(model_dir, monkeypatch):
    from imagematch.features import computation

    monkeypatch.setattr(computation.Computation, "complete", lambda *_: pytest.fail("features were computed again"))
    kept = json.loads((model_dir / "metrics.json").read_text())

    evaluation = evaluate_model(model_dir)

    assert evaluation.same_data
    assert evaluation.metrics["test"] == kept["test"]
    assert evaluation.metrics["baseline"]["test"]["roc_auc"] == kept["baseline"]["test"]["roc_auc"]
    assert evaluation.threshold.distance == evaluation.matcher.threshold
    assert len(evaluation.history) == 2


def test_the_views_embeddings_are_the_matchers_own(model_dir):
    evaluation = evaluate_model(model_dir)
    rows = evaluation.dataset.rows("test")[:5]
    pictures = [evaluation.dataset.pixels(int(row), 8) for row in rows]
    np.testing.assert_allclose(evaluation.view.embeddings[:5], evaluation.matcher.embed(pictures), atol=1e-5)


def test_a_triplet_is_one(model_dir):
    evaluation = evaluate_model(model_dir)
    scores = [
        float(evaluation.matcher.predict(anchor, positive)[0] - evaluation.matcher.predict(anchor, negative)[0])
        for anchor, positive, negative in (evaluation.triplet(number) for number in range(20))
    ]
    assert np.mean(np.array(scores) > 0) > 0.8


def test_faces_are_cut_out_once_in_a_triplet_and_in_the_figures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for label in range(2):
        for number in range(12):
            path = tmp_path / "photos" / f"person{label}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            page = photo((20 + 5 * number, 30 + 40 * label, 100 + 20 * label))
            Image.fromarray(page // (1 + label)).save(path)
    settings = {
        "experiment_name": "faces",
        "dataset": "folder",
        "data_dir": "photos",
        "split": [0.4, 0.4, 0.2],
        "face_crop": "haar",
        "face_margin": 0,
        "feature_extractor": "small_cnn",
        "weights": "random",
        "trainable": True,
        "image_size": 96,
        "epochs": 1,
        "engine": "tensorflow",
    }
    run_training(parse_train(settings), Layout())

    evaluation = evaluate_model("exp/saved_models/faces")

    matcher, dataset = evaluation.matcher, evaluation.dataset
    cut = [dataset.pixels(int(row), 96) for row in dataset.rows("test")]
    np.testing.assert_allclose(evaluation.view.embeddings, matcher.embed(cut, cropped=True), atol=1e-5)
    for image in evaluation.triplet():
        distances = np.linalg.norm(evaluation.view.embeddings - matcher.embed(image), axis=1)
        assert distances.min() < 1e-3, "what is asked about is what was measured"

    pairs = ["person0/0.png,person0/1.png,1", "person1/0.png,person1/1.png,1", "person0/0.png,person1/1.png,0"]
    (tmp_path / "pairs.csv").write_text("\n".join(pairs))
    found = evaluate_pairs("exp/saved_models/faces", "pairs.csv", "photos")
    assert found.baseline.roc_auc is not None, "by the weights that the training began with"
    assert found.skipped == 0


def test_the_report_and_the_metrics_are_written(model_dir, tmp_path):
    path = write_evaluation(evaluate_model(model_dir, split="validation"), tmp_path / "new" / "folder")
    assert path.stat().st_size < 8e6
    metrics = json.loads((path.parent / "metrics.json").read_text())
    assert set(metrics) == {"validation", "test", "baseline"}
    assert metrics["test"] is metrics["baseline"]["test"] is None
    assert metrics["baseline"]["validation"]["roc_auc"] > 0.5
    assert "no metrics of a test split" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("split", ["tests", "", "left_out"])
def test_a_split_that_is_not_there_is_told_before_anything_is_opened(split):
    with pytest.raises(ConfigError, match="is not one of test, validation, calibration, train"):
        evaluate_model("nowhere", split=split)


def test_without_a_test_split_the_baseline_stands_beside_validation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metrics = run_training(parse_train({**SETTINGS, "epochs": 1, "split": [0.8, 0.2]}), Layout()).metrics
    assert metrics["test"] is metrics["baseline"]["test"] is None
    assert metrics["baseline"]["validation"]["roc_auc"] < metrics["validation"]["roc_auc"]
    assert metrics["validation"]["mean_average_precision"] > metrics["validation"]["map_at_r"]
    assert metrics["validation"]["probability"]["calibration_error"] >= 0
    assert "baseline, validation" in "\n".join(metric_lines(metrics))
    with pytest.raises(DataError, match="has no test images; choose"):
        evaluate_model("exp/saved_models/tiny")


def test_another_data_set_is_remarked(model_dir, tmp_path):
    changed = tmp_path / "tiny"
    shutil.copytree(model_dir, changed)
    card = json.loads((changed / "matcher.json").read_text())
    card["provenance"]["dataset_digest"] = "0" * 32
    (changed / "matcher.json").write_text(json.dumps(sealed(card)))

    evaluation = evaluate_model(changed)

    assert not evaluation.same_data
    assert "may hold images it was trained on" in warnings_of(evaluation.metrics)[0]
    assert "may hold images it was trained on" in write_evaluation(evaluation, tmp_path / "out").read_text(
        encoding="utf-8"
    )


def test_a_history_that_was_edited_is_left_out_and_that_is_told(model_dir, tmp_path):
    changed = tmp_path / "tiny"
    shutil.copytree(model_dir, changed)
    for text in (
        "epoch,loss\n",
        "epoch,loss\n1,high\n",
        "loss\n0.5\n",
        "epoch\n\nnan\n",
        "a,b\n1\n1,2,3\n",
        "\udcff\x00",
        "",
    ):
        (changed / "history.csv").write_text(text, errors="surrogateescape")
        assert read_history(changed) is None, text
    evaluation = evaluate_model(changed)
    assert any("history.csv" in remark for remark in warnings_of(evaluation.metrics))
    assert "history was not saved" in write_evaluation(evaluation, tmp_path / "out").read_text(encoding="utf-8")


def test_images_may_be_in_a_folder_of_any_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos")
    settings = {**SETTINGS, "dataset": "folder", "data_dir": "photos", "split": [0.4, 0.4, 0.2], "epochs": 1}
    run_training(parse_train(settings), Layout())
    for name in ("\N{GRINNING FACE}: {x}", "\udcff"):
        moved = (tmp_path / "photos").rename(tmp_path / name)
        evaluation = evaluate_model("exp/saved_models/tiny", data_dir=moved)
        assert evaluation.same_data
        write_evaluation(evaluation, tmp_path / "out")
        moved.rename(tmp_path / "photos")


def test_a_machine_without_the_precision_serves_in_another_everywhere(tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos")
    network = {
        "feature_extractor": ["pixels", "mobilenet_025"],
        "weights": "random",
        "image_size": 32,
        "engine": "openvino",
        "feature_precision": "float32",
    }
    images = {"dataset": "folder", "data_dir": "photos", "split": [0.4, 0.4, 0.2]}
    run_training(parse_train({**SETTINGS, **network, **images, "epochs": 1}), Layout())
    folder = Path("exp/saved_models/tiny")
    card = json.loads((folder / "matcher.json").read_text())
    card["embedding"]["precision"] = "bfloat16"
    (folder / "matcher.json").write_text(json.dumps(sealed(card)))
    monkeypatch.setattr("imagematch.extractors.engines.openvino.native_bfloat16", lambda _: False)

    evaluation = evaluate_model(folder)

    told = "chosen with openvino in bfloat16, which cannot be had here: openvino in float32 serves"
    assert told in " ".join(warnings_of(evaluation.metrics))
    export_projector(folder)
    found = list_images(Path("photos"), manifest_dir=Path("exp/manifests"))
    vectors, _ = embed_images(evaluation.matcher, found, Path("exp/features"))
    expected = evaluation.matcher.embed([Path("photos") / path for path in found.paths])
    np.testing.assert_allclose(vectors, expected, atol=1e-3)


def test_scores_of_a_training_triplet_keep_the_margin_of_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos")
    images = {"dataset": "folder", "data_dir": "photos", "split": [0.5, 0.25, 0.25]}
    settings = {**SETTINGS, **images, "loss": "triplet_hard", "margin": 1, "objective": "val_loss", "epochs": 30}
    run_training(parse_train({**settings, "learning_rate": 0.003}), Layout())
    evaluation = evaluate_model("exp/saved_models/tiny", split="train")
    assert evaluation.history[0]["val_loss"] > 0, "there was something to learn"
    for number in range(20):
        anchor, positive, negative = evaluation.triplet(number)
        output_1 = evaluation.matcher.predict(anchor, positive)
        output_2 = evaluation.matcher.predict(anchor, negative)
        assert output_1 > output_2 + 1
