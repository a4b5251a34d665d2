"""The FF block and the head: shapes, configuration, what training changes; and the feature model they end in."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from imagematch.extractors import make_extractor
from imagematch.model import FFBlock, build_feature_model, build_head, split_feature_model

FEATURES = np.random.default_rng(0).standard_normal((6, 12)).astype(np.float32)


def pixels(image_size=4):
    return make_extractor(
        SimpleNamespace(feature_extractor="pixels", weights="random", image_size=image_size, trainable=False, seed=0)
    )


@pytest.mark.parametrize("units", [(), (5,), (7, 3)])
def test_a_head_gives_unit_vectors_of_the_promised_length(units):
    head = build_head(12, units=units, dropout=0.3, embedding_dim=4)
    embeddings = np.asarray(head(FEATURES, training=False))
    assert embeddings.shape == (6, 4)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)
    assert [layer.units for layer in head.layers if isinstance(layer, FFBlock)] == list(units)


def test_the_same_seed_gives_the_same_head_and_blocks_differ_from_each_other():
    first, again, other = (build_head(12, units=(12, 12), embedding_dim=4, seed=seed) for seed in (1, 1, 2))
    for one, two in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(first.get_weights()[0], other.get_weights()[0])
    kernels = [weights for weights in first.get_weights() if weights.shape == (12, 12)]
    assert not np.array_equal(*kernels)


def test_a_block_comes_back_from_its_configuration():
    block = FFBlock(5, 0.25, seed=3, name="b")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(block))
    assert isinstance(again, FFBlock)
    assert (again.units, again.dropout, again.seed, again.name) == (5, 0.25, 3, "b")
    assert again.compute_output_shape((None, 12)) == (None, 5)
    np.testing.assert_array_equal(np.asarray(block(FEATURES)), np.asarray(again(FEATURES)))


def test_a_block_is_dense_norm_relu_dropout():
    block = FFBlock(5, 0.0, seed=0)
    given = np.asarray(block(FEATURES, training=True), np.float64)
    x = FEATURES.astype(np.float64) @ np.asarray(block._dense.kernel, np.float64)
    expected = np.maximum((x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-3), 0)
    np.testing.assert_allclose(given, expected, atol=1e-5)


def test_dropout_is_for_training_alone():
    block = FFBlock(200, 0.5, seed=0)
    block(FEATURES, training=True)
    still = np.asarray(block(FEATURES, training=False))
    np.testing.assert_array_equal(still, np.asarray(block(FEATURES, training=False)))
    dropped = np.asarray(block(FEATURES, training=True))
    kept = np.asarray(block(FEATURES, training=True))
    assert ((dropped == 0) != (kept == 0)).mean() > 0.1


def test_a_feature_model_trains_only_where_that_is_said():
    """Keras's Resizing trains by default, and would make every layer after it train too."""
    model = build_feature_model(pixels().build(), build_head(48, units=(64,), dropout=0.5, embedding_dim=4))
    images = np.random.default_rng(1).uniform(0, 255, (3, 4, 4, 3)).astype(np.float32)
    quiet = np.asarray(model(images, training=False))
    np.testing.assert_array_equal(np.asarray(model(images)), quiet)
    assert np.abs(np.asarray(model(images, training=True)) - quiet).max() > 1e-3


def test_a_feature_model_comes_apart_again():
    extractor, head = pixels().build(), build_head(48, embedding_dim=4)
    assert split_feature_model(build_feature_model(extractor, head)) == (extractor, head)


def test_whitening_comes_first_and_is_not_trained():
    random = np.random.default_rng(2)
    kernel, bias = (random.normal(size=shape).astype(np.float32) for shape in ((20, 7), 7))
    head = build_head(20, units=(8,), embedding_dim=4, whitening=(kernel, bias))
    plain = build_head(7, units=(8,), embedding_dim=4)
    assert [w.shape for w in head.trainable_weights] == [w.shape for w in plain.trainable_weights]
    plain.set_weights([w for w in head.get_weights() if w.shape not in ((20, 7), (7,))])
    features = random.normal(size=(5, 20)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(head(features)), np.asarray(plain(features @ kernel + bias)), atol=1e-5)
