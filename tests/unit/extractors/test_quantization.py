"""Networks in 8 bits: near float32, known by what they were quantised on, refused in one line where they cannot be."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.network_makers import DIM, SIDE, write_convolution, write_onnx, write_transformer

from imagematch.errors import ModelError
from imagematch.extractors import (
    CalibrationImages,
    Concatenation,
    Extractor,
    can_quantize,
    choose_engine,
    make_extractor,
    mean_cosine,
    open_engine,
    quantized,
    sample_images,
)

needs_nncf = pytest.mark.skipif(not can_quantize(), reason="NNCF is not installed: pip install 'imagematch[int8]'")
IMAGES = sample_images(20, SIDE)


def extractor(path: Path) -> Extractor:
    given = {
        "input": {"mean": 0.5, "std": 0.5},
        "weights": "imagenet",
        "image_size": None,
        "trainable": False,
        "seed": 0,
    }
    return make_extractor(SimpleNamespace(feature_extractor=f"onnx:{path}", **given))


def calibration(digest: str = "a", images: np.ndarray = IMAGES) -> CalibrationImages:
    return CalibrationImages(digest, len(images), lambda number, _size: images[number])


@needs_nncf
@pytest.mark.parametrize("write", [write_convolution, write_transformer])
def test_features_are_near_those_of_float32_and_converted_once(tmp_path: Path, write: object) -> None:
    made = write(tmp_path / "network.onnx")  # type: ignore[operator]
    exact = extractor(made[0] if isinstance(made, tuple) else made)
    small = quantized(exact, calibration())
    engine = open_engine(small, "auto", "auto", tmp_path / "networks")
    assert (engine.name, engine.precision) == ("openvino", "int8")
    found, expected = engine.run(IMAGES), open_engine(exact, "auto", "float32", tmp_path / "networks").run(IMAGES)
    assert not np.array_equal(found, expected)
    assert mean_cosine(found, expected) > 0.99
    again = quantized(exact, CalibrationImages("a", 1, lambda *_: pytest.fail("it was quantised again")))
    np.testing.assert_array_equal(open_engine(again, "auto", "auto", tmp_path / "networks").run(IMAGES), found)


@needs_nncf
def test_a_network_of_many_weights_is_quantised(tmp_path: Path) -> None:
    """Its quantised weights stay in memory: they are more numbers than the images of its size would allow."""
    from onnx import TensorProto, helper

    wide, random = 300_000, np.random.default_rng(2)
    constants = {
        "kernel": random.normal(0, 0.5, (DIM, 3, 1, 1)).astype(np.float32),
        "out": random.normal(0, 0.5, (DIM, wide)).astype(np.float32),
        "back": random.normal(0, 0.01, (wide, DIM)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["map"]),
        helper.make_node("GlobalAveragePool", ["map"], ["average"]),
        helper.make_node("Flatten", ["average"], ["row"]),
        helper.make_node("MatMul", ["row", "out"], ["many"]),
        helper.make_node("Relu", ["many"], ["positive"]),
        helper.make_node("MatMul", ["positive", "back"], ["features"]),
    ]
    images = {"image": (TensorProto.FLOAT, ["N", 3, SIDE, SIDE])}
    path = write_onnx(
        tmp_path / "network.onnx", nodes, images, {"features": (TensorProto.FLOAT, ["N", DIM])}, constants
    )
    engine = open_engine(
        quantized(extractor(path), calibration(images=IMAGES[:3])), "auto", "auto", tmp_path / "networks"
    )
    assert (engine.precision, engine.run(IMAGES).shape) == ("int8", (len(IMAGES), DIM))


def test_the_digest_is_of_the_network_and_of_what_it_is_quantised_on(tmp_path: Path) -> None:
    exact = extractor(write_convolution(tmp_path / "network.onnx")[0])
    digests = {exact.digest, quantized(exact, calibration()).digest, quantized(exact, calibration("b")).digest}
    assert len(digests) == 3
    assert quantized(exact, calibration()).digest in digests


def test_of_several_networks_each_is_quantised_and_pixels_stay(tmp_path: Path) -> None:
    exact = extractor(write_convolution(tmp_path / "network.onnx")[0])
    pixels = make_extractor(
        SimpleNamespace(feature_extractor="pixels", weights="random", image_size=SIDE, trainable=False, seed=0)
    )
    both = quantized(Concatenation((exact, pixels)), calibration())
    assert isinstance(both, Concatenation)
    assert both.members[1] is pixels
    assert both.members[0].digest == quantized(exact, calibration()).digest


def test_what_cannot_be_quantised_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = extractor(write_convolution(tmp_path / "network.onnx")[0])
    with pytest.raises(ModelError, match="8 bits need images"):
        choose_engine(exact, "auto", "int8")
    with pytest.raises(ModelError, match=r"only OpenVINO computes in 8 bits; choose another feature_precision$"):
        choose_engine(quantized(exact, calibration()), "tensorflow", "int8")
    monkeypatch.setattr("imagematch.extractors.quantization.can_quantize", lambda: False)
    with pytest.raises(ModelError, match=r"NNCF, which is not installed; pip install 'imagematch\[int8\]'"):
        choose_engine(quantized(exact, calibration()))


@needs_nncf
def test_a_quantiser_that_fails_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nncf

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no\nranges")

    monkeypatch.setattr(nncf, "quantize", fail)
    with pytest.raises(ModelError, match=r"^cannot be quantised: no ranges; choose another feature_precision$"):
        choose_engine(quantized(extractor(write_convolution(tmp_path / "network.onnx")[0]), calibration()))
