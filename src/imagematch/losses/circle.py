"""Circle loss: each similarity is weighed by how far it is from where it should be."""

from __future__ import annotations

import tensorflow as tf

from imagematch.losses.base import LossValue, PairLoss, loss_value
from imagematch.losses.batch import Batch
from imagematch.losses.distances import cosine_similarity
from imagematch.losses.reducers import count, masked_logsumexp, mean_where


class Circle(PairLoss):
    """Mean over anchors of log(1 + N P), with N and P the weighed violations of the anchor's negatives and positives.

    N = sum over n of exp(scale w_n (cos_an - m)), P = sum over p of exp(-scale w_p (cos_ap - 1 + m)), m the
    relaxation. The weights w_p = max(0, 1 + m - cos_ap) and w_n = max(0, cos_an + m) count as constants in the
    gradient, as in pytorch-metric-learning. Anchors without a positive or without a negative do not count. Terms are
    the anchors that count; active are those whose positives have less than half of the probability.

    Args:
        scale: gamma in the paper, over 0.
        relaxation: m, 0 to 1: positives are wanted above 1 - m, negatives under m.

    Source: Sun et al., Circle Loss: A Unified Perspective of Pair Similarity Optimization, 2020.
    """

    def __init__(self, *, scale: float = 80.0, relaxation: float = 0.4) -> None:
        super().__init__()
        self._scale = scale
        self._relaxation = relaxation

    def of(self, batch: Batch) -> LossValue:
        """The mean over the anchors of the batch that have a positive and a negative."""
        similarities = cosine_similarity(batch)
        fixed = tf.stop_gradient(similarities)
        positive_weights = tf.nn.relu(1 + self._relaxation - fixed)
        negative_weights = tf.nn.relu(fixed + self._relaxation)
        positives = -self._scale * positive_weights * (similarities - (1 - self._relaxation))
        negatives = self._scale * negative_weights * (similarities - self._relaxation)
        counted = batch.has_positive & batch.has_negative
        violation = masked_logsumexp(positives, batch.positive) + masked_logsumexp(negatives, batch.negative)
        violation = tf.where(counted, violation, 0)
        loss = mean_where(tf.nn.softplus(violation), counted)
        return loss_value(loss, count(counted & (violation > 0)), count(counted))
