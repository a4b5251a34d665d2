from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagematch.errors import ConfigError, ModelError
from imagematch.extractors import make_extractor, open_engine
from imagematch.matching import ImageMatcher
from imagematch.retrieval import embed_images, list_images


class Pixels:
    """A matcher on the features of a trained extractor, which here are the pixels."""

    cached_features, embed_cached = ImageMatcher.cached_features, ImageMatcher.embed_cached

    def __init__(self, embed: Callable[[np.ndarray], np.ndarray]) -> None:
        embedding = SimpleNamespace(trained=True, image_size=2, dim=4, cropper=None, decoding={}, test_time_flip=False)
        self.card = SimpleNamespace(name="trained", embedding=embedding)
        settings = SimpleNamespace(feature_extractor="pixels", weights="random", image_size=2, trainable=False, seed=0)
        self.network = make_extractor(settings)
        self.engine = open_engine(self.network)
        self.embed_features = embed

    cached_features, embed_cached = ImageMatcher.cached_features, ImageMatcher.embed_cached


def directions(features: np.ndarray) -> np.ndarray:
    return features[:, :4] / np.linalg.norm(features[:, :4], axis=1, keepdims=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for number in range(70):
        Image.new("RGB", (4, 4), (number * 3, 255 - number, 7)).save(tmp_path / "images" / f"{number:02}.png")
    return tmp_path / "images"


def test_features_of_a_trained_extractor_are_cached_too(folder: Path, tmp_path: Path) -> None:
    matcher: Any = Pixels(directions)
    for computed in (70, 0):
        images = list_images(folder, manifest_dir=tmp_path / "m")
        vectors, count = embed_images(matcher, images, tmp_path / "f")
        assert vectors.shape == (70, 4)
        assert count == computed
        assert images.labels is None
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    features, _ = embed_images(matcher, images, tmp_path / "f", space="features")
    expected = [np.array([n * 3, 255 - n, 7] * 4) / 255 for n in range(70)]
    np.testing.assert_allclose(features, expected, rtol=1e-5)


def test_vectors_that_are_not_numbers_are_refused(folder: Path, tmp_path: Path) -> None:
    broken: Any = Pixels(lambda features: np.full((len(features), 4), np.nan, np.float32))
    with pytest.raises(ModelError, match="trained: gives vectors that are not numbers"):
        embed_images(broken, list_images(folder, manifest_dir=tmp_path / "m"), tmp_path / "f")


def test_an_unknown_space_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'pixels' is not one of embedding, features"):
        embed_images(Pixels(directions), None, tmp_path, space="pixels")  # type: ignore
