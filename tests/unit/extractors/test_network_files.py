"""Networks that came as files: the same features as a naive loop or ONNX Runtime, and one line for all else."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.network_makers import DIM, SIDE, TOKENS, write_convolution, write_onnx, write_transformer
from tests.unit.matching.conftest import write_matcher

from imagematch import ImageMatcher
from imagematch.errors import ConfigError, ImagematchError, ModelError
from imagematch.events import RunLog
from imagematch.extractors import Extractor, choose_extractor, make_extractor, open_engine
from imagematch.extractors.network_files import open_network_file

pytest.importorskip("onnx")
pytest.importorskip("openvino")

IMAGES = np.random.default_rng(3).integers(0, 256, (11, SIDE, SIDE, 3), np.uint8)
HALF = {"mean": 0.5, "std": 0.5}
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "imagematch" / "network-files"


def extractor(path: Path, given: dict[str, Any] | None = None, **changes: Any) -> Extractor:
    settings = {"weights": "imagenet", "image_size": None, "trainable": False, "seed": 0, "input": given} | changes
    return make_extractor(SimpleNamespace(feature_extractor=f"onnx:{path}", **settings))


def features(path: Path, given: dict[str, Any] | None, images: np.ndarray = IMAGES) -> np.ndarray:
    return open_engine(extractor(path, given), "auto", "float32").run(images)


def naive(kernel: np.ndarray, images: np.ndarray, given: dict[str, Any]) -> np.ndarray:
    """(n, DIM): each pixel prepared, multiplied, made positive; then the mean over all pixels."""
    rows = []
    for image in images:
        total = np.zeros(DIM)
        for pixel in image.reshape(-1, 3).astype(np.float64):
            colours = pixel[::-1] if given.get("channels") == "bgr" else pixel
            prepared = (colours * given.get("scale", 1 / 255) - given["mean"]) / given["std"]
            total += np.maximum(kernel @ prepared, 0)
        rows.append(total / (SIDE * SIDE))
    return np.array(rows)


@pytest.mark.parametrize(
    "given",
    [
        HALF,
        IMAGENET,
        {**IMAGENET, "channels": "bgr"},
        {"mean": [1.0, 2.0, 3.0], "std": 60.0, "scale": 1.0},
        {**HALF, "size": SIDE, "layout": "nchw", "output": "features", "pooling": "none"},
    ],
)
def test_features_are_those_of_a_naive_loop(tmp_path: Path, given: dict[str, Any]) -> None:
    path, kernel = write_convolution(tmp_path / "net.onnx")
    np.testing.assert_allclose(features(path, given), naive(kernel, IMAGES, given), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("changes", [{"batch": 1}, {"half": True}, {"sides": ("H", "W")}, {"pooled": False}])
def test_fixed_batches_half_precision_free_sizes_and_maps(tmp_path: Path, changes: dict[str, Any]) -> None:
    path, kernel = write_convolution(tmp_path / "net.onnx", **changes)
    found = features(path, {**HALF, "size": SIDE})
    tolerance = 2e-3 if "half" in changes else 1e-4
    np.testing.assert_allclose(found, naive(kernel, IMAGES, HALF), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("given", "dim", "pick"),
    [
        ({}, DIM, lambda tokens: tokens[:, 0]),
        ({"output": "last_hidden_state"}, DIM, lambda tokens: tokens[:, 0]),
        ({"output": "last_hidden_state", "pooling": "mean"}, DIM, lambda tokens: tokens.mean(axis=1)),
        (
            {"output": "last_hidden_state", "pooling": "gem"},
            DIM,
            lambda tokens: (np.maximum(tokens, 1e-6) ** 3).mean(axis=1) ** (1 / 3),
        ),
    ],
)
def test_a_transformer_s_tokens_are_those_of_onnx_runtime(tmp_path: Path, given: Any, dim: int, pick: Any) -> None:
    runtime = pytest.importorskip("onnxruntime")
    path = write_transformer(tmp_path / "vit.onnx")
    prepared = ((IMAGES / 255 - 0.5) / 0.5).transpose(0, 3, 1, 2).astype(np.float32)
    (tokens,) = runtime.InferenceSession(str(path)).run(["last_hidden_state"], {"pixel_values": prepared})
    assert tokens.shape == (len(IMAGES), TOKENS, DIM)
    found = features(path, {**HALF, **given})
    assert found.shape == (len(IMAGES), dim)
    np.testing.assert_allclose(found, pick(tokens), rtol=1e-3, atol=1e-4)


def test_a_map_is_pooled_by_the_generalised_mean(tmp_path: Path) -> None:
    path, kernel = write_convolution(tmp_path / "net.onnx", pooled=False)
    prepared = (IMAGES / 255 - 0.5) / 0.5
    positive = np.maximum(prepared @ kernel.T, 1e-6)
    expected = (positive**3).mean(axis=(1, 2)) ** (1 / 3)
    np.testing.assert_allclose(features(path, {**HALF, "pooling": "gem"}), expected, rtol=1e-3, atol=1e-4)
    pooled, _ = write_convolution(tmp_path / "pooled.onnx")
    refused(
        pooled, "its output of rank 2 cannot be pooled by gem; leave input: {pooling} out", {**HALF, "pooling": "gem"}
    )


def test_larger_and_smaller_images_are_squashed_to_its_square(tmp_path: Path) -> None:
    path, _ = write_convolution(tmp_path / "net.onnx")
    engine = open_engine(extractor(path, HALF), "auto", "float32")
    assert engine.name == "openvino"
    flat = np.full((3, 5, 3), 90, np.uint8)
    np.testing.assert_allclose(engine.run([flat]), engine.run([np.full((SIDE, SIDE, 3), 90, np.uint8)]), rtol=1e-5)


SIDECARS = {
    "preprocessor_config.json": {
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "size": {"height": SIDE, "width": SIDE},
    },
    "config.json": {
        "pretrained_cfg": {"mean": IMAGENET["mean"], "std": IMAGENET["std"], "input_size": [3, SIDE, SIDE]}
    },
}


@pytest.mark.parametrize("name", SIDECARS)
def test_the_preprocessing_beside_the_file_is_its_own(tmp_path: Path, name: str) -> None:
    path, kernel = write_convolution(tmp_path / "net.onnx", sides=("H", "W"))
    (tmp_path / name).write_text(json.dumps(SIDECARS[name]))
    np.testing.assert_allclose(features(path, None), naive(kernel, IMAGES, IMAGENET), rtol=1e-4, atol=1e-5)
    file = open_network_file(f"onnx:{path}")
    assert (file.source, file.facts["image_size"]) == (name, SIDE)


def refused(path: Path, says: str, given: dict[str, Any] | None = HALF, **changes: Any) -> None:  # type: ignore[assignment]
    with pytest.raises(ImagematchError, match=says) as caught:
        extractor(path, given, **changes)
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).isprintable()
    assert isinstance(caught.value, ConfigError | ModelError)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("{", "it is no JSON"),
        ("[]", "it is no JSON, or says it in another way"),
        ('{"image_mean": [NaN, 0, 0], "image_std": [1, 1, 1]}', "mean must be a number, or three"),
        ('{"image_mean": 0, "image_std": 1e999}', "std must be a number over 0"),
        ('{"image_mean": 0, "image_std": [0, 0, 0]}', "std must be a number over 0"),
        ('{"image_mean": [0, 0, 0, 0, 0, 0, 0], "image_std": 1}', "mean must be a number, or three"),
        ('{"image_mean": 0, "image_std": 1, "rescale_factor": -1}', "scale must be a number over 0"),
        ('{"image_mean": 0, "image_std": 1, "size": 1000000000}', "size must be a whole number from 8 to 2048"),
        ('{"image_mean": 0, "image_std": 1, "size": 1e999}', "it is no JSON, or says it in another way"),
    ],
)
def test_preprocessing_that_cannot_be_is_one_line(tmp_path: Path, said: str, answer: str) -> None:
    path, _ = write_convolution(tmp_path / "net.onnx")
    (tmp_path / "preprocessor_config.json").write_text(said)
    refused(path, f"preprocessor_config.json: .*{answer}", None)


def test_what_is_unclear_is_one_line(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    path, _ = write_convolution(tmp_path / "net.onnx")
    refused(path, "the preprocessing of net.onnx is not known; give input", None)
    refused(path, "takes images of 16 px, not 32 as input says; leave the size out", {**HALF, "size": 32})
    refused(path, "image_size: 32 contradicts 16 px of input", {**HALF, "size": 16}, image_size=32)
    refused(path, "is not nhwc", {**HALF, "layout": "nhwc"})
    refused(path, "has the outputs features", {**HALF, "output": "other"})
    refused(path, "cannot be pooled by cls", {**HALF, "pooling": "cls"})
    refused(path, "cannot be trained", HALF, trainable=True)
    refused(path, "has its weights inside", HALF, weights="random")
    refused(tmp_path / "none.onnx", "No such file")
    refused(tmp_path / "net.txt", r"give one that ends in \.onnx, \.xml, \.tflite")
    refused(write_convolution(tmp_path / "free.onnx", sides=("H", "W"))[0], "takes images of any size; give input")
    refused(write_convolution(tmp_path / "flat.onnx", sides=(8, 16))[0], "only squares")
    refused(write_convolution(tmp_path / "c.onnx", channels="C")[0], "which axis has the three colours is unclear")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(SIDECARS["preprocessor_config.json"]))
    refused(path, "input says mean: 0.5, and preprocessor_config.json says", {"mean": 0.5})
    (tmp_path / "preprocessor_config.json").write_text("[" * 100_000)
    refused(path, "cannot be read as preprocessing", None)
    (tmp_path / "preprocessor_config.json").unlink()

    same = helper.make_node("Add", ["a", "b"], ["sum"])
    images = (TensorProto.FLOAT, ["N", 3, SIDE, SIDE])
    refused(write_onnx(tmp_path / "two.onnx", [same], {"a": images, "b": images}, {"sum": images}, {}), "has 2 inputs")
    text = {"ids": (TensorProto.INT64, ["N", 77])}
    identity = helper.make_node("Identity", ["ids"], ["out"])
    out = {"out": (TensorProto.INT64, ["N", 77])}
    refused(write_onnx(tmp_path / "text.onnx", [identity], text, out, {}), "takes ids .* not images")
    foreign = helper.make_node("Magic", ["image"], ["out"], domain="some.where")
    write_onnx(tmp_path / "magic.onnx", [foreign], {"image": images}, {"out": images}, {})
    refused(tmp_path / "magic.onnx", "Magic")
    refused(
        write_transformer(tmp_path / "flat_vit.onnx", heads=False), "attention without heads, which crashes OpenVINO"
    )


@pytest.mark.parametrize("content", [b"", b"\x08\x08" * 1000, b"\xff" * 10_000, b"<?xml version='1.0'?><net/>"])
def test_what_is_no_network_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    refused(path, "cannot be read|crashes|has 0 inputs|takes")


def test_a_missing_file_of_external_data_is_one_line(tmp_path: Path) -> None:
    import onnx

    path, _ = write_convolution(tmp_path / "net.onnx")
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert features(path, HALF).shape == (len(IMAGES), DIM)
    before = extractor(path, HALF).digest
    weights = bytearray((tmp_path / "weights.bin").read_bytes())
    weights[:4] = np.float32(3).tobytes()
    (tmp_path / "weights.bin").write_bytes(weights)
    assert extractor(path, HALF).digest != before, "its weights are part of it"
    (tmp_path / "weights.bin").unlink()
    refused(path, "has its weights in weights.bin, which cannot be read: No such file or directory; put it beside")
    with (tmp_path / "weights.bin").open("wb") as file:
        file.truncate(5 << 30)
    refused(
        path, "has its weights in weights.bin, which cannot be read: has 5,368,709,120 bytes, and 4,294,967,296 are"
    )
    path.write_bytes(path.read_bytes().replace(b"weights.bin", b"/etc/passwd"))
    refused(path, "has its weights in /etc/passwd, which cannot be read: leads out of its folder")


def test_a_file_of_5_gigabytes_is_one_line(tmp_path: Path) -> None:
    with (tmp_path / "net.onnx").open("wb") as file:
        file.truncate(5 << 30)
    refused(tmp_path / "net.onnx", "cannot be read: has 5,368,709,120 bytes, and 4,294,967,296 are the most")
    with (tmp_path / "net.bin").open("wb") as file:
        file.truncate(5 << 30)
    (tmp_path / "net.xml").write_text("<?xml version='1.0'?><net/>")
    refused(tmp_path / "net.xml", "has its weights in net.bin, which cannot be read: has 5,368,709,120 bytes")


def test_names_of_external_data_are_found_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from imagematch.extractors import network_files

    monkeypatch.setattr(network_files, "MB", 10)  # blocks of 160 bytes
    content = b"".join(b"\n\x08location\x12\x05%05d" % number + b"x" * (7 * number % 90) for number in range(60))
    (tmp_path / "net.onnx").write_bytes(content)
    assert network_files._external_data(tmp_path / "net.onnx") == [f"{number:05d}" for number in range(60)]


def test_a_preprocessor_that_contradicts_the_network_is_one_line(tmp_path: Path) -> None:
    path, _ = write_convolution(tmp_path / "net.onnx")
    values = {**SIDECARS["preprocessor_config.json"], "size": {"height": 32, "width": 32}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    says = (
        "takes images of 16 px, not 32 as preprocessor_config.json says; correct preprocessor_config.json, or remove it"
    )
    refused(path, says, None)
    refused(path, "input says size: 16, and preprocessor_config.json says 32", {"size": 16})
    assert extractor(path, HALF).image_size == SIDE, "who gives mean and std needs no file"


def test_a_rank_that_is_not_fixed_is_one_line(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    node = helper.make_node("Relu", ["image"], ["out"])
    unknown = {"image": (TensorProto.FLOAT, None)}
    path = write_onnx(tmp_path / "net.onnx", [node], unknown, {"out": (TensorProto.FLOAT, None)}, {})
    refused(path, r"takes image \[\.\.\.\] f32, not images; export a network of images with fixed rank")


def test_a_network_that_changes_while_something_runs_is_refused(tmp_path: Path) -> None:
    path, _ = write_convolution(tmp_path / "net.onnx")
    made = extractor(path, HALF)
    write_transformer(path)
    with pytest.raises(
        ModelError, match=r"net\.onnx: has changed since it was opened; leave it as it is while something"
    ):
        open_engine(made, "auto", "float32")


def test_wrong_preprocessing_is_remarked(tmp_path: Path) -> None:
    path, _ = write_convolution(tmp_path / "net.onnx")
    assert open_network_file(f"onnx:{path}", HALF).remarks == []
    wrong = extractor(path, {"mean": 1e6, "std": 1.0})
    lines: list[str] = []
    log = RunLog()
    log.event = lambda _kind, text=None, **_: lines.append(str(text))  # type: ignore[method-assign]
    open_engine(wrong, "auto", "float32", None, log)
    assert any("its features are nearly the same for all images" in line for line in lines)


def test_it_is_known_by_its_content_and_its_preprocessing(tmp_path: Path) -> None:
    path, _ = write_convolution(tmp_path / "net.onnx")
    one = extractor(path, HALF)
    (tmp_path / "copy").mkdir()
    moved = tmp_path / "copy" / "other.onnx"
    shutil.copy(path, moved)
    assert extractor(moved, HALF).digest == one.digest == extractor(path, {"mean": [0.5] * 3, "std": 0.5}).digest
    others = {
        extractor(path, given).digest for given in (IMAGENET, {**HALF, "channels": "bgr"}, {**HALF, "scale": 1.0})
    }
    assert len(others | {one.digest}) == 4
    write_transformer(path)
    assert extractor(path, HALF).digest != one.digest, "a network that changes is another one"


def test_what_it_is_is_found_out_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = write_convolution(tmp_path / "net.onnx")
    first = extractor(path, HALF)
    (remembered,) = cache.iterdir()
    monkeypatch.setattr("imagematch.extractors.network_files.run_limited", lambda *_, **__: pytest.fail("read again"))
    assert extractor(path, HALF) is not first
    assert extractor(path, HALF).digest == first.digest
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent.parent))
    remembered.write_text('{"image_size": "16"}')
    assert extractor(path, HALF).digest == first.digest


def test_a_matcher_holds_its_network_alone_and_runs_it(tmp_path: Path) -> None:
    path, _ = write_convolution(tmp_path / "net.onnx")
    name = f"onnx:{path}"
    folder = write_matcher(
        tmp_path / "m",
        extractor=name,
        image_size=SIDE,
        engine="openvino",
        network_input=HALF,
        network_dir=tmp_path / "n",
    )
    os.remove(path)  # noqa: PTH107
    matcher = ImageMatcher.load(folder)
    assert matcher.card.embedding.extractor == "onnx:net.onnx"
    assert not {"extractor.safetensors", "feature_model.keras"} & {one.name for one in folder.iterdir()}
    assert matcher.embed(IMAGES).shape == (len(IMAGES), 12)
    with pytest.raises(ModelError, match="no Keras model"):
        _ = matcher.feature_model


def test_it_stands_beside_others(tmp_path: Path) -> None:
    path, _ = write_convolution(tmp_path / "net.onnx")
    name = f"onnx:{path}"
    folder = write_matcher(
        tmp_path / "m", extractor=(name, "pixels"), image_size=SIDE, engine="openvino", network_input=HALF
    )
    files = {one.name for one in folder.iterdir()}
    assert "extractor_2.safetensors" in files
    assert "extractor_1.safetensors" not in files
    assert ImageMatcher.load(folder).embed(IMAGES).shape == (len(IMAGES), 12)
    settings = {"weights": ["imagenet", "random"], "image_size": SIDE, "trainable": False, "seed": 0, "input": HALF}
    both = choose_extractor(SimpleNamespace(feature_extractor=[name, "pixels"], **settings))
    assert both.feature_dim == DIM + 3 * SIDE**2
