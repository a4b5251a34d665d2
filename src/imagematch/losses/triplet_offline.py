"""Triplet loss over triplets that were drawn beforehand: the batch is their anchors, positives and negatives."""

from __future__ import annotations

from imagematch.losses.base import Loss, LossValue, as_float, loss_value, register_loss
from imagematch.losses.distances import root
from imagematch.losses.lazy import tf
from imagematch.losses.reducers import count, mean_where
from imagematch.losses.triplets import TripletOptions


@register_loss(
    "triplet_offline",
    "Triplets that are drawn from the whole training set before each epoch.",
    source="Schroff et al., FaceNet, 2015, whose loss it is; `draw_triplets` chooses the triplets",
)
class TripletOffline(TripletOptions, Loss):
    """Mean over the batch's triplets (a, p, n) of hinge(margin + D_ap - D_an).

    The images come as a, p, n, a, p, n, ... A triplet whose labels do not make it one, and images left over at the
    end, do not count. Terms are triplets; active are those with a violated margin. 0 without a triplet.
    """

    kind = "offline"

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
        violation = self.violation(to_positive, to_negative)
        loss = mean_where(self.hinge.cost(violation), counted)
        return loss_value(loss, count(counted & (violation > 0)), count(counted))

    def _distance(self, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        squared = tf.reduce_sum((a - b) ** 2, 1)
        return root(squared) if self.loss_distance == "euclidean" else squared
