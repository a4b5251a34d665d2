"""NT-Xent for labelled batches: the supervised contrastive loss."""

from __future__ import annotations

import tensorflow as tf

from imagematch.losses.base import LossValue, PairLoss, loss_value
from imagematch.losses.batch import Batch
from imagematch.losses.distances import cosine_similarity
from imagematch.losses.reducers import count, masked_logsumexp, mean_where


class NTXent(PairLoss):
    """Mean over anchors of the mean over their positives p of -log(exp(cos_ap / T) / sum of exp(cos_ak / T)).

    k runs over all images but the anchor. With two images a class it is SimCLR's NT-Xent; with more, "L_out" of the
    supervised form. Anchors without a positive do not count. Terms are anchors; active are those whose positives
    together have less than half of the probability.

    Args:
        temperature: T, over 0.

    Source: Khosla et al., Supervised Contrastive Learning, 2020, equation 2; Chen et al., SimCLR, 2020, equation 1.
    """

    def __init__(self, *, temperature: float = 0.1) -> None:
        super().__init__()
        self._temperature = temperature

    def of(self, batch: Batch) -> LossValue:
        """The mean over the anchors of the batch that have a positive."""
        logits = cosine_similarity(batch) / self._temperature
        positive, negative = batch.positive, batch.negative
        everyone = masked_logsumexp(logits, positive | negative)
        n_positives = tf.reduce_sum(tf.cast(positive, logits.dtype), 1)
        mean_positive = tf.math.divide_no_nan(tf.reduce_sum(tf.where(positive, logits, 0), 1), n_positives)
        counted = batch.has_positive
        active = counted & (masked_logsumexp(logits, negative) > masked_logsumexp(logits, positive))
        return loss_value(mean_where(everyone - mean_positive, counted), count(active), count(counted))
