"""Triplet loss with semi-hard negatives: the nearest negative that is further away than the positive."""

from __future__ import annotations

from imagematch.losses.base import LossValue, PairLoss, loss_value, register_loss
from imagematch.losses.batch import Batch
from imagematch.losses.distances import DISTANCES
from imagematch.losses.lazy import tf
from imagematch.losses.miners import PairBlock, sum_over_positive_pairs
from imagematch.losses.reducers import share
from imagematch.losses.triplets import TripletOptions


@register_loss(
    "triplet_semihard",
    "The nearest negative that is further away than the positive.",
    source="Schroff et al., FaceNet, 2015; as TripletSemiHardLoss of TensorFlow Addons defines it",
)
class TripletSemiHard(TripletOptions, PairLoss):
    """Mean over all positive pairs (a, p) of hinge(margin + D_ap - D_an), zeros included.

    n is the nearest negative of a with D_an > D_ap, strictly; where there is none, the furthest negative of a; where
    the batch has no negative, D_an counts as 0, so that the loss is margin + mean D_ap. Without a positive pair it is
    0. Negatives at equal distance share the gradient. Terms are positive pairs; active are those with a violated
    margin.
    """

    def of(self, batch: Batch) -> LossValue:
        """The mean over the positive pairs of the batch."""
        distances = DISTANCES[self.loss_distance](batch)
        furthest = tf.stop_gradient(tf.reduce_max(tf.where(batch.negative, distances, 0), 1))

        def block(anchors: tf.Tensor, positive: tf.Tensor, negatives: tf.Tensor) -> PairBlock:
            infinity = negatives.dtype.as_numpy_dtype("inf")
            further = tf.reduce_min(tf.where(negatives > positive[:, None], negatives, infinity), 1)
            chosen = tf.where(further < infinity, further, tf.gather(furthest, anchors))
            violation = self.violation(positive, chosen)
            slope = self.hinge.slope(violation)
            is_chosen = tf.cast(negatives == chosen[:, None], slope.dtype)
            shared = tf.math.divide_no_nan(slope, tf.reduce_sum(is_chosen, 1))
            active = tf.reduce_sum(tf.cast(violation > 0, slope.dtype))
            return PairBlock(tf.reduce_sum(self.hinge.cost(violation)), active, slope, -shared[:, None] * is_chosen)

        cost, active, pairs = sum_over_positive_pairs(distances, batch, block)
        return loss_value(share(cost, pairs), active, pairs)
