"""Triplet loss over all valid triplets of a batch."""

from __future__ import annotations

from imagematch.losses.base import LossValue, PairLoss, loss_value, register_loss
from imagematch.losses.batch import Batch
from imagematch.losses.distances import DISTANCES
from imagematch.losses.lazy import tf
from imagematch.losses.miners import PairBlock, sum_over_positive_pairs
from imagematch.losses.reducers import share
from imagematch.losses.triplets import TripletOptions

_ACTIVE_ABOVE = 1e-16


@register_loss(
    "triplet_all",
    "The mean over all triplets of a batch that violate the margin.",
    source="Hermans et al., In Defense of the Triplet Loss, 2017, with the mean over the non-zero terms",
)
class TripletAll(TripletOptions, PairLoss):
    """Sum over all triplets (a, p, n) of hinge(margin + D_ap - D_an), divided by the number of those above 1e-16.

    With the hinge that is the mean of the active ones, which hovers about the margin while training goes well: watch
    the active share. With softplus every triplet is above 0, so it is the mean of all. Terms are triplets. 0 without
    a triplet.
    """

    def of(self, batch: Batch) -> LossValue:
        """The mean over the active triplets of the batch."""

        def block(_: tf.Tensor, positive: tf.Tensor, negatives: tf.Tensor) -> PairBlock:
            violation = self.violation(positive[:, None], negatives)
            slopes = self.hinge.slope(violation)
            active = tf.reduce_sum(tf.cast(violation > _ACTIVE_ABOVE, slopes.dtype))
            return PairBlock(tf.reduce_sum(self.hinge.cost(violation)), active, tf.reduce_sum(slopes, 1), -slopes)

        cost, active, _ = sum_over_positive_pairs(DISTANCES[self.loss_distance](batch), batch, block)
        positives = tf.reduce_sum(tf.cast(batch.positive, cost.dtype), 1)
        negatives = tf.reduce_sum(tf.cast(batch.negative, cost.dtype), 1)
        terms = tf.reduce_sum(positives * negatives)
        return loss_value(share(cost, active if self.triplet_hinge == "hinge" else terms), active, terms)
