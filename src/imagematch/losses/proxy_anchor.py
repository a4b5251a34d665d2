"""Proxy-Anchor: each proxy is an anchor, and the images of the batch are its positives and negatives."""

from __future__ import annotations

import tensorflow as tf

from imagematch.losses.base import LossValue, loss_value
from imagematch.losses.proxies import ProxyLoss
from imagematch.losses.reducers import count, masked_logsumexp, share


class ProxyAnchor(ProxyLoss):
    """Mean over proxies with a positive of log(1 + P) plus mean over all proxies of log(1 + N).

    P = sum over the proxy's positives of exp(-scale (cos - margin)), N = sum over its negatives of exp(scale (cos +
    margin)). Terms are pairs of an image and a proxy; active are those within the margin: positives with cos <
    margin, negatives with cos > -margin.

    Args:
        n_classes: number of training classes.
        embedding_dim: length of an embedding.
        scale: alpha in the paper, over 0.
        margin: delta in the paper, a cosine.
        seed: fixes the initial proxies.

    Source: Kim et al., Proxy Anchor Loss for Deep Metric Learning, 2020.
    """

    def __init__(
        self, *, n_classes: int, embedding_dim: int, scale: float = 32.0, margin: float = 0.1, seed: int = 0
    ) -> None:
        super().__init__(n_classes=n_classes, embedding_dim=embedding_dim, seed=seed)
        self._scale = scale
        self._margin = margin

    def of(self, cosines: tf.Tensor, labels: tf.Tensor) -> LossValue:
        """The sum of the two means over proxies."""
        positive = tf.one_hot(labels, tf.shape(cosines)[1], True, False, dtype=tf.bool)
        negative = tf.logical_not(positive)
        pull = tf.nn.softplus(masked_logsumexp(-self._scale * (cosines - self._margin), positive, 0))
        push = tf.nn.softplus(masked_logsumexp(self._scale * (cosines + self._margin), negative, 0))
        loss = share(tf.reduce_sum(pull), count(tf.reduce_any(positive, 0))) + tf.reduce_mean(push)
        active = count((positive & (cosines < self._margin)) | (negative & (cosines > -self._margin)))
        return loss_value(loss, active, tf.size(cosines))
