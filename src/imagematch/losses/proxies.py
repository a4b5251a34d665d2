"""Losses that compare each image with one learnt vector, a proxy, for each training class."""

from __future__ import annotations

import math
from typing import Any

from imagematch.losses.base import Loss, LossValue, as_float, loss_value
from imagematch.losses.lazy import np, tf
from imagematch.losses.reducers import count, share
from imagematch.options import number


class ProxyLoss(Loss):
    """A loss over the cosines of embeddings and proxies.

    Labels are 0 to n_classes - 1; calling it with others raises `tf.errors.InvalidArgumentError`.

    Args:
        n_classes: number of training classes, each with a proxy.
        embedding_dim: length of an embedding.
        seed: fixes the initial proxies, random directions.
        options: those of the loss.
    """

    kind = "proxy"
    proxy_rate: float = number(
        1.0,
        0,
        10_000,
        "Class proxies learn at this multiple of `learning_rate`.",
        above=True,
        source="chosen here: codes differ, that of Proxy-Anchor's authors has 100",
        common=True,
        scales=False,
    )

    def __init__(self, *, n_classes: int, embedding_dim: int, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
        drawn = np.random.default_rng(seed).standard_normal((n_classes, embedding_dim), dtype=np.float32)
        initial = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        self.proxies = tf.Variable(initial, name="proxies")
        self.variables = (self.proxies,)

    def __call__(self, embeddings: tf.Tensor, labels: tf.Tensor, *, training: bool = True) -> LossValue:  # noqa: ARG002
        """The loss of a batch against the proxies."""
        embeddings = as_float(embeddings)
        proxies = tf.cast(self.proxies, embeddings.dtype)
        cosines = tf.matmul(tf.math.l2_normalize(embeddings, 1), tf.math.l2_normalize(proxies, 1), transpose_b=True)
        n_classes = self.proxies.shape[0]
        labels = tf.cast(labels, tf.int32)
        known = tf.debugging.assert_equal(
            labels, tf.clip_by_value(labels, 0, n_classes - 1), f"a label has no proxy: labels are 0 to {n_classes - 1}"
        )
        with tf.control_dependencies([] if known is None else [known]):
            return self.of(cosines, tf.identity(labels))

    def of(self, cosines: tf.Tensor, labels: tf.Tensor) -> LossValue:
        """The loss from the cosines (batch, n_classes) and labels (batch,) int32."""
        raise NotImplementedError


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> LossValue:
    """Mean of -log softmax(logits)[label]; terms are images, active are those whose class has less than half."""
    costs = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    terms = tf.shape(labels)[0]
    return loss_value(share(tf.reduce_sum(costs), terms), count(costs > math.log(2)), terms)


def at_labels(values: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """(batch,) each row's value in the column of its label."""
    return tf.gather(values, labels, axis=1, batch_dims=1)


def with_at_labels(values: tf.Tensor, labels: tf.Tensor, own: tf.Tensor) -> tf.Tensor:
    """`values` (batch, n_classes) with `own` (batch,) in the column of each row's label."""
    positions = tf.stack([tf.range(tf.shape(labels)[0]), labels], 1)
    return tf.tensor_scatter_nd_update(values, positions, own)
