"""Multi-similarity loss: pairs that are hard relative to the others of their anchor, weighed smoothly."""

from __future__ import annotations

from imagematch.losses.base import LossValue, PairLoss, loss_value, register_loss
from imagematch.losses.batch import Batch
from imagematch.losses.distances import cosine_similarity
from imagematch.losses.lazy import tf
from imagematch.losses.miners import masked_max, masked_min
from imagematch.losses.reducers import count, masked_logsumexp
from imagematch.options import number

_SLACK = 0.1


@register_loss(
    "multi_similarity",
    "Pairs that are hard relative to the others of their anchor, weighed smoothly.",
    source="Wang et al., Multi-Similarity Loss with General Pair Weighting, 2019; the slack of 0.1 is its epsilon",
)
class MultiSimilarity(PairLoss):
    """Mean over all anchors of log(1 + P) / alpha + log(1 + N) / beta.

    P = sum over p of exp(-alpha (cos_ap - base)), N = sum over n of exp(beta (cos_an - base)). The sums run over the
    mined pairs: positives less similar than the most similar negative plus 0.1, and negatives more similar than the
    least similar positive minus 0.1. An anchor that lacks either kind has no mined pair and adds 0. Terms are ordered
    pairs of anchors that have both kinds; active are the mined ones.
    """

    alpha: float = number(2.0, 0, 10_000, "How sharply positives are weighed.", above=True, source="the authors' code")
    beta: float = number(
        50.0,
        0,
        10_000,
        "How sharply negatives are weighed.",
        above=True,
        source="PML, and the comparison of Proxy-Anchor's authors; the authors' code has 40",
    )
    base: float = number(
        0.5,
        -2,
        2,
        "The similarity that divides near from far.",
        source="lambda in the authors' code; the paper has 1, according to PML",
    )

    def of(self, batch: Batch) -> LossValue:
        """The mean over the anchors of the batch."""
        similarities = cosine_similarity(batch)
        both = (batch.has_positive & batch.has_negative)[:, None]
        fixed = tf.stop_gradient(similarities)
        most_similar_negative = masked_max(fixed, batch.negative)[:, None]
        least_similar_positive = masked_min(fixed, batch.positive)[:, None]
        positives = batch.positive & both & (fixed - _SLACK < most_similar_negative)
        negatives = batch.negative & both & (fixed + _SLACK > least_similar_positive)
        above = similarities - self.base
        pull = tf.nn.softplus(masked_logsumexp(-self.alpha * above, positives)) / self.alpha
        push = tf.nn.softplus(masked_logsumexp(self.beta * above, negatives)) / self.beta
        loss = tf.math.divide_no_nan(tf.reduce_sum(pull + push), tf.cast(tf.shape(pull)[0], pull.dtype))
        terms = count((batch.positive | batch.negative) & both)
        return loss_value(loss, count(positives | negatives), terms)
