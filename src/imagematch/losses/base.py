"""What every loss is: embeddings and labels in, a value with its activity out."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from imagematch.losses.batch import Batch


class LossValue(NamedTuple):
    """What a loss says about one batch; three scalar tensors.

    Attributes:
        loss: what is minimised, in the precision the loss was computed in.
        active: share of the terms that still pull, float32 in 0..1: above the margin where there is one, else those
            whose right answer has less than half of the probability. 0 where there is no term.
        terms: float32, number of the terms (anchors, pairs, triplets, images: each loss says which).
    """

    loss: tf.Tensor
    active: tf.Tensor
    terms: tf.Tensor


class Loss(tf.Module):
    """A loss over a labelled batch. `tf.train.Checkpoint(loss=loss)` keeps what it has learnt or remembers.

    Its `name` is its name in the registry, which is that of its module.
    """

    def __init__(self) -> None:
        super().__init__(name=type(self).__module__.rpartition(".")[2])

    def __call__(self, embeddings: tf.Tensor, labels: tf.Tensor, *, training: bool = True) -> LossValue:
        """The loss of a batch.

        Args:
            embeddings: (batch, dim), L2-normalised; half precision is cast up to float32.
            labels: (batch,) integers.
            training: False leaves what the loss remembers from batch to batch as it is.
        """
        raise NotImplementedError


class PairLoss(Loss):
    """A loss over pairs or triplets of a batch; it has no variables, and labels are only compared with each other."""

    def __call__(self, embeddings: tf.Tensor, labels: tf.Tensor, *, training: bool = True) -> LossValue:  # noqa: ARG002
        """The loss of a batch compared with itself."""
        return self.of(Batch(as_float(embeddings), labels))

    def of(self, batch: Batch) -> LossValue:
        """The loss of the batch's anchors against its references."""
        raise NotImplementedError


def as_float(embeddings: tf.Tensor) -> tf.Tensor:
    """`embeddings` in at least float32."""
    embeddings = tf.convert_to_tensor(embeddings)
    return embeddings if embeddings.dtype == tf.float64 else tf.cast(embeddings, tf.float32)


def loss_value(loss: tf.Tensor, active: tf.Tensor, terms: tf.Tensor) -> LossValue:
    """The value from the number of active terms and of all terms (either may be an integer or a float tensor)."""
    terms = tf.cast(terms, tf.float32)
    return LossValue(loss, tf.math.divide_no_nan(tf.cast(active, tf.float32), terms), terms)
