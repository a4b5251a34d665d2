"""A saved matcher is measured again: the same figures from kept features, and clear words where something changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.unit.data.drawings import photo

from imagematch.config import parse_train
from imagematch.errors import DataError, ModelError
from imagematch.files import Layout
from imagematch.matching.card import sealed
from imagematch.pipeline import run_training
from imagematch.pipeline.evaluate import evaluate_model, write_evaluation

SETTINGS = {
    "experiment_name": "tiny",
    "dataset": "digits",
    "feature_extractor": "pixels",
    "image_size": 8,
    "embedding_dim": 8,
    "epochs": 2,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a small matcher was trained."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
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
    pictures = [evaluation.dataset.picture(int(row), 8) for row in rows]
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
    cut = [dataset.picture(int(row), 96) for row in dataset.rows("test")]
    np.testing.assert_allclose(evaluation.view.embeddings, matcher.embed(cut, cropped=True), atol=1e-5)
    for image in evaluation.triplet():
        distances = np.linalg.norm(evaluation.view.embeddings - matcher.embed(image), axis=1)
        assert distances.min() < 1e-3, "what is asked about is what was measured"


def test_the_report_and_the_metrics_are_written(model_dir, tmp_path):
    path = write_evaluation(evaluate_model(model_dir, split="validation"), tmp_path / "new" / "folder")
    assert path.stat().st_size < 8e6
    assert set(json.loads((path.parent / "metrics.json").read_text())) == {"validation", "baseline"}
    assert "no figures of a test split" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("split", ["tests", "", "left_out"])
def test_a_split_that_is_not_there_is_told(model_dir, split):
    with pytest.raises(DataError, match="choose"):
        evaluate_model(model_dir, split=split)


def test_another_data_set_is_remarked(model_dir, tmp_path):
    changed = tmp_path / "tiny"
    shutil.copytree(model_dir, changed)
    card = json.loads((changed / "matcher.json").read_text())
    card["provenance"]["dataset_digest"] = "another"
    (changed / "matcher.json").write_text(json.dumps(sealed(card)))

    evaluation = evaluate_model(changed)

    assert not evaluation.same_data
    assert "may hold images it was trained on" in write_evaluation(evaluation, tmp_path / "out").read_text(
        encoding="utf-8"
    )


def test_another_extractor_is_refused(model_dir, tmp_path):
    changed = tmp_path / "tiny"
    shutil.copytree(model_dir, changed)
    card = json.loads((changed / "matcher.json").read_text())
    card["embedding"]["network_digest"] = "another"
    (changed / "matcher.json").write_text(json.dumps(sealed(card)))
    with pytest.raises(ModelError, match="not the one it was trained with"):
        evaluate_model(changed)
