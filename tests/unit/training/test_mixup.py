"""MixUp: the loss of a blend against the cross-entropy with blended labels; where it is left out."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from imagematch.training.mixup import mixed_value, mixup_shares

from imagematch.config import parse_train
from imagematch.losses import PAIR_LOSSES, PROXY_LOSSES, make_loss


def shares(loss: str, images: int, schedule: str = "bit_hyperrule", epoch: int = 0) -> np.ndarray | None:
    settings = parse_train({"experiment_name": "x", "loss": loss, "lr_schedule": schedule})
    return mixup_shares(settings, epoch, 1_000, images)


@pytest.mark.parametrize("loss", PROXY_LOSSES)
def test_large_sets_are_mixed_with_proxies(loss: str) -> None:
    drawn = shares(loss, 20_000)
    assert drawn is not None
    assert drawn.shape == (1_000,)
    assert ((drawn >= 0) & (drawn <= 1)).all()
    # Beta(0.1, 0.1): mean 1/2, variance 1 / (4 * 1.2)
    assert drawn.mean() == pytest.approx(0.5, abs=0.05)
    assert drawn.var() == pytest.approx(1 / 4.8, abs=0.01)


def test_every_epoch_draws_anew_and_the_same_again() -> None:
    np.testing.assert_array_equal(shares("arcface", 20_000, epoch=1), shares("arcface", 20_000, epoch=1))
    assert not np.array_equal(shares("arcface", 20_000, epoch=1), shares("arcface", 20_000, epoch=2))


def test_nothing_else_is_mixed() -> None:
    assert shares("arcface", 19_999) is None
    assert shares("arcface", 10**6, "cosine") is None
    assert all(shares(loss, 10**6) is None for loss in PAIR_LOSSES)


def test_the_value_is_the_cross_entropy_of_blended_labels() -> None:
    random, share = np.random.default_rng(0), 0.3
    x, y = random.standard_normal((6, 4)).astype(np.float32), np.array([0, 0, 1, 1, 2, 2])
    settings = parse_train({"experiment_name": "x", "loss": "normalised_softmax", "temperature": 0.5})
    loss = make_loss(settings, n_classes=3, embedding_dim=4)
    seen: list[np.ndarray] = []

    def embed(inputs: tf.Tensor) -> tf.Tensor:
        seen.append(np.asarray(inputs))
        return tf.math.l2_normalize(inputs, 1)

    value = mixed_value(embed, loss, tf.constant(x), tf.constant(y), tf.constant(share))
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
