"""bfloat16 while training: rounded products, float32 weights and embeddings, the same model in float32 afterwards."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from imagematch.training.precision import computing_in

from imagematch.model import build_head


def test_products_are_rounded_within_and_not_outside() -> None:
    head = build_head(64, units=(32,), embedding_dim=16)
    x = np.random.default_rng(0).standard_normal((8, 64)).astype(np.float32)
    plain = np.asarray(head(x, training=False))
    with computing_in("bfloat16", head):
        rounded = head(x, training=False)
    assert rounded.dtype == tf.float32
    assert 1e-5 < np.abs(plain - rounded).max() < 1e-2
    np.testing.assert_allclose(np.linalg.norm(rounded, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(head(x, training=False), plain)


def test_whitening_and_the_norm_stay_exact() -> None:
    random = np.random.default_rng(0)
    x = (1000 + random.standard_normal((64, 4))).astype(np.float32)
    whitening = (np.diag(1 / x.std(axis=0)).astype(np.float32), -(x.mean(axis=0) / x.std(axis=0)).astype(np.float32))
    head = build_head(4, embedding_dim=3, whitening=whitening)
    plain = np.asarray(head(x, training=False))
    with computing_in("bfloat16", head):
        rounded = np.asarray(head(x, training=False))
    np.testing.assert_allclose(rounded, plain, atol=0.02)  # in bfloat16, 1000 +- 1 would be 1000


def test_weights_and_their_gradients_stay_float32() -> None:
    head = build_head(64, units=(32,), embedding_dim=16)
    x = tf.random.stateless_normal((8, 64), (0, 1))
    with tf.GradientTape() as tape, computing_in("bfloat16", head):
        value = tf.reduce_mean(head(x, training=True)[:, 0])
    gradients = tape.gradient(value, head.trainable_variables)
    assert {g.dtype for g in gradients} == {tf.float32}
    assert {v.dtype for v in head.variables if "seed" not in v.path} == {"float32"}


def test_an_error_within_leaves_the_model_as_it_was() -> None:
    head = build_head(4, embedding_dim=2)
    with pytest.raises(ZeroDivisionError), computing_in("bfloat16", head):
        raise ZeroDivisionError
    assert {layer.compute_dtype for layer in head.layers} == {"float32"}
