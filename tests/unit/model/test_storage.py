"""Saved models: what may be inside, and that the old file stays until the new one is whole."""

import io
import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from imagematch.errors import ModelError
from imagematch.extractors import make_extractor
from imagematch.model import build_feature_model, build_head, load_feature_model, save_feature_model
from imagematch.model.archive import check_archive

IMAGES = np.random.default_rng(0).uniform(0, 255, (2, 6, 5, 3)).astype(np.float32)


def feature_model(extractor="pixels", image_size=4, **head):
    asked = SimpleNamespace(
        feature_extractor=extractor, weights="random", image_size=image_size, trainable=False, seed=0
    )
    made = make_extractor(asked)
    return build_feature_model(made.build(), build_head(made.feature_dim, embedding_dim=4, **head))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    save_feature_model(feature_model(units=(8,), dropout=0.2), path)
    return path


def rewritten(path: Path, target: Path, *, config=None, extra=(), without=()) -> Path:
    """A copy of an archive with another configuration, further members, or some left out."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w") as copy:
        for member in archive.namelist():
            if member in without:
                continue
            data = archive.read(member)
            if member == "config.json" and config is not None:
                data = json.dumps(config(json.loads(data))).encode()
            copy.writestr(member, data)
        for name, data in extra:
            copy.writestr(name, data)
    return target


@pytest.mark.parametrize(
    ("extractor", "image_size"),
    [("pixels", 4), ("small_cnn", 8), ("mobilenet_025", 32), ("efficientnet", 32), ("convnext_tiny", 32)],
)
def test_what_is_saved_comes_back(tmp_path, extractor, image_size):
    model = feature_model(extractor, image_size, units=(8,))
    save_feature_model(model, tmp_path / "model.keras")
    again = load_feature_model(tmp_path / "model.keras")
    np.testing.assert_allclose(np.asarray(again(IMAGES)), np.asarray(model(IMAGES)), atol=1e-5)


def layer(module="keras.layers", class_name="Dense", registered_name=None, **config):
    return {"module": module, "class_name": class_name, "config": config, "registered_name": registered_name}


@pytest.mark.parametrize(
    "foreign",
    [
        layer(class_name="Lambda", function={"class_name": "__lambda__", "config": {"code": "4wEA"}}),
        layer(class_name="TFSMLayer", filepath="/tmp/x"),
        layer(class_name="TorchModuleWrapper", module="keras.layers"),
        layer(module="os", class_name="system"),
        layer(module="os", class_name="system", registered_name="imagematch>FFBlock"),
        layer(module="os", class_name="FFBlock", registered_name="imagematch>FFBlock"),
        layer(module="keras.utils", class_name="get_file"),
        layer(module="keras.config", class_name="enable_unsafe_deserialization"),
        {"module": "builtins", "class_name": "function", "config": "get_file", "registered_name": "function"},
        layer(module=None, class_name="Dense"),
        layer(module="imagematch.model.head", class_name="FFBlock", registered_name="other>FFBlock"),
        layer(module=["keras.layers"], class_name="Dense"),
        layer(class_name=["Dense"]),
    ],
    ids=lambda node: f"{node['module']}.{node['class_name']}",
)
def test_foreign_layers_are_refused_before_keras_sees_them(saved, tmp_path, foreign, monkeypatch):
    monkeypatch.setattr(keras.saving, "load_model", lambda *_, **__: pytest.fail("Keras opened it"))

    def hide(config):
        config["config"]["layers"][1]["config"]["hidden"] = [{"deep": foreign}]
        return config

    path = rewritten(saved, tmp_path / "foreign.keras", config=hide)
    with pytest.raises(ModelError, match="not allowed") as caught:
        load_feature_model(path)
    assert "\n" not in str(caught.value)


def test_a_model_with_a_lambda_is_not_saved_and_the_old_one_stays(saved, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(saved.read_bytes())
    images = keras.Input((None, None, 3))
    with pytest.raises(ModelError, match="Lambda"):
        save_feature_model(keras.Model(images, keras.layers.Lambda(lambda x: x + 1)(images)), path)
    assert path.read_bytes() == saved.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


def test_further_and_missing_members_are_refused(saved, tmp_path):
    for target in (
        rewritten(saved, tmp_path / "more.keras", extra=[("assets/../../evil.txt", b"x")]),
        rewritten(saved, tmp_path / "fewer.keras", without=["metadata.json"]),
    ):
        with pytest.raises(ModelError, match="unexpected files"):
            load_feature_model(target)


def test_a_member_given_twice_is_refused(saved, tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        path = rewritten(saved, tmp_path / "twice.keras", extra=[("config.json", b"{}")])
    with pytest.raises(ModelError, match="unexpected files"):
        check_archive(path)


def test_a_huge_member_is_refused_without_being_unpacked(saved, tmp_path):
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", b" " * (40 << 20))
        archive.writestr("model.weights.h5", b"")
    assert path.stat().st_size < 1 << 20
    with pytest.raises(ModelError, match="too large"):
        check_archive(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_damaged(saved, tmp_path, share):
    data = saved.read_bytes()
    path = tmp_path / "torn.keras"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError, match="damaged") as caught:
        load_feature_model(path)
    assert "torn.keras" in str(caught.value)


def test_a_flipped_bit_in_the_weights_is_damage(saved, tmp_path):
    data = bytearray(saved.read_bytes())
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        start = archive.getinfo("model.weights.h5").header_offset + 3000
    data[start] ^= 1
    path = tmp_path / "flipped.keras"
    path.write_bytes(data)
    with pytest.raises(ModelError, match="damaged"):
        load_feature_model(path)


@pytest.mark.parametrize("config", ['{"a": ', "[" * 100_000, "\xff"], ids=["cut", "deep", "latin"])
def test_a_configuration_that_is_no_json_is_damage(tmp_path, config):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", config.encode("latin-1"))
        archive.writestr("model.weights.h5", b"")
    with pytest.raises(ModelError, match="damaged"):
        check_archive(path)


def test_weights_that_do_not_fit_are_one_line(saved, tmp_path):
    def wider(config):
        text = json.dumps(config).replace('"units": 8', '"units": 9')
        return json.loads(text)

    with pytest.raises(ModelError, match="cannot be opened") as caught:
        load_feature_model(rewritten(saved, tmp_path / "wider.keras", config=wider))
    assert "\n" not in str(caught.value)


def test_no_file_says_so(tmp_path):
    with pytest.raises(ModelError, match="no such model file"):
        load_feature_model(tmp_path / "nowhere.keras")


def test_an_interrupted_save_keeps_the_old_model(saved, tmp_path, monkeypatch):
    path = tmp_path / "model.keras"
    path.write_bytes(saved.read_bytes())
    model = feature_model()

    def torn(target, **_):
        Path(target).write_bytes(b"PK\x03\x04 half a mod")
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "save", torn)
    with pytest.raises(KeyboardInterrupt):
        save_feature_model(model, path)
    assert path.read_bytes() == saved.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


SAVING = """
import sys
from pathlib import Path
from imagematch.model import load_feature_model, save_feature_model
model = load_feature_model(Path(sys.argv[1]))
print("saving", flush=True)
while True:
    save_feature_model(model, Path(sys.argv[2]))
"""


def test_a_kill_during_saves_leaves_a_model_that_loads(saved, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(saved.read_bytes())
    process = subprocess.Popen(
        [sys.executable, "-c", SAVING, str(saved), str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"saving\n"
        for _ in range(40):  # what a reader finds meanwhile is whole, too
            check_archive(path)
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    check_archive(path)
    np.testing.assert_allclose(
        np.asarray(load_feature_model(path)(IMAGES)), np.asarray(load_feature_model(saved)(IMAGES)), atol=1e-6
    )
