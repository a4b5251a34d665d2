"""The training step: MixUp's loss against the cross-entropy with blended labels; bfloat16 within, float32 outside."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from imagematch.config import parse_train
from imagematch.losses import make_loss
from imagematch.model import build_head
from imagematch.training.steps import computing_in, mixup_loss


def test_the_value_is_the_cross_entropy_of_blended_labels() -> None:
    random, share = np.random.default_rng(0), 0.3
    x, y = random.standard_normal((6, 4)).astype(np.float32), np.array([0, 0, 1, 1, 2, 2])
    settings = parse_train({"experiment_name": "x", "loss": "normalised_softmax", "temperature": 0.5})
    loss = make_loss(settings, n_classes=3, embedding_dim=4)
    seen: list[np.ndarray] = []

    def embed(inputs: tf.Tensor) -> tf.Tensor:
        seen.append(np.asarray(inputs))
        return tf.math.l2_normalize(inputs, 1)

    value = mixup_loss(embed, loss, tf.constant(x), tf.constant(y), tf.constant(share))
    expected = []
    for i in range(6):
        blend = share * x[i] + (1 - share) * x[5 - i]
        np.testing.assert_allclose(seen[0][i], blend, rtol=1e-6)
        proxies = np.asarray(loss.proxies)
        logits = proxies @ blend / np.linalg.norm(blend) / np.linalg.norm(proxies, axis=1) / 0.5
        log_shares = logits - np.log(np.exp(logits).sum())
        target = share * np.eye(3)[y[i]] + (1 - share) * np.eye(3)[y[5 - i]]
        expected.append(-(target * log_shares).sum())
    assert float(value.loss) == pytest.approx(np.mean(expected), rel=1e-5)
    assert float(value.terms) == 6


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
