"""Engines behind the matcher: the card's own, what replaces it, and the precision it computes in."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.unit.matching.conftest import write_matcher

from imagematch import ImageMatcher
from imagematch.errors import ModelError
from imagematch.extractors.engines import choice
from imagematch.matching import golden_images
from imagematch.matching.card_file import sealed

SIZE = 8
OPENVINO = {"extractor": "small_cnn", "image_size": SIZE, "engine": "openvino"}
TENSORFLOW = {**OPENVINO, "engine": "tensorflow"}


@pytest.fixture(scope="module")
def convolutional(tmp_path_factory):
    pytest.importorskip("openvino")
    return write_matcher(tmp_path_factory.mktemp("convolutional") / "small", **OPENVINO)


def claims(folder: Path, **changes: object) -> Path:
    """The card says that the threshold was chosen another way."""
    path = folder / "matcher.json"
    card = json.loads(path.read_text())
    card["embedding"].update(changes)
    path.write_text(json.dumps(sealed(card)))
    return folder


def no_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    find = choice.importlib.util.find_spec
    monkeypatch.setattr(choice.importlib.util, "find_spec", lambda name: None if name == "openvino" else find(name))


def test_a_folder_is_complete_and_opening_it_writes_nothing(convolutional, tmp_path, monkeypatch, images):
    monkeypatch.chdir(tmp_path)
    names = {path.name for path in convolutional.iterdir()}
    digest = ImageMatcher.load(convolutional).card.embedding.extractors[0].network
    assert names == {
        *("matcher.json", "head.safetensors", "extractor.safetensors", "config.yaml", "feature_model.keras"),
        *(f"network-{digest}.xml", f"network-{digest}.bin"),
    }
    ImageMatcher.load(convolutional).embed(images)
    assert {path.name for path in convolutional.iterdir()} == names
    assert not list(tmp_path.iterdir())


def test_openvino_and_keras_agree(convolutional, images):
    matcher = ImageMatcher.load(convolutional)
    assert matcher.engine.name == "openvino"
    expected = np.asarray(matcher.feature_model(images.astype(np.float32), training=False))
    np.testing.assert_allclose(matcher.embed(images), expected, atol=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_engine_that_is_not_there_is_replaced_and_that_is_told(tmp_path, monkeypatch, told, images, precision):
    folder = write_matcher(tmp_path / "small", **TENSORFLOW)
    expected = ImageMatcher.load(folder).embed(images)
    claims(folder, engine="openvino", precision=precision)
    no_openvino(monkeypatch)
    log, lines = told
    matcher = ImageMatcher.load(folder, log=log)
    assert f"chosen with openvino in {precision}" in lines()
    assert "tensorflow in float32 serves" in lines()
    np.testing.assert_allclose(matcher.embed(images), expected, atol=1e-5)


def test_a_network_of_a_foreign_name_needs_openvino(convolutional, tmp_path, monkeypatch):
    folder = tmp_path / "foreign"
    folder.mkdir()
    for path in convolutional.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    card = json.loads((folder / "matcher.json").read_text())
    card["embedding"]["extractors"][0]["name"] = "my_network"
    (folder / "matcher.json").write_text(json.dumps(sealed(card)))
    assert ImageMatcher.load(folder).card.embedding.extractor == "my_network"
    with pytest.raises(ModelError, match="my_network is not a network that imagematch builds itself"):
        _ = ImageMatcher.load(folder).feature_model
    no_openvino(monkeypatch)
    with pytest.raises(ModelError, match="install OpenVINO"):
        ImageMatcher.load(folder)


def test_the_golden_check_is_as_strict_as_the_precision_allows(tmp_path):
    folder = write_matcher(tmp_path / "small", **TENSORFLOW)
    path = folder / "matcher.json"
    card = json.loads(path.read_text())
    rows = np.array(card["golden"])
    off = rows + np.linalg.norm(rows, axis=1, keepdims=True) * 0.05 * np.array([1, -1] * 6) / np.sqrt(12)
    off /= np.linalg.norm(off, axis=1, keepdims=True)
    cosine = (rows * off).sum(axis=1).min()
    assert 0.995 < cosine < 0.9999
    card["golden"] = off.tolist()
    path.write_text(json.dumps(sealed(card)))
    with pytest.raises(ModelError, match="no longer gives its own embeddings"):
        ImageMatcher.load(folder)
    claims(folder, precision="bfloat16")
    ImageMatcher.load(folder)


def test_a_saved_network_computes_in_the_precision_asked_for(tmp_path, images):
    network = ImageMatcher.load(write_matcher(tmp_path / "small", **TENSORFLOW)).network
    exact, rounded = network.build(), network.build("bfloat16")
    policies = {layer.compute_dtype for layer in rounded._flatten_layers() if layer.weights}
    assert policies == {"bfloat16"}
    one, two = (np.asarray(model(images, training=False), np.float64) for model in (exact, rounded))
    assert one.shape == two.shape == (4, 256)
    cosine = (one * two).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
    assert cosine.min() > 0.99
    assert not np.array_equal(one, two)


def test_a_trained_extractor_runs_as_a_frozen_one_does(tmp_path, images):
    pytest.importorskip("openvino")
    folder = write_matcher(tmp_path / "small", extractor="small_cnn", engine="tensorflow", trained=True)
    matcher = ImageMatcher.load(folder)
    assert (matcher.card.embedding.trained, matcher.engine.name, matcher.engine.precision) == (
        *(True, "openvino"),
        "float32",
    )
    sizes = [images[0], np.full((3, 20, 3), 9, np.uint8), images[1][:5]]
    together = matcher.embed(sizes)
    expected = [np.asarray(matcher.feature_model(matcher.card.embedding.decode(x)[None]))[0] for x in sizes]
    np.testing.assert_allclose(together, expected, atol=1e-3)
    features = np.asarray(matcher.network.build()(images.astype(np.float32), training=False))
    np.testing.assert_allclose(matcher.embed_features(features), matcher.embed(images), atol=1e-3)


def test_networks_side_by_side_come_back(tmp_path, images):
    pytest.importorskip("openvino")
    names = ("pixels", "mobilenet_025")
    folder = write_matcher(tmp_path / "two", extractor=names, image_size=32, engine="openvino")
    matcher = ImageMatcher.load(folder)
    assert [one.network is None for one in matcher.card.embedding.extractors] == [True, False]
    assert {path.name for path in folder.glob("extractor*")} == {"extractor_1.safetensors", "extractor_2.safetensors"}
    expected = np.asarray(matcher.feature_model(images.astype(np.float32), training=False))
    np.testing.assert_allclose(matcher.embed(images), expected, atol=1e-3)


def test_golden_images_are_the_same_everywhere():
    golden = golden_images(6)
    assert [image.shape for image in golden] == [(6, 6, 3), (3, 3, 3), (3, 6, 3)]
    assert golden[0][0, :3].tolist() == [[249, 249, 249], [128, 128, 128], [6, 6, 6]]
    assert [image.shape for image in golden_images(1)] == [(1, 1, 3)] * 3
