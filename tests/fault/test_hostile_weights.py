"""Weights, presets and checkpoints that somebody sent: nothing that points elsewhere, at itself, or at nothing."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from tests.fault.hostile import NO_FILES, put, refusal

from imagematch.errors import ModelError
from imagematch.extractors.kerashub_presets import preset_spec
from imagematch.extractors.weights import file_counts, weights_digest
from imagematch.registry import EXTRACTOR_REGISTRY
from imagematch.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint

MB = 1 << 20


def soft_link(file: Any) -> None:
    file["again"] = h5py.SoftLink("/")


def hard_links(file: Any) -> None:
    """Each group stands in the one above it twice: 2^60 ways to the last."""
    group = file
    for _ in range(60):
        below = group.create_group("a")
        group["b"] = below
        group = below


def circle(file: Any) -> None:
    file.create_group("a")["b"] = file["/"]


def external_link(file: Any) -> None:
    file["a"] = h5py.ExternalLink("/etc/passwd", "/")


def external_data(file: Any) -> None:
    file.create_dataset("a", (100,), "f4", external=[("/etc/passwd", 0, 400)])


def virtual_data(file: Any) -> None:
    layout = h5py.VirtualLayout((100,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "a", (100,))
    file.create_virtual_dataset("a", layout)


def unwritten(file: Any) -> None:
    file.create_dataset("a", (1 << 40,), "f4", chunks=(1 << 20,))


def unwritten_in_one(file: Any) -> None:
    file.create_dataset("a", (1 << 40,), "f4")


def compressed(file: Any) -> None:
    file.create_dataset("a", data=np.zeros(50 * MB, np.float32), compression="gzip")


def texts_of_any_length(file: Any) -> None:
    file.create_dataset("a", data=["x"] * 10, dtype=h5py.string_dtype())


def notes_of_any_length(file: Any) -> None:
    file.attrs["layer_names"] = np.array(["x" * 1000] * 10, h5py.string_dtype())


def references(file: Any) -> None:
    file.create_dataset("a", (10,), h5py.ref_dtype)


def named_type(file: Any) -> None:
    file["a"] = np.dtype("f4")


def many_items(file: Any) -> None:
    for number in range(20_001):
        file.create_group(str(number))


TRAPS = [
    *(soft_link, hard_links, circle, external_link, external_data, virtual_data, unwritten, unwritten_in_one),
    *(compressed, texts_of_any_length, notes_of_any_length, references, named_type, many_items),
]


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.__name__)
@pytest.mark.parametrize("name", ["x.h5", "x.keras"])
def test_traps_in_hdf5(tmp_path: Path, trap: Callable[[Any], None], name: str) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        trap(file)
    if name == "x.keras":
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.write(tmp_path / "x.h5", "model.weights.h5")
    with pytest.raises((OSError, ValueError)):
        file_counts(tmp_path / name)


def test_sound_weights_are_counted(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("layers/a/vars/0", data=np.zeros((3, 4), np.float32))
        file.create_dataset("layers/a/vars/1", data=np.zeros(100_000, np.float32))
        file.create_dataset("layers/a/vars/2", data=np.float32(1))
        file.create_dataset("seed", data=np.zeros(2, np.uint32))
        file.attrs["keras_version"] = "3.0"
        file.attrs["layer_names"] = np.array([b"a", b"b"])
    assert file_counts(tmp_path / "x.h5") == (2, 100_012)


USE = (
    "from imagematch.errors import ModelError\n"
    "import h5py\n"
    "from imagematch.extractors.weights import file_counts\n"
    "def use(path):\n"
    "    try: file_counts(path)\n"
    "    except (OSError, ValueError) as error: raise ModelError(str(error))\n"
)


def test_a_compressed_member_costs_little(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(400 * MB))
    assert "compressed" in refusal(USE, tmp_path / "x.keras")


def test_a_directory_of_many_members_costs_little(tmp_path: Path) -> None:
    """Each costs its reader ten times the room that it takes."""
    with zipfile.ZipFile(tmp_path / "x.keras", "w") as archive:
        archive.writestr("model.weights.h5", b"x")
        info = archive.filelist[0]
        archive.filelist += [info] * 600_000
    assert "files" in refusal(USE, tmp_path / "x.keras")


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("name", ["w.weights.h5", "w.h5", "w.keras", "w.npz"])
def test_weights_that_are_no_file(tmp_path: Path, name: str, kind: str) -> None:
    path = put(kind, tmp_path / name)
    spec = EXTRACTOR_REGISTRY.all()["bit_m_r50x1" if name == "w.npz" else "mobilenet_025"]
    with pytest.raises(ModelError) as caught:
        weights_digest(spec, str(path), 0)
    assert "\n" not in str(caught.value)


def preset(folder: Path) -> Path:
    folder.mkdir()
    config = {"class_name": "ViTBackbone", "registered_name": "keras_hub>ViTBackbone", "config": {"hidden_dim": 8}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "image_converter.json").write_text(json.dumps({"config": {"image_size": [32, 32]}}))
    (folder / "model.weights.h5").write_bytes(b"x")
    return folder


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("name", ["config.json", "image_converter.json"])
def test_a_preset_whose_files_are_none(tmp_path: Path, name: str, kind: str) -> None:
    folder = preset(tmp_path / "preset")
    assert preset_spec(f"kerashub:{folder}").feature_dim == 8
    put(kind, folder / name)
    with pytest.raises(ModelError) as caught:
        preset_spec(f"kerashub:{folder}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[", "[" * 5000 + "]" * 5000, '{"class_name": 1e999}', "3", "9" * 5000])
def test_a_preset_of_another_kind(tmp_path: Path, text: str) -> None:
    folder = preset(tmp_path / "preset")
    (folder / "config.json").write_text(text)
    with pytest.raises(ModelError) as caught:
        preset_spec(f"kerashub:{folder}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pixels", [{"config": {"image_size": [10**9, 1]}}, {"config": {"image_size": -3}}])
def test_a_preset_of_endless_images(tmp_path: Path, pixels: dict[str, Any]) -> None:
    folder = preset(tmp_path / "preset")
    (folder / "image_converter.json").write_text(json.dumps(pixels))
    with pytest.raises(ModelError, match="pixels a side"):
        preset_spec(f"kerashub:{folder}")


@pytest.mark.parametrize(
    "pixels", [{"config": []}, {"config": {"image_size": "x"}}, {"config": {"image_size": [None]}}, 3]
)
def test_a_preset_whose_image_size_is_none(tmp_path: Path, pixels: Any) -> None:
    folder = preset(tmp_path / "preset")
    (folder / "image_converter.json").write_text(json.dumps(pixels))
    assert preset_spec(f"kerashub:{folder}").image_size == 224


ABOUT = [b"{}", b"[]", b"3", b"\xff", b'{"identity": "i"}', b'{"identity": "i", "history": [3]}', b"[" * 5000]


@pytest.mark.parametrize("about", ABOUT)
def test_a_checkpoint_of_another_kind(tmp_path: Path, about: bytes) -> None:
    np.savez(tmp_path / "c.npz", about=np.frombuffer(about, np.uint8))
    with pytest.raises(ModelError, match="the checkpoint is damaged"):
        read_checkpoint(tmp_path / "c.npz", "i")


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    arrays = [np.zeros((2, 3), np.float32), np.array(3, np.int64)]
    write_checkpoint(tmp_path / "c.npz", Checkpoint("i", arrays, arrays[:1], [{"epoch": 1}]))
    found = read_checkpoint(tmp_path / "c.npz", "i")
    assert found is not None
    assert [array.dtype for array in found.variables] == [np.float32, np.int64]
    assert found.history == [{"epoch": 1}]


def test_a_compressed_checkpoint_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "c.npz", about=np.zeros(300 * MB, np.uint8))
    setup = "import numpy\nfrom imagematch.training.checkpoint import read_checkpoint\n"
    assert "damaged" in refusal(setup + "use = lambda path: read_checkpoint(path, 'i')", tmp_path / "c.npz")
