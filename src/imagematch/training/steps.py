"""The training step: forward, loss, gradients and update, many steps in one graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from imagematch.losses import Loss
from imagematch.training.mixup import mixed_value
from imagematch.training.precision import computing_in


def compiled_steps(
    model: keras.Model,
    loss: Loss,
    optimizer: Any,
    variables: list[Any],
    *,
    precision: str = "float32",
    rate_shares: Sequence[float] = (),
) -> Callable[..., Any]:
    """A graph that trains on a chunk; gives the sums of loss and activity, and how many steps had no term of the loss.

    It takes inputs (steps, batch, ...), labels (steps, batch), learning rates (steps,) and, for MixUp, shares (steps,).
    Each variable moves by its share of what the optimiser would move it, which may be over 1: what a learning rate of
    its own would do.
    """
    own_rates = [(variable, share) for variable, share in zip(variables, rate_shares, strict=False) if share != 1]

    def embed(inputs: Any) -> Any:
        with computing_in(precision, model):
            return model(inputs, training=True)

    @tf.function(reduce_retracing=True)
    def run_steps(inputs: Any, labels: Any, rates: Any, shares: Any = None) -> Any:
        totals = tf.zeros(3)
        for step in tf.range(tf.shape(labels)[0]):
            optimizer.learning_rate.assign(rates[step])
            with tf.GradientTape() as tape:
                batch = tf.cast(inputs[step], tf.float32)
                if shares is None:
                    value = loss(embed(batch), labels[step])
                else:
                    value = mixed_value(embed, loss, batch, labels[step], shares[step])
                total = tf.add_n([value.loss, *model.losses])
            before = [tf.convert_to_tensor(variable) for variable, _ in own_rates]
            optimizer.apply(tape.gradient(total, variables), variables)
            for (variable, share), old in zip(own_rates, before, strict=True):
                variable.assign(old + share * (tf.convert_to_tensor(variable) - old))
            totals += tf.stack([tf.cast(part, tf.float32) for part in (value.loss, value.active, value.terms == 0)])
        return totals

    return run_steps
