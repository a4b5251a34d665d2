"""CosFace: the normalised softmax with a margin on the cosine."""

from __future__ import annotations

import tensorflow as tf

from imagematch.losses.base import LossValue
from imagematch.losses.proxies import ProxyLoss, at_labels, cross_entropy, with_at_labels


class CosFace(ProxyLoss):
    """Mean over images of -log softmax(scale (cos - margin at the image's class))[class].

    Args:
        n_classes: number of training classes.
        embedding_dim: length of an embedding.
        scale: what cosines are multiplied by, over 0.
        margin: what the cosine to the image's own class is lowered by.
        seed: fixes the initial proxies.

    Source: Wang et al., CosFace: Large Margin Cosine Loss for Deep Face Recognition, 2018, equation 4.
    """

    def __init__(
        self, *, n_classes: int, embedding_dim: int, scale: float = 64.0, margin: float = 0.35, seed: int = 0
    ) -> None:
        super().__init__(n_classes=n_classes, embedding_dim=embedding_dim, seed=seed)
        self._scale = scale
        self._margin = margin

    def of(self, cosines: tf.Tensor, labels: tf.Tensor) -> LossValue:
        """The mean over the images."""
        own = at_labels(cosines, labels) - self._margin
        return cross_entropy(self._scale * with_at_labels(cosines, labels, own), labels)
