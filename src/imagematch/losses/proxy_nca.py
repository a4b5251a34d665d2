"""Proxy-NCA: the nearest proxy should be the image's own."""

from __future__ import annotations

from imagematch.losses.base import LossValue, register_loss, temperature_of
from imagematch.losses.lazy import tf
from imagematch.losses.proxies import ProxyLoss, cross_entropy


@register_loss(
    "proxy_nca",
    "The nearest proxy should be the image's own.",
    source="Teh et al., ProxyNCA++, 2020; after Movshovitz-Attias et al., No Fuss Distance Metric Learning Using "
    "Proxies, 2017",
)
class ProxyNCA(ProxyLoss):
    """Mean over images of -log(exp(-D^2 / T) of the own proxy / sum of exp(-D^2 / T) of all proxies).

    D^2 = 2 - 2 cos is the squared distance on the unit sphere. The own proxy is in the sum, as in ProxyNCA++, which
    keeps the loss over 0; the paper of 2017 leaves it out and has T = 1.
    """

    temperature: float = temperature_of(1 / 9, "the authors' code of ProxyNCA++; the paper of 2017 has none")

    def of(self, cosines: tf.Tensor, labels: tf.Tensor) -> LossValue:
        """The mean over the images."""
        return cross_entropy((2 * cosines - 2) / self.temperature, labels)
