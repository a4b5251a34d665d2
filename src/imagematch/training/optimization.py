"""The optimiser and its learning-rate schedule, as the settings name them."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from imagematch.config import TrainSettings
from imagematch.training.bit_hyperrule import rate_share

_WARM_UP_SHARE = 0.05
_RAMP_EPOCHS = 5
_RAMP_DECAY = 0.8
_FLOOR_SHARE = 0.01


def learning_rates(settings: TrainSettings, epoch: int, steps: int, images: int) -> np.ndarray:
    """(steps,) float32: the learning rate of each step of an epoch, counted from 0, over so many training images."""
    if settings.lr_schedule == "bit_hyperrule":
        rates = [settings.learning_rate * rate_share(epoch * steps + step, images) for step in range(steps)]
    else:
        rates = [learning_rate_at(settings, epoch + step / steps) for step in range(steps)]
    return np.array(rates, dtype=np.float32)


def learning_rate_at(settings: TrainSettings, epoch: float) -> float:
    """Learning rate after `epoch` epochs (fractions count).

    `constant`; `cosine`: linear warm-up over the first 5 % of the epochs, then half a cosine to 0 (Loshchilov and
    Hutter, SGDR, 2017); `ramp_sustain_decay`: linear over 5 epochs from 1 % of the rate to all of it, then x 0.8
    each epoch, towards 1 %. What goes by steps, `bit_hyperrule`, is in `learning_rates`.
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


class _FusedUpdate:
    """Adam's update of a variable in one pass over memory: Keras's own takes a dozen, a tenth of a head's step."""

    def update_step(self: Any, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Adam as Keras computes it."""
        momentum, velocity = (
            slots[self._get_variable_index(variable)] for slots in (self._momentums, self._velocities)
        )
        step = tf.cast(self.iterations + 1, variable.dtype)
        beta_1, beta_2 = (tf.cast(beta, variable.dtype) for beta in (self.beta_1, self.beta_2))
        tf.raw_ops.ResourceApplyAdam(
            var=_handle(variable),
            m=_handle(momentum),
            v=_handle(velocity),
            beta1_power=beta_1**step,
            beta2_power=beta_2**step,
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.cast(self.epsilon, variable.dtype),
            grad=tf.cast(tf.convert_to_tensor(gradient), variable.dtype),
        )


def _handle(variable: keras.Variable | tf.Variable) -> Any:
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle


class FusedAdam(_FusedUpdate, keras.optimizers.Adam):
    """Adam."""


class FusedAdamW(_FusedUpdate, keras.optimizers.AdamW):
    """Adam with decoupled weight decay."""


def make_optimizer(settings: TrainSettings) -> keras.optimizers.Optimizer:
    """The optimiser; weight decay (decoupled) spares biases, norms and proxies.

    The gradients of everything that is trained are scaled down together where their global norm is over
    `gradient_clipping`.
    """
    options: dict[str, Any] = {
        "weight_decay": settings.weight_decay or None,
        "global_clipnorm": settings.gradient_clipping,
    }
    if settings.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(settings.learning_rate, momentum=0.9, **options)
    elif settings.optimizer == "adamw":
        options["weight_decay"] = settings.weight_decay
        optimizer = FusedAdamW(settings.learning_rate, **options)
    else:
        optimizer = FusedAdam(settings.learning_rate, **options)
    if settings.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "proxies"])
    return optimizer
