"""Contrastive loss over all pairs of a batch."""

from __future__ import annotations

from imagematch.losses.base import LossValue, PairLoss, loss_value, register_loss
from imagematch.losses.batch import Batch
from imagematch.losses.distances import euclidean
from imagematch.losses.lazy import tf
from imagematch.losses.reducers import count, mean_where
from imagematch.options import number


@register_loss(
    "contrastive",
    "Positive pairs together, negative pairs apart by a margin.",
    source="Hadsell, Chopra and LeCun, Dimensionality Reduction by Learning an Invariant Mapping, 2006",
)
class Contrastive(PairLoss):
    """Half the mean of D^2 over positive pairs plus half the mean of max(0, margin - D)^2 over negative pairs.

    The two means make positives and negatives weigh the same, as in a stream with as many pairs of each; over all
    pairs of a batch the negatives would drown the positives. A kind that the batch has none of adds 0. D is the
    Euclidean distance. Terms are ordered pairs; active are the positive pairs that are apart and the negative ones
    within the margin.
    """

    margin: float = number(
        1.0,
        0,
        100,
        "The distance from which on negatives no longer matter.",
        source="PML; half the diameter of the unit sphere",
    )

    def of(self, batch: Batch) -> LossValue:
        """The mean over the pairs of the batch."""
        distances = euclidean(batch)
        too_near = tf.nn.relu(self.margin - distances)
        loss = (mean_where(distances**2, batch.positive) + mean_where(too_near**2, batch.negative)) / 2
        active = count((batch.positive & (distances > 0)) | (batch.negative & (too_near > 0)))
        return loss_value(loss, active, count(batch.positive) + count(batch.negative))
