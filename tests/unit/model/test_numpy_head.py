"""The head in numpy gives what Keras gives, and says when it does not know a head."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pytest

from imagematch.errors import ModelError
from imagematch.extractors import make_extractor
from imagematch.model import build_feature_model, build_head, read_head, save_feature_model, split_feature_model

RANDOM = np.random.default_rng(0)


def saved_model(path: Path, head_model: keras.Model | None = None, **head: object) -> keras.Model:
    asked = SimpleNamespace(feature_extractor="pixels", weights="random", image_size=4, trainable=False, seed=0)
    extractor = make_extractor(asked)
    model = build_feature_model(extractor.build(), head_model or build_head(48, embedding_dim=6, **head))
    save_feature_model(model, path)
    return model


def unsettle(head: keras.Model) -> None:
    """Weights as after a training: norms that are not the identity, some of them tiny."""
    weights = [w + RANDOM.normal(0, 0.3, w.shape).astype(np.float32) for w in head.get_weights()]
    for variable, weight in zip(head.weights, weights, strict=True):
        variable.assign(
            np.abs(weight) * RANDOM.choice([1e-6, 1, 50], weight.shape) if "variance" in variable.path else weight
        )


@pytest.mark.parametrize("units", [(), (8,), (8, 8), (32, 16, 8)])
def test_it_gives_what_keras_gives(tmp_path, units):
    head = build_head(48, units=units, dropout=0.4, embedding_dim=6)
    unsettle(head)
    saved_model(tmp_path / "model.keras", head)
    found = read_head(tmp_path / "model.keras")
    assert found is not None
    assert (found.feature_dim, found.dim) == (48, 6)
    features = RANDOM.normal(0, 3, (5000, 48)).astype(np.float32)  # more than one block
    expected = np.asarray(head(features, training=False))
    given = found(features)
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, expected, atol=2e-5)
    np.testing.assert_allclose(found(features[:7].astype(np.float16)), expected[:7], atol=5e-3)
    assert found(features[:0]).shape == (0, 6)


@pytest.mark.parametrize("units", [(), (8,), (16, 8)])
def test_whitening_is_folded_into_the_layer_behind_it(tmp_path, units):
    whitening = RANDOM.normal(0, 0.3, (48, 10)).astype(np.float32), RANDOM.normal(0, 1, 10).astype(np.float32)
    head = build_head(48, units=units, embedding_dim=6, whitening=whitening)
    unsettle(head)
    saved_model(tmp_path / "model.keras", head)
    found = read_head(tmp_path / "model.keras")
    assert found is not None
    assert (found.feature_dim, found.dim, len(found.kernels)) == (48, 6, len(units) + 1)
    features = RANDOM.normal(0, 3, (50, 48)).astype(np.float32)
    np.testing.assert_allclose(found(features), np.asarray(head(features, training=False)), atol=2e-5)


def test_features_of_zero_give_no_nan(tmp_path):
    saved_model(tmp_path / "model.keras", units=(8,))
    found = read_head(tmp_path / "model.keras")
    assert found is not None
    np.testing.assert_array_equal(found(np.zeros((2, 48), np.float32)), np.zeros((2, 6), np.float32))


def other_head(form: str) -> keras.Model:
    inputs = keras.Input((48,))
    outputs = keras.layers.Dense(
        6, activation="relu" if form == "activation" else None, use_bias=form != "no bias", name="projection"
    )(inputs)
    if form == "two branches":
        outputs = keras.layers.Add()([outputs, keras.layers.Dense(6)(inputs)])
    if form != "no normalisation":
        outputs = keras.layers.UnitNormalization()(outputs)
    return keras.Model(inputs, outputs, name="head")


@pytest.mark.parametrize("form", ["no normalisation", "activation", "no bias", "two branches"])
def test_a_head_of_another_form_is_left_to_keras(tmp_path, form):
    saved_model(tmp_path / "model.keras", other_head(form))
    assert read_head(tmp_path / "model.keras") is None


def with_weights(source: Path, target: Path, change) -> Path:
    """A copy of a model with changed weights."""
    with zipfile.ZipFile(source) as archive:
        data = {name: archive.read(name) for name in archive.namelist()}
    file = io.BytesIO(data["model.weights.h5"])
    with h5py.File(file, "r+") as weights:
        groups = [g for g in weights["layers"].values() if g["vars"].attrs["name"] == "head"]
        change(next(g for g in groups[0]["layers"].values() if g["vars"].attrs["name"] == "projection")["vars"])
    data["model.weights.h5"] = file.getvalue()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in data.items():
            archive.writestr(name, content)
    return target


def replace(group, data, **how):
    del group["0"]
    group.create_dataset("0", data=data, **how)


@pytest.mark.parametrize(
    "change",
    [
        lambda g: g.pop("1"),
        lambda g: replace(g, np.zeros((48, 7), np.float32)),
        lambda g: replace(g, np.zeros((48, 6), np.float64)),
        lambda g: replace(g, np.zeros((48, 6), np.float32), compression="gzip"),
        lambda g: g.create_dataset("2", data=np.zeros(3, np.float32)),
        lambda g: (g.pop("0"), g.__setitem__("0", h5py.ExternalLink("/etc/hostname", "/0"))),
        lambda g: (g.pop("0"), g.__setitem__("0", h5py.SoftLink("/layers"))),
        lambda g: (
            g.pop("0"),
            g.create_dataset("0", (48, 6), np.float32, external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)]),
        ),
    ],
    ids=["missing", "shape", "type", "packed", "more", "external link", "soft link", "external data"],
)
def test_weights_that_are_not_plain_arrays_of_the_right_shape_are_not_read(tmp_path, change):
    saved_model(tmp_path / "model.keras")
    assert read_head(tmp_path / "model.keras") is not None
    assert read_head(with_weights(tmp_path / "model.keras", tmp_path / "changed.keras", change)) is None


def test_a_damaged_file_is_an_error(tmp_path):
    (tmp_path / "model.keras").write_bytes(b"no archive")
    with pytest.raises(ModelError, match="damaged"):
        read_head(tmp_path / "model.keras")


def test_it_needs_no_tensorflow(tmp_path):
    model = saved_model(tmp_path / "model.keras", units=(8,))
    features = np.linspace(-1, 1, 96, dtype=np.float32).reshape(2, 48)
    program = (
        "import sys, json, numpy as np; from pathlib import Path; from imagematch.model import read_head;"
        f"head = read_head(Path({str(tmp_path / 'model.keras')!r}));"
        "print(json.dumps(head(np.linspace(-1, 1, 96, dtype=np.float32).reshape(2, 48)).tolist()));"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    _, head = split_feature_model(model)
    np.testing.assert_allclose(json.loads(done.stdout), np.asarray(head(features)), atol=1e-5)
