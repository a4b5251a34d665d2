"""ArcFace: the normalised softmax with a margin on the angle."""

from __future__ import annotations

import math

from imagematch.losses.base import LossValue, cosine_scale, register_loss
from imagematch.losses.distances import root
from imagematch.losses.lazy import tf
from imagematch.losses.proxies import ProxyLoss, at_labels, cross_entropy, with_at_labels
from imagematch.options import number


@register_loss(
    "arcface",
    "The normalised softmax with a margin on the angle.",
    source="Deng et al., ArcFace: Additive Angular Margin Loss for Deep Face Recognition, 2019, equation 3",
)
class ArcFace(ProxyLoss):
    """Mean over images of -log softmax(scale cos(t + angle at the image's class))[class], t the angle to the class.

    Beyond t + angle = 180 degrees the cosine would rise again; there cos t - angle sin(angle) goes on falling, as in
    the authors' code.
    """

    scale: float = cosine_scale(64.0, "the authors' code")
    angle: float = number(0.5, 0, 1.57, "The margin on the angle, in radians.", source="the authors' code")

    def of(self, cosines: tf.Tensor, labels: tf.Tensor) -> LossValue:
        """The mean over the images."""
        cosine = at_labels(cosines, labels)
        sine = root(tf.nn.relu(1 - cosine**2))
        # cos(t + angle) = cos t cos(angle) - sin t sin(angle)
        turned = cosine * math.cos(self.angle) - sine * math.sin(self.angle)
        beyond = cosine - self.angle * math.sin(self.angle)
        own = tf.where(cosine > -math.cos(self.angle), turned, beyond)
        return cross_entropy(self.scale * with_at_labels(cosines, labels, own), labels)
