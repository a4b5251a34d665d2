from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagematch.errors import ConfigError, ModelError
from imagematch.retrieval import embed_images, open_collection


@pytest.fixture(scope="module")
def trained_whole() -> Any:
    """A matcher whose extractor was trained too: a mean over pixels, and a head."""
    import keras

    from imagematch.model import build_feature_model, build_head

    keras.utils.set_random_seed(0)
    pixels = keras.Input((None, None, 3))
    extractor = keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(pixels))
    head = build_head(3, units=(), dropout=0.0, embedding_dim=4, seed=0)
    card = SimpleNamespace(whole_model=True, image_size=8, dim=4, cropper=None)
    model = build_feature_model(extractor, head)
    return SimpleNamespace(
        card=SimpleNamespace(name="whole", embedding=card), feature_model=model, embedding_model=model
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for number in range(70):
        Image.new("RGB", (4, 4), (number * 3, 255 - number, 7)).save(tmp_path / "images" / f"{number:02}.png")
    return tmp_path / "images"


def test_an_extractor_that_was_trained_runs_over_every_image(trained_whole: Any, folder: Path, tmp_path: Path) -> None:
    found = open_collection(trained_whole, folder, tmp_path / "f", manifest_dir=tmp_path / "m")
    assert found.vectors.shape == (70, 4)
    assert found.computed == 70
    assert found.labels is None
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, rtol=1e-5)
    features = open_collection(trained_whole, folder, tmp_path / "f", manifest_dir=tmp_path / "m", space="features")
    np.testing.assert_allclose(features.vectors, [[n * 3, 255 - n, 7] for n in range(70)], rtol=1e-5)
    assert not (tmp_path / "f").exists()


def test_vectors_that_are_not_numbers_are_refused(trained_whole: Any, folder: Path, tmp_path: Path) -> None:
    import keras

    model = keras.models.clone_model(trained_whole.feature_model)
    model.set_weights([np.full_like(weights, np.nan) for weights in model.get_weights()])
    broken = SimpleNamespace(card=trained_whole.card, embedding_model=model)
    with pytest.raises(ModelError, match="whole: gives vectors that are not numbers"):
        open_collection(broken, folder, tmp_path / "f", manifest_dir=tmp_path / "m")


def test_an_unknown_space_is_refused(trained_whole: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'pixels' is not one of embedding, features"):
        embed_images(trained_whole, None, tmp_path, space="pixels")  # type: ignore[arg-type]
