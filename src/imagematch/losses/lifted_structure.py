"""Lifted structure loss: each positive pair against all negatives of both its ends."""

from __future__ import annotations

from imagematch.losses.base import LossValue, PairLoss, loss_value, register_loss
from imagematch.losses.batch import Batch
from imagematch.losses.distances import euclidean
from imagematch.losses.lazy import tf
from imagematch.losses.reducers import count, masked_logsumexp, share
from imagematch.options import number


@register_loss(
    "lifted_structure",
    "Each positive pair against all negatives of both its ends.",
    source="Oh Song et al., Deep Metric Learning via Lifted Structured Feature Embedding, 2016",
)
class LiftedStructure(PairLoss):
    """Half the mean over positive pairs (i, j) of max(0, J_ij)^2.

    J_ij = D_ij + log(sum over negatives k of i of exp(margin - D_ik) + sum over negatives l of j of exp(margin -
    D_jl)). D is the Euclidean distance. 0 without a positive pair and without a negative. For a j out of the
    cross-batch memory the negatives are looked for in the batch. Terms are ordered positive pairs (the loss is
    symmetric); active have J > 0.
    """

    margin: float = number(1.0, 0, 100, "How far away negatives are wanted.", source="tf.contrib and PML")

    def of(self, batch: Batch) -> LossValue:
        """The mean over the positive pairs of the batch."""
        distances = euclidean(batch)
        of_anchors = masked_logsumexp(self.margin - distances, batch.negative, 1)
        of_references = masked_logsumexp(self.margin - distances, batch.negative, 0)
        pairs = batch.positive_pairs()
        ends = tf.stack([tf.gather(of_anchors, pairs[:, 0]), tf.gather(of_references, pairs[:, 1])], 1)
        violation = tf.gather_nd(distances, pairs) + masked_logsumexp(ends, tf.math.is_finite(ends))
        loss = share(tf.reduce_sum(tf.nn.relu(violation) ** 2) / 2, tf.shape(pairs)[0])
        return loss_value(loss, count(violation > 0), tf.shape(pairs)[0])
