"""Proxy-Anchor: each proxy is an anchor, and the images of the batch are its positives and negatives."""

from __future__ import annotations

from imagematch.losses.base import LossValue, cosine_scale, loss_value, register_loss
from imagematch.losses.lazy import tf
from imagematch.losses.proxies import ProxyLoss
from imagematch.losses.reducers import count, masked_logsumexp, share
from imagematch.options import number


@register_loss(
    "proxy_anchor",
    "Each proxy is an anchor; the images of the batch are its positives and negatives.",
    source="Kim et al., Proxy Anchor Loss for Deep Metric Learning, 2020",
)
class ProxyAnchor(ProxyLoss):
    """Mean over proxies with a positive of log(1 + P) plus mean over all proxies of log(1 + N).

    P = sum over the proxy's positives of exp(-scale (cos - margin)), N = sum over its negatives of exp(scale (cos +
    margin)). Terms are pairs of an image and a proxy; active are those within the margin: positives with cos <
    margin, negatives with cos > -margin.
    """

    scale: float = cosine_scale(32.0, "alpha in the authors' code")
    margin: float = number(
        0.1, 0, 100, "How far cosines are wanted from 0, on either side.", source="delta in the authors' code"
    )

    def of(self, cosines: tf.Tensor, labels: tf.Tensor) -> LossValue:
        """The sum of the two means over proxies."""
        positive = tf.one_hot(labels, tf.shape(cosines)[1], True, False, dtype=tf.bool)
        negative = tf.logical_not(positive)
        pull = tf.nn.softplus(masked_logsumexp(-self.scale * (cosines - self.margin), positive, 0))
        push = tf.nn.softplus(masked_logsumexp(self.scale * (cosines + self.margin), negative, 0))
        loss = share(tf.reduce_sum(pull), count(tf.reduce_any(positive, 0))) + tf.reduce_mean(push)
        active = count((positive & (cosines < self.margin)) | (negative & (cosines > -self.margin)))
        return loss_value(loss, active, tf.size(cosines))
