"""ArcFace: the normalised softmax with a margin on the angle."""

from __future__ import annotations

import math

import tensorflow as tf

from imagematch.losses.base import LossValue
from imagematch.losses.distances import root
from imagematch.losses.proxies import ProxyLoss, at_labels, cross_entropy, with_at_labels


class ArcFace(ProxyLoss):
    """Mean over images of -log softmax(scale cos(t + angle at the image's class))[class], t the angle to the class.

    Beyond t + angle = 180 degrees the cosine would rise again; there cos t - angle sin(angle) goes on falling, as in
    the authors' code.

    Args:
        n_classes: number of training classes.
        embedding_dim: length of an embedding.
        scale: what cosines are multiplied by, over 0.
        angle: margin in radians, 0 to pi / 2.
        seed: fixes the initial proxies.

    Source: Deng et al., ArcFace: Additive Angular Margin Loss for Deep Face Recognition, 2019, equation 3.
    """

    def __init__(
        self, *, n_classes: int, embedding_dim: int, scale: float = 64.0, angle: float = 0.5, seed: int = 0
    ) -> None:
        super().__init__(n_classes=n_classes, embedding_dim=embedding_dim, seed=seed)
        self._scale = scale
        self._angle = angle

    def of(self, cosines: tf.Tensor, labels: tf.Tensor) -> LossValue:
        """The mean over the images."""
        cosine = at_labels(cosines, labels)
        sine = root(tf.nn.relu(1 - cosine**2))
        # cos(t + angle) = cos t cos(angle) - sin t sin(angle)
        turned = cosine * math.cos(self._angle) - sine * math.sin(self._angle)
        beyond = cosine - self._angle * math.sin(self._angle)
        own = tf.where(cosine > -math.cos(self._angle), turned, beyond)
        return cross_entropy(self._scale * with_at_labels(cosines, labels, own), labels)
