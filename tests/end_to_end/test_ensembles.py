"""Ensembles and test time: from the configuration to figures, retrieval and exports that all tell the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagematch import ImageMatcher
from imagematch.config import parse_train
from imagematch.errors import ConfigError
from imagematch.evaluation import epoch_metrics
from imagematch.extractors import build_network
from imagematch.files import Layout
from imagematch.model import flip_average
from imagematch.pipeline import evaluate_model, run_training
from imagematch.pipeline.export import export_matcher
from imagematch.registry import EXTRACTOR_REGISTRY
from imagematch.retrieval import embed_images, list_images

pytestmark = pytest.mark.usefixtures("no_report")

BASE = {"dataset": "digits", "image_size": 8, "embedding_dim": 8, "epochs": 2, "max_classes": 4}
RECIPES: dict[str, dict[str, Any]] = {
    "flip": {"feature_extractor": "pixels", "test_time_flip": True},
    "side_by_side": {
        "feature_extractor": ["pixels", "mobilenet_025"],
        "weights": ["imagenet", "random"],
        "image_size": 32,
        "feature_whitening": 30,
        "test_time_flip": True,
    },
    "whitening": {"feature_extractor": "pixels", "feature_whitening": 20, "intermediate_ff_block_units": [16]},
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_training_evaluation_retrieval_and_export_agree(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = parse_train({"experiment_name": "small", **BASE, **RECIPES[recipe]})
    folder = run_training(settings, Layout()).folder
    kept = json.loads((folder / "metrics.json").read_text())
    evaluation = evaluate_model(folder)
    assert evaluation.metrics["test"] == kept["test"]
    matcher, dataset = evaluation.matcher, evaluation.dataset
    rows = dataset.rows("test")[:9]
    images = Path("images")
    images.mkdir()
    for number, row in enumerate(rows):
        Image.fromarray(dataset.pixels(int(row))).save(images / f"{number}.png")
    embeddings = matcher.embed([dataset.pixels(int(row)) for row in rows])
    np.testing.assert_allclose(evaluation.view.embeddings[:9], embeddings, atol=1e-4)
    mirrored = matcher.embed([dataset.pixels(int(row))[:, ::-1] for row in rows])
    assert np.allclose(mirrored, embeddings, atol=1e-4) == settings.test_time_flip
    listed = list_images(images, manifest_dir=Path("exp/manifests"))
    np.testing.assert_allclose(embed_images(matcher, listed, Path("exp/features"))[0], embeddings, atol=1e-4)
    alone, _ = embed_images(matcher, listed, Path("exp/features"), space="features")
    network = matcher.network.build()
    features = np.concatenate([np.asarray(network(dataset.pixels(int(row))[None])) for row in rows])
    np.testing.assert_allclose(alone, features, atol=2e-3 * np.linalg.norm(features, axis=1).max())
    assert export_matcher(folder, "saved_model", "exported").distance < 1e-3
    assert ImageMatcher.load(folder).match(images / "0.png", images / "0.png").is_match


@pytest.mark.parametrize("anew", [False, True], ids=["kept features", "images"])
def test_flips_of_an_extractor_that_is_trained_in_part(
    anew: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    build_network(EXTRACTOR_REGISTRY.all()["small_cnn"], 16, 0).save_weights("small_cnn.weights.h5")
    network = {"feature_extractor": "small_cnn", "weights": "small_cnn.weights.h5", "image_size": 16, "trainable": 2}
    values = {**BASE, **network, "image_augmentation": anew, "test_time_flip": True}
    folder = run_training(parse_train({"experiment_name": "small", **values}), Layout()).folder
    kept = json.loads((folder / "metrics.json").read_text())
    evaluation = evaluate_model(folder)
    matcher, dataset = evaluation.matcher, evaluation.dataset
    images = np.stack([dataset.pixels(int(row)) for row in dataset.rows("test")]).astype(np.float32)
    plain, mirrored = (np.asarray(matcher.feature_model(one)) for one in (images, images[:, :, ::-1]))
    expected = flip_average(plain, mirrored)
    assert np.abs(expected - plain).max() > 0.01
    np.testing.assert_allclose(evaluation.view.embeddings, expected, atol=1e-4)
    naive = epoch_metrics(expected, dataset.labels[dataset.rows("test")])
    for figures in (kept["test"], evaluation.metrics["test"]):
        assert figures["roc_auc"] == pytest.approx(naive["roc_auc"], abs=1e-3)
        assert figures["map_at_r"] == pytest.approx(naive["map_at_r"], abs=1e-3)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"feature_extractor": "pixels", "feature_whitening": 193}, "feature_whitening: 193 is more than the features"),
    ],
)
def test_what_cannot_be_trained_is_one_line(
    values: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=says):
        run_training(parse_train({"experiment_name": "small", **BASE, **values}), Layout())
