"""What changes from step to step: the learning rate and MixUp's shares; the BiT-HyperRule. Needs no TensorFlow."""

from __future__ import annotations

import math

import numpy as np

from imagematch.config import PROXY_LOSSES, TrainSettings
from imagematch.training.batches import plan_batches

_WARM_UP_SHARE = 0.05
_RAMP_EPOCHS = 5
_RAMP_DECAY = 0.8
_FLOOR_SHARE = 0.01
_SMALL, _MEDIUM = 20_000, 500_000
_MIXUP_ALPHA = 0.1


def learning_rates(settings: TrainSettings, epoch: int, steps: int, images: int) -> np.ndarray:
    """The learning rate of each step of an epoch.

    Args:
        settings: `lr_schedule`, `learning_rate` and `epochs`.
        epoch: counted from 0, within the stage.
        steps: in an epoch.
        images: training images.

    Returns:
        (steps,) float32.
    """
    if settings.lr_schedule == "bit_hyperrule":
        rates = [settings.learning_rate * hyperrule_multiplier(epoch * steps + step, images) for step in range(steps)]
    else:
        rates = [learning_rate_at(settings, epoch + step / steps) for step in range(steps)]
    return np.array(rates, dtype=np.float32)


def learning_rate_at(settings: TrainSettings, epoch: float) -> float:
    """The learning rate after `epoch` epochs (fractions count), for the schedules that go by epochs.

    - `constant`.
    - `cosine`: linear warm-up over the first 5 % of the epochs, then half a cosine down to 0.
    - `ramp_sustain_decay`: linear over 5 epochs from 1 % of the rate to all of it, then x 0.8 each epoch, towards 1 %.

    `bit_hyperrule` goes by steps: see `hyperrule_multiplier`.

    Source: Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017 (cosine).
    """
    peak = settings.learning_rate
    if settings.lr_schedule == "cosine":
        warm_up = _WARM_UP_SHARE * settings.epochs
        if epoch < warm_up:
            return peak * epoch / warm_up
        done = min(1.0, (epoch - warm_up) / max(settings.epochs - warm_up, 1e-9))
        return 0.5 * peak * (1.0 + math.cos(math.pi * done))
    if settings.lr_schedule == "ramp_sustain_decay":
        floor = _FLOOR_SHARE * peak
        if epoch < _RAMP_EPOCHS:
            return floor + (peak - floor) * epoch / _RAMP_EPOCHS
        return floor + (peak - floor) * _RAMP_DECAY ** (epoch - _RAMP_EPOCHS)
    return peak


def mixup_shares(settings: TrainSettings, epoch: int, steps: int, images: int) -> np.ndarray | None:
    """Each batch's share of its own inputs in the MixUp blend.

    Only the BiT-HyperRule blends, from 20,000 images on, and only with class proxies: a blend of two classes forms
    neither a genuine nor an impostor pair, so losses over pairs cannot use it.

    Args:
        settings: `lr_schedule`, `loss` and the training seed.
        epoch: counted from 0, within the stage.
        steps: in an epoch.
        images: training images.

    Returns:
        (steps,) float32, 0 to 1; None where nothing is blended.
    """
    alpha = mixup_alpha(images)
    if settings.lr_schedule != "bit_hyperrule" or settings.loss not in PROXY_LOSSES or alpha == 0:
        return None
    random = np.random.default_rng((settings.training_seed, epoch))
    return random.beta(alpha, alpha, steps).astype(np.float32)


def settings_in_force(settings: TrainSettings, labels: np.ndarray) -> TrainSettings:
    """`settings`, with the length of the BiT-HyperRule where `lr_schedule` selects it.

    The rule's steps become whole epochs, rounded up, without early stopping.

    Args:
        settings: of a stage.
        labels: (n,) class of every training image.

    Raises:
        DataError: as `plan_batches`.
    """
    if settings.lr_schedule != "bit_hyperrule":
        return settings
    epochs = math.ceil(_supports(len(labels))[-1] / plan_batches(settings, labels, 0).steps)
    return settings.model_copy(update={"epochs": epochs, "early_stopping_patience": epochs})


def hyperrule_multiplier(step: int, images: int) -> float:
    """What the BiT-HyperRule multiplies `learning_rate` by, 0 to 1: a linear warm-up, then a tenth after each support.

    Args:
        step: counted from 0, within the stage.
        images: training images.
    """
    warm_up, *decays, _ = _supports(images)
    if step < warm_up:
        return step / warm_up
    return 0.1 ** sum(step > decay for decay in decays)


def mixup_alpha(images: int) -> float:
    """The BiT-HyperRule's alpha: MixUp's shares are drawn from Beta(alpha, alpha). 0 means no MixUp."""
    return 0.0 if images < _SMALL else _MIXUP_ALPHA


def _supports(images: int) -> tuple[int, ...]:
    """The steps at which the warm-up ends, at which the rate falls to a tenth, and at which training ends.

    The numbers are those of the authors' code, whatever the batch size (theirs is 512, with SGD at 0.003). Their rule
    also chooses the image size, which here the extractor determines, since features are cached.

    Source: Kolesnikov et al., Big Transfer (BiT): General Visual Representation Learning, 2020, the BiT-HyperRule;
    bit_hyperrule.py in the authors' code.
    """
    if images < _SMALL:
        return (100, 200, 300, 400, 500)
    if images < _MEDIUM:
        return (500, 3_000, 6_000, 9_000, 10_000)
    return (500, 6_000, 12_000, 18_000, 20_000)
