"""Triplet loss over triplets that were drawn beforehand: the batch is their anchors, positives and negatives."""

from __future__ import annotations

import tensorflow as tf

from imagematch.losses.base import Loss, LossValue, as_float, loss_value
from imagematch.losses.distances import root
from imagematch.losses.hinges import HINGES
from imagematch.losses.reducers import count, mean_where


class TripletOffline(Loss):
    """Mean over the batch's triplets (a, p, n) of hinge(margin + D_ap - D_an).

    The images come as a, p, n, a, p, n, ... A triplet whose labels do not make it one, and images left over at the
    end, do not count. Terms are triplets; active are those with a violated margin. 0 without a triplet.

    Args:
        margin: what the negative has to be further away by than the positive; None is 0.2 with the hinge, 0 with
            softplus.
        loss_distance: D, "euclidean" or "squared_euclidean".
        triplet_hinge: "hinge", max(0, x), or "softplus", log(1 + exp(x)), which needs no margin.

    Source: Schroff et al., FaceNet, 2015, whose loss it is; `draw_triplets` is the choice of triplets.
    """

    def __init__(
        self, *, margin: float | None = None, loss_distance: str = "euclidean", triplet_hinge: str = "hinge"
    ) -> None:
        super().__init__()
        self._root = root if loss_distance == "euclidean" else tf.identity
        self._hinge = HINGES[triplet_hinge]
        self._margin = self._hinge.margin if margin is None else margin

    def __call__(self, embeddings: tf.Tensor, labels: tf.Tensor, *, training: bool = True) -> LossValue:  # noqa: ARG002
        """The mean over the triplets of the batch."""
        embeddings, labels = as_float(embeddings), tf.convert_to_tensor(labels)
        whole = tf.shape(labels)[0] // 3 * 3
        anchor, positive, negative = tf.unstack(
            tf.reshape(embeddings[:whole], [-1, 3, tf.shape(embeddings)[1]]), axis=1
        )
        own, same, other = tf.unstack(tf.reshape(labels[:whole], [-1, 3]), axis=1)
        counted = (own == same) & (own != other)
        to_positive, to_negative = self._distance(anchor, positive), self._distance(anchor, negative)
        violation = self._margin + to_positive - to_negative
        loss = mean_where(self._hinge.cost(violation), counted)
        return loss_value(loss, count(counted & (violation > 0)), count(counted))

    def _distance(self, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        return self._root(tf.reduce_sum((a - b) ** 2, 1))
