"""What may be inside a Keras archive of imagematch 0.1, which `imagematch upgrade` alone opens."""

import io
import json
import shutil
import zipfile
from pathlib import Path

import keras
import pytest

from imagematch.errors import ModelError
from imagematch.matching.format_1 import _open_archive, check_archive

SAVED = Path(__file__).parents[2] / "fixtures" / "format_1" / "pixels" / "feature_model.keras"


def rewritten(target: Path, *, config=None, extra=(), without=()) -> Path:
    """A copy of the archive with another configuration, further members, or some left out."""
    with zipfile.ZipFile(SAVED) as archive, zipfile.ZipFile(target, "w") as copy:
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


def test_a_sound_one_is_known_and_opens():
    assert check_archive(SAVED) is False, "nothing of KerasHub"
    assert _open_archive(SAVED, SAVED.parent).layers


def layer(module="keras.layers", class_name="Dense", registered_name=None, **config):
    return {"module": module, "class_name": class_name, "config": config, "registered_name": registered_name}


FOREIGN = [
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
    layer(class_name="GaussianNoise", stddev=0.1),
]


@pytest.mark.parametrize("decoy", [False, True], ids=["plain", "behind a decoy"])
@pytest.mark.parametrize("foreign", FOREIGN, ids=lambda node: f"{node['module']}.{node['class_name']}")
def test_foreign_layers_are_refused_before_keras_sees_them(tmp_path, foreign, decoy, monkeypatch):
    monkeypatch.setattr(keras.saving, "load_model", lambda *_, **__: pytest.fail("Keras opened it"))

    def hide(config):
        config["config"]["layers"][1]["config"]["hidden"] = [{"deep": foreign}]
        return {"decoy": {"class_name": None}, **config} if decoy else config

    path = rewritten(tmp_path / "foreign.keras", config=hide)
    with pytest.raises(ModelError, match="not allowed") as caught:
        _open_archive(path, tmp_path)
    assert "\n" not in str(caught.value)


def test_further_and_missing_members_are_refused(tmp_path):
    for target in (
        rewritten(tmp_path / "more.keras", extra=[("assets/../../evil.txt", b"x")]),
        rewritten(tmp_path / "fewer.keras", without=["metadata.json"]),
    ):
        with pytest.raises(ModelError, match="unexpected files"):
            check_archive(target)


def test_a_member_given_twice_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        path = rewritten(tmp_path / "twice.keras", extra=[("config.json", b"{}")])
    with pytest.raises(ModelError, match="unexpected files"):
        check_archive(path)


def test_a_huge_member_is_refused_without_being_unpacked(tmp_path):
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", b" " * (40 << 20))
        archive.writestr("model.weights.h5", b"")
    assert path.stat().st_size < 1 << 20
    with pytest.raises(ModelError, match="too large"):
        check_archive(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_damaged(tmp_path, share):
    data = SAVED.read_bytes()
    path = tmp_path / "torn.keras"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError, match="damaged") as caught:
        _open_archive(path, tmp_path)
    assert "torn.keras" in str(caught.value)


def test_a_flipped_bit_in_the_weights_is_damage(tmp_path):
    data = bytearray(SAVED.read_bytes())
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        start = archive.getinfo("model.weights.h5").header_offset + 3000
    data[start] ^= 1
    path = tmp_path / "flipped.keras"
    path.write_bytes(data)
    with pytest.raises(ModelError, match="damaged"):
        _open_archive(path, tmp_path)


@pytest.mark.parametrize("config", ['{"a": ', "[" * 100_000, "\xff"], ids=["cut", "deep", "latin"])
def test_a_configuration_that_is_no_json_is_damage(tmp_path, config):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", config.encode("latin-1"))
        archive.writestr("model.weights.h5", b"")
    with pytest.raises(ModelError, match="damaged"):
        check_archive(path)


def test_weights_that_do_not_fit_are_one_line(tmp_path):
    def wider(config):
        text = json.dumps(config)
        assert '"units": 16' in text
        return json.loads(text.replace('"units": 16', '"units": 9'))

    with pytest.raises(ModelError, match="cannot be opened") as caught:
        _open_archive(rewritten(tmp_path / "wider.keras", config=wider), tmp_path)
    assert "\n" not in str(caught.value)


def test_an_archive_outside_the_folder_is_not_opened(tmp_path):
    (tmp_path / "folder").mkdir()
    shutil.copy(SAVED, tmp_path / "elsewhere.keras")
    (tmp_path / "folder" / "feature_model.keras").symlink_to(tmp_path / "elsewhere.keras")
    with pytest.raises(OSError, match="leads out of its folder"):
        _open_archive(tmp_path / "folder" / "feature_model.keras", tmp_path / "folder")
