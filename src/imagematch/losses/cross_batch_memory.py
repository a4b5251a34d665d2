"""Cross-batch memory: the embeddings of earlier batches, as further references of any pair loss."""

from __future__ import annotations

from imagematch.losses.base import Loss, LossValue, PairLoss, as_float
from imagematch.losses.batch import Batch
from imagematch.losses.lazy import tf


class CrossBatchMemory(Loss):
    """A pair loss whose anchors are compared with their batch and with the last `size` embeddings before it.

    What is remembered is constant in the gradient, and is saved in checkpoints. With training=False nothing is
    compared with the memory, and nothing enters it.

    Args:
        loss: the pair loss.
        size: how many embeddings are remembered, at least 1; the oldest leave first.
        embedding_dim: length of an embedding.

    Source: Wang et al., Cross-Batch Memory for Embedding Learning, 2020. There is one sum over the memory, which has
    the batch in it; here the memory has the batches before. There the memory begins after some iterations without it,
    when embeddings drift more slowly; here it is used from the first step on, and fills up batch by batch.
    """

    def __init__(self, loss: PairLoss, size: int, embedding_dim: int) -> None:
        super().__init__()
        self._loss = loss
        self._size = size
        self._embeddings = tf.Variable(tf.zeros((size, embedding_dim)), trainable=False, name="memory")
        self._labels = tf.Variable(tf.zeros(size, tf.int64), trainable=False, name="memory_labels")
        self._seen = tf.Variable(0, dtype=tf.int64, trainable=False, name="seen")
        self.variables = (self._embeddings, self._labels, self._seen)

    def __call__(self, embeddings: tf.Tensor, labels: tf.Tensor, *, training: bool = True) -> LossValue:
        """The pair loss of the batch against itself and, in training, the memory, which the batch then enters."""
        if not training:
            return self._loss(embeddings, labels, training=False)
        embeddings, labels = as_float(embeddings), tf.cast(labels, tf.int64)
        filled = tf.minimum(self._seen, self._size)
        memory = tf.cast(self._embeddings[:filled], embeddings.dtype)
        value = self._loss.of(Batch(embeddings, labels, memory, self._labels[:filled]))
        # The values are read before the memory changes: a graph keeps the order of reads and writes of a variable.
        self._remember(tf.stop_gradient(embeddings), labels)
        return value

    def _remember(self, embeddings: tf.Tensor, labels: tf.Tensor) -> None:
        newest = tf.cast(embeddings[-self._size :], tf.float32)
        count = tf.shape(newest, tf.int64)[0]
        slots = (self._seen + tf.range(count)) % self._size
        self._embeddings.scatter_nd_update(slots[:, None], newest)
        self._labels.scatter_nd_update(slots[:, None], labels[-self._size :])
        self._seen.assign_add(count)
