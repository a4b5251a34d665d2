"""CosFace: the normalised softmax with a margin on the cosine."""

from __future__ import annotations

from imagematch.losses.base import LossValue, cosine_scale, register_loss
from imagematch.losses.lazy import tf
from imagematch.losses.proxies import ProxyLoss, at_labels, cross_entropy, with_at_labels
from imagematch.options import number


@register_loss(
    "cosface",
    "The normalised softmax with a margin on the cosine.",
    source="Wang et al., CosFace: Large Margin Cosine Loss for Deep Face Recognition, 2018, equation 4",
)
class CosFace(ProxyLoss):
    """Mean over images of -log softmax(scale (cos - margin at the image's class))[class]."""

    scale: float = cosine_scale(64.0, "the paper, section 4.1")
    margin: float = number(
        0.35,
        0,
        100,
        "What the cosine to the image's own class is lowered by.",
        source="PML and catalyst; the paper tries 0.25 to 0.45, according to PML",
    )

    def of(self, cosines: tf.Tensor, labels: tf.Tensor) -> LossValue:
        """The mean over the images."""
        own = at_labels(cosines, labels) - self.margin
        return cross_entropy(self.scale * with_at_labels(cosines, labels, own), labels)
