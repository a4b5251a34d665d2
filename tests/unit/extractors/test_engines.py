from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from imagematch.errors import ConfigError, ModelError
from imagematch.events import RunLog
from imagematch.extractors import Extractor, choose_engine, make_extractor, open_engine
from imagematch.extractors.engines import conversion
from imagematch.extractors.engines.engine import enlarge
from imagematch.extractors.engines.tensorflow import gpu_visible


def extractor(name: str = "small_cnn", **changes: Any) -> Extractor:
    settings = {"weights": "random", "image_size": 16, "trainable": False, "seed": 0} | changes
    return make_extractor(SimpleNamespace(feature_extractor=name, **settings))


def test_the_converter_tells_nobody_and_forks_nothing() -> None:
    """OpenVINO's telemetry forks; where there is no network the fork hangs, and holds what this process has locked."""
    open_engine(extractor(), "openvino", "float32")
    import openvino.tools.ovc.telemetry_utils as telemetry

    assert telemetry.tm.__name__.endswith("telemetry_stub")
    assert psutil.Process().children() == []


PICTURES = np.random.default_rng(0).integers(0, 256, (11, 12, 10, 3), np.uint8)


@pytest.mark.parametrize("shape", [(7, 5), (16, 16), (1, 1), (3, 16), (16, 2)])
def test_enlarging_is_keras_s_resizing(shape: tuple[int, int]) -> None:
    import keras

    pictures = np.random.default_rng(1).integers(0, 256, (3, *shape, 3), np.uint8)
    expected = keras.layers.Resizing(16, 16)(pictures.astype(np.float32))
    np.testing.assert_allclose(enlarge(pictures, 16), np.asarray(expected), atol=1e-3)


def test_pixels_are_the_image_itself() -> None:
    picture = np.arange(16 * 16 * 3, dtype=np.uint16).astype(np.uint8).reshape(16, 16, 3)
    engine = open_engine(extractor("pixels"))
    assert (engine.name, engine.precision) == ("numpy", "float32")
    np.testing.assert_allclose(engine.run([picture])[0], picture.reshape(-1) / 255, rtol=1e-6)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match="must be"):
        open_engine(extractor("pixels")).run([picture])


@pytest.mark.parametrize(("engine", "precision"), [("opnvino", "auto"), ("auto", "float64")])
def test_unknown_names_are_refused(engine: str, precision: str) -> None:
    with pytest.raises(ConfigError, match="is not one of"):
        choose_engine(extractor(), engine, precision)


def test_a_later_process_needs_no_tensorflow(tmp_path: Path) -> None:
    network = extractor(weights="random")
    engine = open_engine(network, cache_dir=tmp_path)
    assert engine.name == "openvino"
    expected = engine.run(PICTURES)
    np.save(tmp_path / "pictures.npy", PICTURES)
    program = f"""
import sys, numpy as np
from types import SimpleNamespace
from pathlib import Path
from imagematch.extractors import make_extractor, open_engine
settings = SimpleNamespace(feature_extractor="small_cnn", weights="random", image_size=16, trainable=False, seed=0)
engine = open_engine(make_extractor(settings), cache_dir=Path({str(tmp_path)!r}))
np.save({str(tmp_path / "features.npy")!r}, engine.run(np.load({str(tmp_path / "pictures.npy")!r})))
assert engine.name == "openvino"
assert not {{"tensorflow", "keras"}} & set(sys.modules), "TensorFlow was imported"
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "features.npy"), expected)


def test_a_damaged_converted_network_is_converted_again(tmp_path: Path) -> None:
    network = extractor()
    expected = open_engine(network, cache_dir=tmp_path).run(PICTURES)
    (file,) = tmp_path.glob("*/network-*.bin")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x40
    file.write_bytes(bytes(data))
    np.testing.assert_array_equal(open_engine(network, cache_dir=tmp_path).run(PICTURES), expected)
    (again,) = tmp_path.glob("*/network-*.bin")
    assert again.read_bytes() != bytes(data)


def test_a_network_that_cannot_be_converted_runs_in_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    def fail(*_arguments: Any, **_named: Any) -> None:
        raise RuntimeError("no rule for\nStrangeOp")

    monkeypatch.setattr(openvino, "convert_model", fail)
    said = io.StringIO()
    engine = open_engine(extractor(), log=RunLog(stream=said))
    assert engine.name == "tensorflow"
    assert "OpenVINO cannot run small_cnn (no rule for StrangeOp)" in said.getvalue()
    with pytest.raises(ModelError, match="use engine: auto"):
        open_engine(extractor(), "openvino")


def test_why_a_network_cannot_be_converted_is_kept_until_another_openvino_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openvino

    tried: list[int] = []

    def fail(*_arguments: Any, **_named: Any) -> None:
        tried.append(1)
        raise RuntimeError("no rule for StrangeOp")

    monkeypatch.setattr(openvino, "convert_model", fail)
    network = extractor()
    for _ in range(3):
        said = io.StringIO()
        choice = choose_engine(network, cache_dir=tmp_path, log=RunLog(stream=said))
        assert choice.name == "tensorflow"
        assert "OpenVINO cannot run small_cnn (no rule for StrangeOp)" in said.getvalue()
    assert len(tried) == 1
    monkeypatch.undo()
    assert choose_engine(network, cache_dir=tmp_path).name == "tensorflow"
    monkeypatch.setattr(openvino, "__version__", "next")
    assert choose_engine(network, cache_dir=tmp_path).name == "openvino"


def test_what_a_killed_conversion_left_goes_with_the_next(tmp_path: Path) -> None:
    network = extractor()
    name = conversion._cache_name(network)
    left = tmp_path / f".{name}.new"
    left.mkdir()
    (left / "network.bin").write_bytes(b"half")
    open_engine(network, cache_dir=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f".{name}.lock"])


@pytest.mark.parametrize("error", [ImportError("libtbb.so: no such file"), RuntimeError("no device CPU")])
def test_an_openvino_that_does_not_start_leaves_the_work_to_tensorflow(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    import openvino

    def fail() -> None:
        raise error

    monkeypatch.setattr(openvino, "Core", fail)
    said = io.StringIO()
    assert choose_engine(extractor(), log=RunLog(stream=said)).name == "tensorflow"
    assert f"OpenVINO cannot run small_cnn ({error}): TensorFlow does" in said.getvalue()


@pytest.mark.parametrize("name", ["compile_model", "start_async"])
def test_an_openvino_that_fails_at_work_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    import openvino

    def fail(*_arguments: Any, **_named: Any) -> None:
        raise RuntimeError("out of\nmemory")

    engine = open_engine(extractor(), "openvino", "float32")
    monkeypatch.setattr(openvino.Core if name == "compile_model" else openvino.AsyncInferQueue, name, fail)
    with pytest.raises(ModelError, match=r"^OpenVINO failed: out of memory; use engine: tensorflow$"):
        engine.run(PICTURES)


def test_float32_is_not_rounded_further_by_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    allowed = tf.config.experimental.tensor_float_32_execution_enabled
    assert allowed()
    engine = open_engine(extractor(), "tensorflow", "float32")
    real, seen = engine._function, []  # type: ignore[attr-defined]
    monkeypatch.setattr(engine, "_function", lambda pictures: seen.append(allowed()) or real(pictures))
    engine.run(PICTURES)
    assert seen == [False]
    assert allowed()


def test_a_network_that_openvino_computes_differently_runs_in_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    real = conversion._features
    monkeypatch.setattr(conversion, "_features", lambda *arguments: real(*arguments) * 1.01)
    assert open_engine(extractor()).name == "tensorflow"


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    engine = open_engine(extractor(), cache_dir=tmp_path / "file" / "networks")
    assert engine.run(PICTURES).shape == (11, 256)


def test_sample_images_are_always_the_same_and_varied() -> None:
    pictures = conversion.sample_images(4, 32)
    np.testing.assert_array_equal(pictures, conversion.sample_images(4, 32))
    assert pictures.dtype == np.uint8
    assert all(np.std(picture) > 10 for picture in pictures)


@pytest.mark.skipif(not gpu_visible(), reason="no GPU is visible to TensorFlow")
def test_a_gpu_runs_what_has_a_keras_model() -> None:
    engine = open_engine(extractor())
    assert engine.name == "tensorflow"
    on_processor = open_engine(extractor(), "openvino", "float32").run(PICTURES)
    np.testing.assert_allclose(engine.run(PICTURES), on_processor, rtol=1e-2, atol=1e-3)
