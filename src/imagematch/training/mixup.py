"""MixUp: inputs blended two by two, and the loss blended over both labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from imagematch.config import PROXY_LOSSES, TrainSettings
from imagematch.losses import Loss, LossValue
from imagematch.training.bit_hyperrule import mixup_alpha


def mixup_shares(settings: TrainSettings, epoch: int, steps: int, images: int) -> np.ndarray | None:
    """(steps,) float32, each batch's share of its own inputs in the blend; None where nothing is blended.

    Only the BiT-HyperRule blends, from 20,000 images, and only with class proxies: a blend of two classes makes
    neither a genuine nor an impostor pair, so losses over pairs go without.
    """
    alpha = mixup_alpha(images)
    if settings.lr_schedule != "bit_hyperrule" or settings.loss not in PROXY_LOSSES or alpha == 0:
        return None
    random = np.random.default_rng((settings.training_seed, epoch))
    return random.beta(alpha, alpha, steps).astype(np.float32)


def mixed_value(embed: Callable[[Any], Any], loss: Loss, inputs: Any, labels: Any, share: Any) -> LossValue:
    """The loss of a batch blended with itself in reverse order: in a batch by classes, with images of other classes.

    For a loss that is a mean over images this is the loss of the blended labels. Proxy-Anchor is none: each proxy takes
    the logarithm of a sum over images, and what is minimised is the blend of its losses with either label. What is
    blended is what the trained model takes: images, or kept features.

    Args:
        embed: inputs -> embeddings (batch, dim).
        loss: over embeddings and labels.
        inputs: (batch, ...) floats.
        labels: (batch,) integers.
        share: scalar, 0 to 1.

    Source: Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018; one share for a batch, as in the BiT code.
    """
    embeddings = embed(share * inputs + (1 - share) * tf.reverse(inputs, [0]))
    own, other = loss(embeddings, labels), loss(embeddings, tf.reverse(labels, [0]))
    return LossValue(
        share * own.loss + (1 - share) * other.loss, share * own.active + (1 - share) * other.active, own.terms
    )
