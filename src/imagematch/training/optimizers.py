"""The optimiser that the settings name, with Adam's update in one operation."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from imagematch.config import TrainSettings

_NOT_DECAYED = ["bias", "gamma", "beta", "proxies"]


class _FusedUpdate:
    """Updates a variable in one pass over memory. Keras's own Adam takes a dozen passes, a tenth of a head's step."""

    def update_step(self: Any, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Adam, as Keras computes it."""
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
    """The optimiser: Adam, AdamW, or SGD with momentum 0.9.

    Weight decay is decoupled and spares biases, norms and proxies. Where the global norm of all gradients exceeds
    `gradient_clipping`, all are scaled down to it.

    Args:
        settings: `optimizer`, `learning_rate`, `weight_decay` and `gradient_clipping`.
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
        optimizer.exclude_from_weight_decay(var_names=_NOT_DECAYED)
    return optimizer
