"""Engines behind the matcher: the card's own, what replaces it, and the precision it computes in."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.unit.matching.conftest import write_matcher

from imagematch import ImageMatcher
from imagematch.errors import ModelError
from imagematch.extractors.engines import choice
from imagematch.matching import golden_pictures
from imagematch.matching.card import sealed
from imagematch.matching.embedder import SavedNetwork

SIZE = 8
OPENVINO = {"extractor": "small_cnn", "image_size": SIZE, "engine": "openvino"}


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(scope="module")
def convolutional(tmp_path_factory, networks):
    pytest.importorskip("openvino")
    return write_matcher(tmp_path_factory.mktemp("convolutional") / "small", network_dir=networks, **OPENVINO)


def claims(folder: Path, **changes: str) -> Path:
    """The card says that the threshold was chosen another way."""
    path = folder / "matcher.json"
    card = json.loads(path.read_text())
    card["embedding"].update(changes)
    path.write_text(json.dumps(sealed(card)))
    return folder


def test_a_kept_network_is_run_without_opening_the_keras_model(convolutional, networks, monkeypatch):
    monkeypatch.setattr("imagematch.model.storage.load_feature_model", lambda _: pytest.fail("Keras opened it"))
    matcher = ImageMatcher.load(convolutional, network_dir=networks)
    assert matcher.embed(golden_pictures(SIZE)).shape == (3, 12)


def test_openvino_and_keras_agree(convolutional, networks, images):
    matcher = ImageMatcher.load(convolutional, network_dir=networks)
    expected = np.asarray(matcher.feature_model(images.astype(np.float32), training=False))
    np.testing.assert_allclose(matcher.embed(images), expected, atol=1e-3)


def test_networks_beside_the_folder_are_found_from_anywhere(tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.chdir(tmp_path)
    kept = tmp_path / "exp" / "features" / "networks"
    folder = write_matcher(tmp_path / "exp" / "saved_models" / "small", network_dir=kept, **OPENVINO)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr("imagematch.model.storage.load_feature_model", lambda _: pytest.fail("Keras opened it"))
    ImageMatcher.load(folder)
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_engine_that_is_not_there_is_replaced_and_that_is_told(tmp_path, monkeypatch, told, images, precision):
    folder = write_matcher(tmp_path / "small", **{**OPENVINO, "engine": "tensorflow"})
    expected = ImageMatcher.load(folder).embed(images)
    claims(folder, engine="openvino", precision=precision)
    find = choice.importlib.util.find_spec
    monkeypatch.setattr(choice.importlib.util, "find_spec", lambda name: None if name == "openvino" else find(name))
    log, lines = told
    matcher = ImageMatcher.load(folder, network_dir=None, log=log)
    assert f"chosen with openvino in {precision}" in lines()
    assert "tensorflow in float32 serves" in lines()
    np.testing.assert_allclose(matcher.embed(images), expected, atol=1e-5)


def test_the_golden_check_is_as_strict_as_the_precision_allows(tmp_path):
    folder = write_matcher(tmp_path / "small", **{**OPENVINO, "engine": "tensorflow"})
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
    folder = write_matcher(tmp_path / "small", **{**OPENVINO, "engine": "tensorflow"})
    network = ImageMatcher.load(folder).network
    exact, rounded = network.build(), network.build("bfloat16")
    policies = {layer.compute_dtype for layer in rounded._flatten_layers() if layer.weights}
    assert policies == {"bfloat16"}
    one, two = (np.asarray(model(images, training=False), np.float64) for model in (exact, rounded))
    assert one.shape == two.shape == (4, 256)
    cosine = (one * two).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
    assert cosine.min() > 0.99
    assert not np.array_equal(one, two)


def test_a_network_that_is_built_another_way_now_is_refused(tmp_path):
    network = ImageMatcher.load(write_matcher(tmp_path / "small")).network
    with pytest.raises(ModelError, match="no extractor"):
        SavedNetwork("forgotten", 8, 192, "x", network.build).build("bfloat16")
    with pytest.raises(ModelError, match="built another way"):
        SavedNetwork("small_cnn", SIZE, 256, "x", network.build).build("bfloat16")


def test_a_trained_extractor_runs_as_one_with_its_head(tmp_path, images):
    folder = write_matcher(tmp_path / "small", extractor="small_cnn", engine="tensorflow", whole_model=True)
    matcher = ImageMatcher.load(folder)
    sizes = [images[0], np.full((3, 20, 3), 9, np.uint8), images[1][:5]]
    together = matcher.embed(sizes)
    expected = [np.asarray(matcher.feature_model(matcher.card.embedding.to_picture(x)[None]))[0] for x in sizes]
    np.testing.assert_allclose(together, expected, atol=1e-5)
    features = np.asarray(matcher.network.build()(images.astype(np.float32), training=False))
    np.testing.assert_allclose(matcher.embed_features(features), matcher.embed(images), atol=1e-5)


def test_golden_pictures_are_the_same_everywhere():
    pictures = golden_pictures(6)
    assert [picture.shape for picture in pictures] == [(6, 6, 3), (3, 3, 3), (3, 6, 3)]
    assert pictures[0][0, :3].tolist() == [[249, 249, 249], [128, 128, 128], [6, 6, 6]]
    assert [picture.shape for picture in golden_pictures(1)] == [(1, 1, 3)] * 3
