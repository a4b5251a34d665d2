"""The BiT-HyperRule: how long to train, at which rate, and whether with MixUp, by the number of training images."""

from __future__ import annotations

import math

import numpy as np

from imagematch.config import TrainSettings
from imagematch.training.batches import plan_batches

_SMALL, _MEDIUM = 20_000, 500_000
_MIXUP_ALPHA = 0.1


def settings_in_force(settings: TrainSettings, labels: np.ndarray) -> TrainSettings:
    """`settings` with the rule's length where they ask for the rule: whole epochs, the last rounded up, all of them.

    Args:
        settings: `lr_schedule` and the batches are looked at.
        labels: (n,) class of every training image.

    Raises:
        DataError: as `plan_batches`.
    """
    if settings.lr_schedule != "bit_hyperrule":
        return settings
    epochs = math.ceil(_supports(len(labels))[-1] / plan_batches(settings, labels, 0).steps)
    return settings.model_copy(update={"epochs": epochs, "early_stopping_patience": epochs})


def rate_share(step: int, images: int) -> float:
    """The share of `learning_rate` in a step, counted from 0: a linear warm-up, then a tenth after each support."""
    warm_up, *decays, _ = _supports(images)
    if step < warm_up:
        return step / warm_up
    return 0.1 ** sum(step > decay for decay in decays)


def mixup_alpha(images: int) -> float:
    """What MixUp's shares are drawn from, Beta(alpha, alpha); 0 is no MixUp."""
    return 0.0 if images < _SMALL else _MIXUP_ALPHA


def _supports(images: int) -> tuple[int, ...]:
    """The steps at which the warm-up ends, at which the rate falls to a tenth, and at which training ends.

    The numbers are those of the authors' code, whatever the batch (theirs is 512, with SGD at 0.003). Their rule also
    chooses the resolution, which here is the extractor's: features are kept.

    Source: Kolesnikov et al., Big Transfer (BiT): General Visual Representation Learning, 2020, the BiT-HyperRule;
    bit_hyperrule.py in the authors' code.
    """
    if images < _SMALL:
        return (100, 200, 300, 400, 500)
    if images < _MEDIUM:
        return (500, 3_000, 6_000, 9_000, 10_000)
    return (500, 6_000, 12_000, 18_000, 20_000)
