"""Proxy-NCA: the nearest proxy should be the image's own."""

from __future__ import annotations

import tensorflow as tf

from imagematch.losses.base import LossValue
from imagematch.losses.proxies import ProxyLoss, cross_entropy


class ProxyNCA(ProxyLoss):
    """Mean over images of -log(exp(-D^2 / T) of the own proxy / sum of exp(-D^2 / T) of all proxies).

    D^2 = 2 - 2 cos is the squared distance on the unit sphere. The own proxy is in the sum, as in ProxyNCA++, which
    keeps the loss over 0; the paper of 2017 leaves it out and has T = 1.

    Args:
        n_classes: number of training classes.
        embedding_dim: length of an embedding.
        temperature: T, over 0.
        seed: fixes the initial proxies.

    Source: Teh et al., ProxyNCA++, 2020; after Movshovitz-Attias et al., No Fuss Distance Metric
    Learning Using Proxies, 2017.
    """

    def __init__(self, *, n_classes: int, embedding_dim: int, temperature: float = 1 / 9, seed: int = 0) -> None:
        super().__init__(n_classes=n_classes, embedding_dim=embedding_dim, seed=seed)
        self._temperature = temperature

    def of(self, cosines: tf.Tensor, labels: tf.Tensor) -> LossValue:
        """The mean over the images."""
        return cross_entropy((2 * cosines - 2) / self._temperature, labels)
