"""A batch as losses see it: anchors, the references they are compared with, and who is a positive of whom."""

from __future__ import annotations

from imagematch.losses.lazy import tf


class Batch:
    """Anchors (A, dim) against references (R, dim): the anchors themselves, then what is remembered, if anything.

    Args:
        anchors: (A, dim) floats.
        labels: (A,) integers.
        memory: (R - A, dim) the references that are no anchors; None if there are none.
        memory_labels: (R - A,) integers of the same type.

    Attributes:
        positive: (A, R) bool: the same label, and not the anchor itself.
        negative: (A, R) bool: another label.
    """

    def __init__(
        self,
        anchors: tf.Tensor,
        labels: tf.Tensor,
        memory: tf.Tensor | None = None,
        memory_labels: tf.Tensor | None = None,
    ) -> None:
        labels = tf.convert_to_tensor(labels)
        self.anchors = anchors
        self.memory = memory
        others = labels if memory is None else tf.concat([labels, memory_labels], 0)
        same = labels[:, None] == others[None, :]
        self.negative = tf.logical_not(same)
        self.positive = tf.linalg.set_diag(same, tf.zeros_like(labels, tf.bool))

    @property
    def has_positive(self) -> tf.Tensor:
        """(A,) bool: whether an anchor has a positive."""
        return tf.reduce_any(self.positive, 1)

    @property
    def has_negative(self) -> tf.Tensor:
        """(A,) bool: whether an anchor has a negative."""
        return tf.reduce_any(self.negative, 1)

    def positive_pairs(self) -> tf.Tensor:
        """(P, 2) int64: each ordered pair of an anchor and a positive, sorted by anchor."""
        return tf.where(self.positive)
