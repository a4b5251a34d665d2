"""Normalised softmax: the classifier whose class weights are directions, cut off at the embedding afterwards."""

from __future__ import annotations

from imagematch.losses.base import LossValue, register_loss, temperature_of
from imagematch.losses.lazy import tf
from imagematch.losses.proxies import ProxyLoss, cross_entropy


@register_loss(
    "normalised_softmax",
    "The softmax over cosines to one proxy a class.",
    source="Zhai and Wu, Classification is a Strong Baseline for Deep Metric Learning, 2019",
)
class NormalisedSoftmax(ProxyLoss):
    """Mean over images of -log softmax(cos / temperature)[class]."""

    temperature: float = temperature_of(0.05, "the authors' code")

    def of(self, cosines: tf.Tensor, labels: tf.Tensor) -> LossValue:
        """The mean over the images."""
        return cross_entropy(cosines / self.temperature, labels)
