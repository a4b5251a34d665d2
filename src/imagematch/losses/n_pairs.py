"""N-pairs loss: each positive pair against all negatives of its anchor at once."""

from __future__ import annotations

from imagematch.losses.base import LossValue, PairLoss, cosine_scale, loss_value, register_loss
from imagematch.losses.batch import Batch
from imagematch.losses.distances import cosine_similarity
from imagematch.losses.lazy import tf
from imagematch.losses.reducers import count, masked_logsumexp, share


@register_loss(
    "n_pairs",
    "Each positive pair against all negatives of its anchor at once.",
    source="Sohn, Improved Deep Metric Learning with Multi-class N-pair Loss Objective, 2016",
)
class NPairs(PairLoss):
    """Mean over positive pairs (a, p) of log(1 + sum over negatives n of exp(scale (cos_an - cos_ap))).

    The paper takes one pair of each class and products of free length; here each positive pair counts, against every
    image of another class, and `scale` stands for the squared length. 0 without a positive pair. Terms are positive
    pairs; active are those whose positive has less than half of the probability.
    """

    scale: float = cosine_scale(
        16.0, "chosen here: the paper leaves the length of embeddings free, which on the unit sphere is this scale"
    )

    def of(self, batch: Batch) -> LossValue:
        """The mean over the positive pairs of the batch."""
        logits = self.scale * cosine_similarity(batch)
        negatives = masked_logsumexp(logits, batch.negative)
        pairs = batch.positive_pairs()
        violation = tf.gather(negatives, pairs[:, 0]) - tf.gather_nd(logits, pairs)
        loss = share(tf.reduce_sum(tf.nn.softplus(violation)), tf.shape(pairs)[0])
        return loss_value(loss, count(violation > 0), tf.shape(pairs)[0])
