"""Triplet loss over all valid triplets of a batch."""

from __future__ import annotations

import tensorflow as tf

from imagematch.losses.base import LossValue, PairLoss, loss_value
from imagematch.losses.batch import Batch
from imagematch.losses.distances import DISTANCES
from imagematch.losses.hinges import HINGES
from imagematch.losses.miners import PairBlock, sum_over_positive_pairs
from imagematch.losses.reducers import share

_ACTIVE_ABOVE = 1e-16


class TripletAll(PairLoss):
    """Sum over all triplets (a, p, n) of hinge(margin + D_ap - D_an), divided by the number of those above 1e-16.

    With the hinge that is the mean of the active ones, which hovers about the margin while training goes well: watch
    the active share. With softplus every triplet is above 0, so it is the mean of all. Terms are triplets. 0 without
    a triplet.

    Args:
        margin: what the negative has to be further away by than the positive; None is 0.2 with the hinge, 0 with
            softplus.
        loss_distance: D, "euclidean" or "squared_euclidean".
        triplet_hinge: "hinge", max(0, x), or "softplus", log(1 + exp(x)), which needs no margin.

    Source: Hermans et al., In Defense of the Triplet Loss, 2017, with the mean over the non-zero terms.
    """

    def __init__(
        self, *, margin: float | None = None, loss_distance: str = "euclidean", triplet_hinge: str = "hinge"
    ) -> None:
        super().__init__()
        self._distance = DISTANCES[loss_distance]
        self._hinge = HINGES[triplet_hinge]
        self._margin = self._hinge.margin if margin is None else margin
        self._only_active = triplet_hinge == "hinge"

    def of(self, batch: Batch) -> LossValue:
        """The mean over the active triplets of the batch."""

        def block(_: tf.Tensor, positive: tf.Tensor, negatives: tf.Tensor) -> PairBlock:
            violation = self._margin + positive[:, None] - negatives
            slopes = self._hinge.slope(violation)
            active = tf.reduce_sum(tf.cast(violation > _ACTIVE_ABOVE, slopes.dtype))
            return PairBlock(tf.reduce_sum(self._hinge.cost(violation)), active, tf.reduce_sum(slopes, 1), -slopes)

        cost, active, _ = sum_over_positive_pairs(self._distance(batch), batch, block)
        positives = tf.reduce_sum(tf.cast(batch.positive, cost.dtype), 1)
        negatives = tf.reduce_sum(tf.cast(batch.negative, cost.dtype), 1)
        terms = tf.reduce_sum(positives * negatives)
        return loss_value(share(cost, active if self._only_active else terms), active, terms)
