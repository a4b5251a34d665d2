"""Averaging over flips: in numpy, and as one Keras model that can be saved."""

from types import SimpleNamespace

import keras
import numpy as np

from imagematch.extractors import make_extractor
from imagematch.model import build_feature_model, build_flip_model, build_head, flip_average

RANDOM = np.random.default_rng(0)


def feature_model():
    asked = SimpleNamespace(feature_extractor="pixels", weights="random", image_size=5, trainable=False, seed=0)
    extractor = make_extractor(asked)
    return build_feature_model(extractor.build(), build_head(extractor.feature_dim, units=(8,), embedding_dim=6))


def test_the_average_is_the_mean_direction():
    one, two = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in RANDOM.standard_normal((2, 7, 4)))
    found = flip_average(one, two)
    for row in range(7):
        mean = (one[row] + two[row]) / 2
        np.testing.assert_allclose(found[row], mean / np.sqrt((mean**2).sum()), atol=1e-6)


def test_opposite_embeddings_have_no_mean_direction():
    one = np.array([[1.0, 0.0]], np.float32)
    np.testing.assert_array_equal(flip_average(one, -one), [[0.0, 0.0]])


def test_the_keras_model_gives_the_average_and_does_not_see_left_from_right(tmp_path):
    plain = feature_model()
    model = build_flip_model(plain)
    images = RANDOM.uniform(0, 255, (4, 5, 7, 3)).astype(np.float32)
    one, two = (np.asarray(plain(x, training=False)) for x in (images, images[:, :, ::-1]))
    assert np.abs(one - two).max() > 0.01
    np.testing.assert_allclose(np.asarray(model(images)), flip_average(one, two), atol=1e-6)
    np.testing.assert_allclose(np.asarray(model(images[:, :, ::-1])), np.asarray(model(images)), atol=1e-6)
    assert model.count_params() == plain.count_params()
    model.save(tmp_path / "flip.keras")
    again = keras.saving.load_model(tmp_path / "flip.keras")
    np.testing.assert_allclose(np.asarray(again(images)), np.asarray(model(images)), atol=1e-6)
