"""Triplet loss with the hardest positive and the hardest negative of each anchor ("batch-hard")."""

from __future__ import annotations

from imagematch.losses.base import LossValue, PairLoss, loss_value, register_loss
from imagematch.losses.batch import Batch
from imagematch.losses.distances import DISTANCES
from imagematch.losses.miners import masked_max, masked_min
from imagematch.losses.reducers import count, mean_where
from imagematch.losses.triplets import TripletOptions


@register_loss(
    "triplet_hard",
    "The hardest positive and the hardest negative of each anchor (batch-hard).",
    source="Hermans et al., In Defense of the Triplet Loss for Person Re-Identification, 2017",
)
class TripletHard(TripletOptions, PairLoss):
    """Mean over anchors of hinge(margin + max D_ap - min D_an).

    Anchors without a positive or without a negative do not count; without any that does, the loss is 0. Equally hard
    ones share the gradient. Terms are the anchors that count; active are those with a violated margin.
    """

    def of(self, batch: Batch) -> LossValue:
        """The mean over the anchors of the batch that have a positive and a negative."""
        distances = DISTANCES[self.loss_distance](batch)
        counted = batch.has_positive & batch.has_negative
        violation = self.violation(masked_max(distances, batch.positive), masked_min(distances, batch.negative))
        loss = mean_where(self.hinge.cost(violation), counted)
        return loss_value(loss, count(counted & (violation > 0)), count(counted))
