"""Circle loss: each similarity is weighed by how far it is from where it should be."""

from __future__ import annotations

from imagematch.losses.base import LossValue, PairLoss, cosine_scale, loss_value, register_loss
from imagematch.losses.batch import Batch
from imagematch.losses.distances import cosine_similarity
from imagematch.losses.lazy import tf
from imagematch.losses.reducers import count, masked_logsumexp, mean_where
from imagematch.options import number


@register_loss(
    "circle",
    "Each similarity is weighed by how far it is from where it should be.",
    source="Sun et al., Circle Loss: A Unified Perspective of Pair Similarity Optimization, 2020",
)
class Circle(PairLoss):
    """Mean over anchors of log(1 + N P), with N and P the weighed violations of the anchor's negatives and positives.

    N = sum over n of exp(scale w_n (cos_an - m)), P = sum over p of exp(-scale w_p (cos_ap - 1 + m)), m the
    relaxation. The weights w_p = max(0, 1 + m - cos_ap) and w_n = max(0, cos_an + m) count as constants in the
    gradient, as in pytorch-metric-learning. Anchors without a positive or without a negative do not count. Terms are
    the anchors that count; active are those whose positives have less than half of the probability.
    """

    scale: float = cosine_scale(80.0, "gamma in the paper, for fine-grained retrieval, according to PML")
    relaxation: float = number(
        0.4,
        0,
        1,
        "Positives are wanted above 1 - relaxation, negatives under it.",
        below=True,
        source="m in the paper, according to PML",
    )

    def of(self, batch: Batch) -> LossValue:
        """The mean over the anchors of the batch that have a positive and a negative."""
        similarities = cosine_similarity(batch)
        fixed = tf.stop_gradient(similarities)
        positive_weights = tf.nn.relu(1 + self.relaxation - fixed)
        negative_weights = tf.nn.relu(fixed + self.relaxation)
        positives = -self.scale * positive_weights * (similarities - (1 - self.relaxation))
        negatives = self.scale * negative_weights * (similarities - self.relaxation)
        counted = batch.has_positive & batch.has_negative
        violation = masked_logsumexp(positives, batch.positive) + masked_logsumexp(negatives, batch.negative)
        violation = tf.where(counted, violation, 0)
        loss = mean_where(tf.nn.softplus(violation), counted)
        return loss_value(loss, count(counted & (violation > 0)), count(counted))
