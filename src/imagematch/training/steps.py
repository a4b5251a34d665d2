"""The training step: forward (with MixUp, in mixed precision), loss, gradients and update; many steps in one graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from imagematch.keras_internals import all_layers
from imagematch.losses import Loss, LossValue

_ALWAYS_FLOAT32 = ("whitening", "unit_norm")
"""Layers of the head that compute in float32 whatever the precision."""


def compiled_steps(
    model: keras.Model,
    loss: Loss,
    optimizer: keras.optimizers.Optimizer,
    variables: list[Any],
    *,
    precision: str = "float32",
    lr_multipliers: Sequence[float] = (),
) -> Callable[..., Any]:
    """Compiles a function that trains on a chunk of steps.

    Args:
        model: inputs (batch, ...) -> embeddings (batch, embedding_dim).
        loss: of embeddings and labels.
        optimizer: built for `variables`.
        variables: what is trained.
        precision: "float32" or "bfloat16", see `computing_in`.
        lr_multipliers: for each variable, what multiplies its learning rate, at least 0; empty is 1 for all. The
            optimiser's update is scaled, which is what a learning rate of its own would do.

    Returns:
        A function of inputs (steps, batch, ...), labels (steps, batch) integers, learning rates (steps,) float32 and,
        for MixUp, shares (steps,) float32. It returns (3,) float32: the sums over the steps of the loss and of the
        active share, and the number of steps in which the loss had no term.
    """
    scaled = [(variable, scale) for variable, scale in zip(variables, lr_multipliers, strict=False) if scale != 1]

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
                    value = mixup_loss(embed, loss, batch, labels[step], shares[step])
                total = tf.add_n([value.loss, *model.losses])
            before = [tf.convert_to_tensor(variable) for variable, _ in scaled]
            optimizer.apply(tape.gradient(total, variables), variables)
            for (variable, scale), old in zip(scaled, before, strict=True):
                variable.assign(old + scale * (tf.convert_to_tensor(variable) - old))
            totals += tf.stack([tf.cast(part, tf.float32) for part in (value.loss, value.active, value.terms == 0)])
        return totals

    return run_steps


def mixup_loss(embed: Callable[[Any], Any], loss: Loss, inputs: Any, labels: Any, share: Any) -> LossValue:
    """The loss of a batch blended with itself in reverse order: in a batch by classes, with images of other classes.

    For a loss that is a mean over images, this is the loss with blended labels. Proxy-Anchor is not: each of its
    proxies takes the logarithm of a sum over images, so the blend of its losses with either label is minimised instead.
    The inputs of the trained model are blended: images, or cached features.

    Args:
        embed: inputs -> embeddings (batch, embedding_dim).
        loss: of embeddings and labels.
        inputs: (batch, ...) floats.
        labels: (batch,) integers.
        share: scalar, 0 to 1, of the batch in its own order.

    Source: Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018; one share for a batch, as in the BiT code.
    """
    embeddings = embed(share * inputs + (1 - share) * tf.reverse(inputs, [0]))
    own, other = loss(embeddings, labels), loss(embeddings, tf.reverse(labels, [0]))
    return LossValue(
        share * own.loss + (1 - share) * other.loss, share * own.active + (1 - share) * other.active, own.terms
    )


@contextmanager
def computing_in(precision: str, model: keras.Model) -> Iterator[None]:
    """In the block, the layers of `model` compute in a precision; weights stay float32, and traced graphs keep theirs.

    The embeddings are float32 in any case, and so are the whitening of features, which takes small differences of large
    numbers, and the norms: batch norms cast up by themselves. Whether bfloat16 is faster depends on the processor and
    on the layers' widths: see benchmarks/head_epoch.py. Outside, the same model embeds in float32, as the matcher will.

    Args:
        precision: "float32" or "bfloat16".
        model: any, nested or not.
    """
    if precision == "float32":
        yield
        return
    layers = [layer for layer in all_layers(model) if layer.name not in _ALWAYS_FLOAT32]
    before = [layer.dtype_policy for layer in layers]
    try:
        for layer in layers:
            layer.dtype_policy = f"mixed_{precision}"
        yield
    finally:
        for layer, policy in zip(layers, before, strict=True):
            layer.dtype_policy = policy
