"""Soft nearest neighbour loss: how likely a neighbour drawn by its distance is of the same class."""

from __future__ import annotations

from imagematch.losses.base import LossValue, PairLoss, loss_value, register_loss, temperature_of
from imagematch.losses.batch import Batch
from imagematch.losses.distances import squared_euclidean
from imagematch.losses.reducers import count, masked_logsumexp, mean_where


@register_loss(
    "soft_nearest_neighbour",
    "How likely a neighbour drawn by its distance is of the same class.",
    source="Frosst, Papernot and Hinton, Analyzing and Improving Representations with the Soft Nearest Neighbor Loss, "
    "2019",
)
class SoftNearestNeighbour(PairLoss):
    """Mean over anchors of -log(sum over positives of exp(-D^2 / T) / sum over all others of exp(-D^2 / T)).

    Anchors without a positive do not count. Terms are anchors; active are those whose positives have less than half
    of the probability.
    """

    temperature: float = temperature_of(1.0, "TensorFlow Similarity")

    def of(self, batch: Batch) -> LossValue:
        """The mean over the anchors of the batch that have a positive."""
        logits = -squared_euclidean(batch) / self.temperature
        positives = masked_logsumexp(logits, batch.positive)
        everyone = masked_logsumexp(logits, batch.positive | batch.negative)
        counted = batch.has_positive
        active = counted & (masked_logsumexp(logits, batch.negative) > positives)
        return loss_value(mean_where(everyone - positives, counted), count(active), count(counted))
