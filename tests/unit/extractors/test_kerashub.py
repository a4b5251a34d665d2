"""KerasHub's presets: what is said where they cannot be had, and what their features are."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from imagematch.errors import ConfigError, ModelError
from imagematch.extractors import Extractor, make_extractor
from imagematch.registry import KERASHUB_PREFIX

needs_kerashub = pytest.mark.skipif(
    importlib.util.find_spec("keras_hub") is None, reason="the extra `kerashub` is not installed"
)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


def extractor(preset: Path | str, **changes: Any) -> Extractor:
    settings = {"weights": "imagenet", "image_size": None, "trainable": False, "seed": 0} | changes
    return make_extractor(SimpleNamespace(feature_extractor=f"{KERASHUB_PREFIX}{preset}", **settings))


def files_of_a_preset(folder: Path, **config: Any) -> Path:
    """A folder that looks like a preset of DINOv2, as far as it is read without keras-hub."""
    folder.mkdir()
    inside = {"hidden_dim": 24, "image_shape": [28, 28, 3], **config}
    backbone = {"class_name": "DINOV2Backbone", "registered_name": "keras_hub>DINOV2Backbone", "config": inside}
    (folder / "config.json").write_text(json.dumps(backbone))
    (folder / "image_converter.json").write_text(json.dumps({"config": {"image_size": [28, 28]}}))
    (folder / "model.weights.h5").write_bytes(b"weights")
    return folder


def test_size_dimension_and_digest_need_no_kerashub(tmp_path: Path) -> None:
    made = extractor(files_of_a_preset(tmp_path / "one"))
    assert (made.image_size, made.feature_dim) == (28, 24)
    shutil.copytree(tmp_path / "one", tmp_path / "moved")
    assert extractor(tmp_path / "moved").digest == made.digest
    (tmp_path / "moved" / "model.weights.h5").write_bytes(b"other weights")
    assert extractor(tmp_path / "moved").digest != made.digest
    assert extractor(files_of_a_preset(tmp_path / "deep", num_layers=3)).digest != made.digest
    assert extractor(tmp_path / "one", weights="random").digest != made.digest


def test_training_its_last_layers_is_refused(tmp_path: Path) -> None:
    folder = files_of_a_preset(tmp_path / "preset")
    for trainable in (2, {"blocks": 1}):
        with pytest.raises(ConfigError, match="give true or false"):
            extractor(folder, trainable=trainable)


@pytest.mark.parametrize("preset", ["dinov2_base", "{folder}"])
def test_without_the_extra_it_says_what_to_install(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "keras_hub" else real(name))
    folder = files_of_a_preset(tmp_path / "preset")
    with pytest.raises(ModelError, match=r"pip install 'imagematch\[kerashub\]'") as caught:
        extractor(preset.format(folder=folder)).build()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["config.json", "image_converter.json", "model.weights.h5"])
def test_an_incomplete_preset_is_told_in_one_line(missing: str, tmp_path: Path) -> None:
    folder = files_of_a_preset(tmp_path / "preset")
    (folder / missing).unlink()
    with pytest.raises(ModelError, match=f"it has no {missing}") as caught:
        extractor(folder)
    assert "\n" not in str(caught.value)


def test_what_is_no_preset_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        extractor(tmp_path / "nowhere")
    folder = files_of_a_preset(tmp_path / "transformers")
    (folder / "config.json").write_text('{"model_type": "dinov2"}')
    with pytest.raises(ModelError, match="not a KerasHub backbone"):
        extractor(folder)
    (folder / "config.json").write_text('{"model_ty')
    with pytest.raises(ModelError, match="cannot be read"):
        extractor(folder)


@needs_kerashub
def test_a_preset_that_cannot_be_fetched_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_arguments: Any) -> None:
        raise ConnectionError("Max retries exceeded\n(Caused by NameResolutionError)")

    monkeypatch.setattr("keras_hub.src.utils.preset_utils.get_file", offline)
    with pytest.raises(ModelError, match=r"cannot be fetched \(Max retries .*kerashub:./FOLDER") as caught:
        extractor("dinov2_base")
    assert "\n" not in str(caught.value)


@needs_kerashub
def test_features_are_those_of_the_preset_s_own_image_tower(presets: Path) -> None:
    import keras_hub

    models, layers = keras_hub.models, keras_hub.layers
    for name in ("dinov2", "siglip", "clip", "resnet"):
        backbone = models.Backbone.from_preset(str(presets / name))
        pixels = layers.ImageConverter.from_preset(str(presets / name))(IMAGES)
        if name in ("siglip", "clip"):
            expected = np.asarray(backbone.get_vision_embeddings(pixels))
        elif name == "dinov2":
            expected = np.asarray(backbone({"images": pixels}))[:, 0]
        else:
            expected = np.asarray(backbone(pixels)).mean(axis=(1, 2))
        made = extractor(presets / name)
        found = np.asarray(made.build()(IMAGES, training=False))
        assert made.feature_dim == found.shape[1]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=name)


@needs_kerashub
def test_another_image_size_where_the_network_bears_it(presets: Path) -> None:
    resized = extractor(presets / "dinov2", image_size=48).build()
    assert np.isfinite(np.asarray(resized(IMAGES, training=False))).all()
    with pytest.raises(ModelError, match="leave image_size out: it was made for 32 px") as caught:
        extractor(presets / "clip", image_size=48).build()
    assert "\n" not in str(caught.value)


@needs_kerashub
def test_its_batch_norms_stay_as_they_are_when_it_is_trained(presets: Path) -> None:
    import keras

    network = extractor(presets / "resnet", trainable=True).build()
    layers = network._flatten_layers()
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms
    assert not any(layer.trainable for layer in norms)
    assert all(layer.trainable for layer in layers if isinstance(layer, keras.layers.Conv2D))


@needs_kerashub
def test_a_preset_without_images_is_refused(tmp_path: Path) -> None:
    import keras_hub

    text = keras_hub.models.BertBackbone(
        vocabulary_size=9, num_layers=1, num_heads=1, hidden_dim=4, intermediate_dim=4, max_sequence_length=4
    )
    text.save_to_preset(str(tmp_path / "bert"))
    (tmp_path / "bert" / "image_converter.json").write_text('{"config": {"image_size": [28, 28]}}')
    with pytest.raises(ModelError, match="not images alone"):
        extractor(tmp_path / "bert")


@needs_kerashub
def test_a_saved_model_with_a_preset_opens_and_without_the_extra_says_so(
    presets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagematch.matching.format_1 import _open_archive
    from imagematch.model import build_feature_model, build_head

    made = extractor(presets / "siglip")
    model = build_feature_model(made.build(), build_head(made.feature_dim, embedding_dim=4))
    path = tmp_path / "model.keras"
    model.save(path)
    again = _open_archive(path, tmp_path)
    np.testing.assert_allclose(np.asarray(again(IMAGES)), np.asarray(model(IMAGES)), atol=1e-5)
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "keras_hub" else real(name))
    with pytest.raises(ModelError, match=r"pip install 'imagematch\[kerashub\]'") as caught:
        _open_archive(path, tmp_path)
    assert "\n" not in str(caught.value)
