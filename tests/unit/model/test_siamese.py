"""The Siamese network: two images in, a score out; and as a file."""

from types import SimpleNamespace

import keras
import numpy as np

from imagematch.extractors import make_extractor
from imagematch.model import build_feature_model, build_head, build_siamese_model

RANDOM = np.random.default_rng(0)


def siamese():
    asked = SimpleNamespace(feature_extractor="pixels", weights="random", image_size=4, trainable=False, seed=0)
    extractor = make_extractor(asked)
    head = build_head(extractor.feature_dim, units=(8,), dropout=0.5, embedding_dim=6)
    feature_model = build_feature_model(extractor.build(), head)
    return feature_model, build_siamese_model(feature_model)


def test_the_score_is_minus_the_distance_of_the_embeddings():
    feature_model, model = siamese()
    first, second = (RANDOM.uniform(0, 255, (5, 7, 3, 3)).astype(np.float32) for _ in range(2))
    scores = np.asarray(model([first, second]))
    one, two = (np.asarray(feature_model(images, training=False), np.float64) for images in (first, second))
    assert scores.shape == (5,)
    np.testing.assert_allclose(
        scores, [-np.sqrt(((a - b) ** 2).sum()) for a, b in zip(one, two, strict=True)], atol=1e-5
    )
    np.testing.assert_array_equal(np.asarray(model([first, first])), np.zeros(5))
    np.testing.assert_allclose(model.predict([first, second], verbose=0), scores, atol=1e-6)


def test_both_sides_are_one_network():
    feature_model, model = siamese()
    assert model.count_params() == feature_model.count_params()
    assert [tensor.name for tensor in model.inputs] == ["first", "second"]


def test_it_is_saved_and_opened_without_lambda(tmp_path):
    _, model = siamese()
    model.save(tmp_path / "matcher.keras")
    images = [RANDOM.uniform(0, 255, (2, 4, 4, 3)).astype(np.float32) for _ in range(2)]
    again = keras.saving.load_model(tmp_path / "matcher.keras")
    np.testing.assert_allclose(np.asarray(again(images)), np.asarray(model(images)), atol=1e-6)
