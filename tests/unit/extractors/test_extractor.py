from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from imagematch.errors import ConfigError, ModelError
from imagematch.extractors import Extractor, build_network, make_extractor
from imagematch.registry import EXTRACTOR_REGISTRY


def extractor(name: str = "mobilenet_025", **changes: Any) -> Extractor:
    settings = {"weights": "random", "image_size": 32, "trainable": False, "seed": 0} | changes
    return make_extractor(SimpleNamespace(feature_extractor=name, **settings))


def test_image_size_is_the_network_s_own_by_default() -> None:
    assert extractor("inception_v3", image_size=None).image_size == 299
    assert extractor("efficientnet", image_size=None).feature_dim == 1280
    assert extractor("pixels", image_size=None).feature_dim == 32 * 32 * 3


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean mobilenet_v2"):
        extractor("mobilnet_v2")


def test_an_image_too_small_for_the_network_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 75 px, not 64"):
        extractor("inception_v3", image_size=64)


def test_digest_follows_what_changes_the_features(tmp_path: Path) -> None:
    base = extractor()
    assert extractor(trainable=True).digest == base.digest
    assert extractor(image_size=64).digest != base.digest
    assert extractor(seed=1).digest != base.digest
    assert extractor("mobilenet").digest != base.digest
    file = tmp_path / "a.weights.h5"
    file.write_bytes(b"one")
    one = extractor(weights=str(file)).digest
    moved = tmp_path / "b.weights.h5"
    moved.write_bytes(b"one")
    assert extractor(weights=str(moved)).digest == one
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 1))
    assert extractor(weights=str(file)).digest != one
    assert extractor(weights="imagenet").digest not in (one, base.digest)


def test_same_seed_gives_the_same_network() -> None:
    weights, again, other = (extractor(seed=seed).build().get_weights() for seed in (3, 3, 4))
    for one, same in zip(weights, again, strict=True):
        np.testing.assert_array_equal(one, same)
    assert any((one != another).any() for one, another in zip(weights, other, strict=True))


def test_pixels_have_nothing_to_train() -> None:
    for trainable in (True, 3, {"blocks": 1}):
        assert extractor("pixels", trainable=trainable) == extractor("pixels")
    assert extractor("pixels", trainable=True).frozen


def test_small_cnn_has_no_published_weights() -> None:
    assert extractor("small_cnn", weights="imagenet").digest == extractor("small_cnn", weights="random").digest


@pytest.mark.parametrize(
    ("name", "text"), [("gone.weights.h5", "No such file"), ("weights.txt", "not a file of weights")]
)
def test_weights_that_are_no_file_are_refused(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(ModelError, match=text) as caught:
        extractor(weights=str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.weights.h5"
    build_network(EXTRACTOR_REGISTRY.all()["small_cnn"], 32, 0).save_weights(file)
    with pytest.raises(
        ModelError, match=r"do not fit mobilenet_025: it expects [\d,]+ numbers in \d+ arrays, the file has"
    ) as e:
        extractor(weights=str(file)).build()
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("name", ["broken.weights.h5", "broken.h5", "broken.keras"])
def test_a_damaged_file_of_weights_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not weights at all")
    with pytest.raises(ModelError, match="not a readable file of weights") as caught:
        extractor(weights=str(tmp_path / name)).build()
    assert "\n" not in str(caught.value)


def test_weights_that_point_to_another_file_are_refused(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "trap.weights.h5", "w") as file:
        file["layers"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(ModelError, match="refers to another file"):
        extractor(weights=str(tmp_path / "trap.weights.h5")).build()


@pytest.mark.parametrize("name", ["x.weights.h5", "x.keras"])
def test_weights_of_a_file_are_used(tmp_path: Path, name: str) -> None:
    network = build_network(EXTRACTOR_REGISTRY.all()["small_cnn"], 16, 5)
    (network.save_weights if name.endswith(".h5") else network.save)(tmp_path / name)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    from_file = extractor("small_cnn", weights=str(tmp_path / name), image_size=16).build()(pictures, training=False)
    seeded = extractor("small_cnn", seed=5, image_size=16).build()(pictures, training=False)
    np.testing.assert_array_equal(np.asarray(from_file), np.asarray(seeded))


def test_published_weights_offline_say_how_to_give_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    def offline(*_arguments: Any, **_named: Any) -> str:
        raise Exception("URL fetch failure on https://...:\nNone -- [Errno -3] Temporary failure in name resolution")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", offline)
    monkeypatch.setattr(keras.utils, "get_file", offline)
    for name in ("mobilenet_025", "bit_m_r50x1"):
        with pytest.raises(ModelError, match="weights: PATH") as caught:
            extractor(name, weights="imagenet").build()
        assert "URL fetch failure" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_published_weights_are_those_of_the_network_s_own_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = build_network(EXTRACTOR_REGISTRY.all()["mobilenet_025"], 128, 7)
    published.save_weights(tmp_path / "a.weights.h5")
    asked = []

    def fetched(name: str, *_arguments: Any, **_named: Any) -> str:
        asked.append(name)
        return str(tmp_path / "a.weights.h5")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", fetched)
    model = extractor(weights="imagenet", image_size=64).build()
    assert asked == ["mobilenet_2_5_128_tf_no_top.h5"]
    for one, other in zip(model.get_weights(), published.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_seed_disturbs_nobody_else_s_random_numbers() -> None:
    import random

    random.seed(1)
    expected = random.random()
    random.seed(1)
    extractor("small_cnn").build()
    assert random.random() == expected


def test_trainable_layers_and_frozen_batch_norm() -> None:
    import keras

    whole = extractor("small_cnn", trainable=True).build()
    assert len(whole.trainable_variables) == 4 * 3
    last = extractor("small_cnn", trainable=3).build()
    names = {variable.path.split("/")[0] for variable in last.trainable_variables}
    assert names == {"block3_norm", "block4_conv", "block4_norm"}
    pictures = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    network = last.get_layer("small_cnn")
    before = {layer.name: np.asarray(layer.moving_mean) for layer in _norms(network, keras)}
    last(pictures, training=True)
    changed = {
        layer.name for layer in _norms(network, keras) if not np.array_equal(before[layer.name], layer.moving_mean)
    }
    assert changed == {"block3_norm", "block4_norm"}


def _norms(network: Any, keras: Any) -> list[Any]:
    return [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]


def test_caffe_pixels_are_keras_s_own() -> None:
    import keras

    from imagematch.extractors.layers import CaffePixels

    images = np.random.default_rng(0).uniform(0, 255, (2, 5, 4, 3)).astype(np.float32)
    expected = keras.applications.resnet50.preprocess_input(images.copy())
    np.testing.assert_allclose(np.asarray(CaffePixels()(images)), expected, atol=1e-4)


def test_symmetric_pixels_are_keras_s_own() -> None:
    import keras

    model = extractor("mobilenet_v2").build()
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    network = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    expected = network(keras.applications.mobilenet_v2.preprocess_input(images.copy()), training=False)
    np.testing.assert_allclose(np.asarray(model(images, training=False)), np.asarray(expected), rtol=1e-3, atol=1e-5)


def test_efficientnet_b0_weights_get_the_scale_they_were_trained_with(tmp_path: Path) -> None:
    import keras

    stock = keras.applications.EfficientNetB0(include_top=False, weights=None, pooling="avg", input_shape=(32, 32, 3))
    norm = next(layer for layer in stock.layers if isinstance(layer, keras.layers.Normalization))
    deviation = np.array([0.229, 0.224, 0.225], np.float32)
    norm.adapt_mean.assign([0.485, 0.456, 0.406])
    norm.adapt_variance.assign(deviation)  # as published: the standard deviation stands where the variance should
    norm.finalize_state()
    stock.save_weights(tmp_path / "b0.weights.h5")
    model = extractor("efficientnet_b0", weights=str(tmp_path / "b0.weights.h5")).build()
    network = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    ours = next(layer for layer in network.layers if isinstance(layer, keras.layers.Normalization))
    images = np.random.default_rng(0).uniform(0, 1, (1, 4, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(ours(images)), (images - [0.485, 0.456, 0.406]) / deviation, atol=1e-6)
