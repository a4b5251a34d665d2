"""Multi-similarity loss: pairs that are hard relative to the others of their anchor, weighed smoothly."""

from __future__ import annotations

import tensorflow as tf

from imagematch.losses.base import LossValue, PairLoss, loss_value
from imagematch.losses.batch import Batch
from imagematch.losses.distances import cosine_similarity
from imagematch.losses.miners import furthest, nearest
from imagematch.losses.reducers import count, masked_logsumexp

_SLACK = 0.1


class MultiSimilarity(PairLoss):
    """Mean over all anchors of log(1 + P) / alpha + log(1 + N) / beta.

    P = sum over p of exp(-alpha (cos_ap - base)), N = sum over n of exp(beta (cos_an - base)). The sums run over the
    mined pairs: positives less similar than the most similar negative plus 0.1, and negatives more similar than the
    least similar positive minus 0.1. An anchor that lacks either kind has no mined pair and adds 0. Terms are ordered
    pairs of anchors that have both kinds; active are the mined ones.

    Args:
        alpha: how sharply positives are weighed, over 0.
        beta: how sharply negatives are weighed, over 0.
        base: the similarity that divides near from far (lambda in the paper).

    Source: Wang et al., Multi-Similarity Loss with General Pair Weighting, 2019; 0.1 is its
    epsilon.
    """

    def __init__(self, *, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5) -> None:
        super().__init__()
        self._alpha = alpha
        self._beta = beta
        self._base = base

    def of(self, batch: Batch) -> LossValue:
        """The mean over the anchors of the batch."""
        similarities = cosine_similarity(batch)
        both = (batch.has_positive & batch.has_negative)[:, None]
        fixed = tf.stop_gradient(similarities)
        most_similar_negative = furthest(fixed, batch.negative)[:, None]
        least_similar_positive = nearest(fixed, batch.positive)[:, None]
        positives = batch.positive & both & (fixed - _SLACK < most_similar_negative)
        negatives = batch.negative & both & (fixed + _SLACK > least_similar_positive)
        above = similarities - self._base
        pull = tf.nn.softplus(masked_logsumexp(-self._alpha * above, positives)) / self._alpha
        push = tf.nn.softplus(masked_logsumexp(self._beta * above, negatives)) / self._beta
        loss = tf.math.divide_no_nan(tf.reduce_sum(pull + push), tf.cast(tf.shape(pull)[0], pull.dtype))
        terms = count((batch.positive | batch.negative) & both)
        return loss_value(loss, count(positives | negatives), terms)
