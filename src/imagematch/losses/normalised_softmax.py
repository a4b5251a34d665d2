"""Normalised softmax: the classifier whose class weights are directions, cut off at the embedding afterwards."""

from __future__ import annotations

import tensorflow as tf

from imagematch.losses.base import LossValue
from imagematch.losses.proxies import ProxyLoss, cross_entropy


class NormalisedSoftmax(ProxyLoss):
    """Mean over images of -log softmax(cos / temperature)[class].

    Args:
        n_classes: number of training classes.
        embedding_dim: length of an embedding.
        temperature: over 0.
        seed: fixes the initial proxies.

    Source: Zhai and Wu, Classification is a Strong Baseline for Deep Metric Learning, 2019, and its
    authors' code.
    """

    def __init__(self, *, n_classes: int, embedding_dim: int, temperature: float = 0.05, seed: int = 0) -> None:
        super().__init__(n_classes=n_classes, embedding_dim=embedding_dim, seed=seed)
        self._temperature = temperature

    def of(self, cosines: tf.Tensor, labels: tf.Tensor) -> LossValue:
        """The mean over the images."""
        return cross_entropy(cosines / self._temperature, labels)
