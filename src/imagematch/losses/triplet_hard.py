"""Triplet loss with the hardest positive and the hardest negative of each anchor ("batch-hard")."""

from __future__ import annotations

from imagematch.losses.base import LossValue, PairLoss, loss_value
from imagematch.losses.batch import Batch
from imagematch.losses.distances import DISTANCES
from imagematch.losses.hinges import HINGES
from imagematch.losses.miners import furthest, nearest
from imagematch.losses.reducers import count, mean_where


class TripletHard(PairLoss):
    """Mean over anchors of hinge(margin + max D_ap - min D_an).

    Anchors without a positive or without a negative do not count; without any that does, the loss is 0. Equally hard
    ones share the gradient. Terms are the anchors that count; active are those with a violated margin.

    Args:
        margin: what the nearest negative has to be further away by; None is 0.2 with the hinge, 0 with softplus.
        loss_distance: D, "euclidean" or "squared_euclidean".
        triplet_hinge: "hinge", max(0, x), or "softplus", log(1 + exp(x)), which needs no margin.

    Source: Hermans et al., In Defense of the Triplet Loss for Person Re-Identification, 2017.
    """

    def __init__(
        self, *, margin: float | None = None, loss_distance: str = "euclidean", triplet_hinge: str = "hinge"
    ) -> None:
        super().__init__()
        self._distance = DISTANCES[loss_distance]
        self._hinge = HINGES[triplet_hinge]
        self._margin = self._hinge.margin if margin is None else margin

    def of(self, batch: Batch) -> LossValue:
        """The mean over the anchors of the batch that have a positive and a negative."""
        distances = self._distance(batch)
        counted = batch.has_positive & batch.has_negative
        violation = self._margin + furthest(distances, batch.positive) - nearest(distances, batch.negative)
        loss = mean_where(self._hinge.cost(violation), counted)
        return loss_value(loss, count(counted & (violation > 0)), count(counted))
