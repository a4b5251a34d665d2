"""Whole trainings on the digits: on kept features, at the cut, and on images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import imagematch.training.inputs
from imagematch.config import TrainSettings, parse_train
from imagematch.features.computation import Computation
from imagematch.training import Materials, Training, gather_materials, train_model


def settings_of(folder: Path, **values: Any) -> TrainSettings:
    base = {
        "experiment_name": "x",
        "dataset": "digits",
        "max_classes": 4,
        "feature_extractor": "small_cnn",
        "image_size": 16,
        "weights": str(folder / "small_cnn.weights.h5"),
        "feature_dir": str(folder / "features"),
        "feature_precision": "float32",
        "batch_classes": 4,
        "batch_images": 4,
        "embedding_dim": 8,
        "epochs": 2,
        "validation_max_images": 100,
    }
    return parse_train({**base, **values})


@pytest.fixture(scope="module", name="folder")
def folder_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights for the small network, as if they were published."""
    from imagematch.extractors import SPECS
    from imagematch.extractors.networks import build_network

    folder = tmp_path_factory.mktemp("experiment")
    build_network(SPECS["small_cnn"], 16, 0).save_weights(folder / "small_cnn.weights.h5")
    return folder


def gathered(settings: TrainSettings, folder: Path) -> Materials:
    return gather_materials(settings, manifest_dir=folder / "manifests")


def trained(settings: TrainSettings, folder: Path) -> Training:
    return train_model(gathered(settings, folder), settings)


def test_kept_features_at_the_cut_train_the_same_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(folder, trainable=2, epochs=1)  # longer, and rounding errors decide which triplets count
    rows = np.arange(0, 700, 10)
    computed: list[int] = []
    complete = Computation.complete

    def counted(self: Computation, *arguments: Any) -> int:
        computed.append(complete(self, *arguments))
        return computed[-1]

    monkeypatch.setattr(Computation, "complete", counted)
    kept = trained(settings, folder)
    assert len(computed) == 2, "the whole extractor for the baseline, and its part below the cut, once each"
    assert len(set(computed)) == 1
    again = trained(settings, folder)
    assert len(computed) == 2
    np.testing.assert_array_equal(kept.embed(rows), again.embed(rows))
    monkeypatch.setattr(imagematch.training.inputs, "_AT_MOST_BYTES", 0)
    materials = gathered(settings, folder)
    assert materials.inputs.views is None
    on_images = train_model(materials, settings)
    np.testing.assert_allclose(on_images.embed(rows), kept.embed(rows), atol=1e-3)
    assert on_images.result.best_value == pytest.approx(kept.result.best_value, abs=0.01)
    changed = [
        variable.path
        for variable, initial in zip(kept.network.variables, materials.extractor.build().variables, strict=True)
        if not np.array_equal(variable, initial)
    ]
    assert {path.split("/")[-2] for path in changed} == {"block4_conv"}, "no batch norm, and nothing below"


def test_the_feature_model_is_the_whole_network(folder: Path) -> None:
    training = trained(settings_of(folder, trainable=2), folder)
    rows = np.arange(12)
    images = np.stack([training.materials.dataset.picture(row, 16) for row in rows]).astype(np.float32)
    embeddings = np.asarray(training.feature_model()(images, training=False))
    np.testing.assert_allclose(embeddings, training.embed(rows), atol=1e-3)


def test_kept_views_at_the_cut(folder: Path) -> None:
    settings = settings_of(folder, trainable=2, image_augmentation=True, augmented_views=2)
    inputs = gathered(settings, folder).inputs
    assert inputs.views is not None
    plain, first, second = inputs.views
    assert plain.shape == first.shape == second.shape
    assert not np.array_equal(plain[:50], first[:50])
    assert not np.array_equal(first[:50], second[:50])
    assert trained(settings, folder).result.history


def test_images_augmented_anew_go_through_the_frozen_network_and_are_judged_by_its_features(folder: Path) -> None:
    settings = settings_of(folder, image_augmentation=True, epochs=1)
    training = trained(settings, folder)
    assert training.network is None
    head = training.head(training.materials.features.array[:20], training=False)
    np.testing.assert_allclose(training.embed(np.arange(20)), np.asarray(head), atol=1e-5)
