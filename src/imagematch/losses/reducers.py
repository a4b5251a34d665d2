"""From many terms to one number, with 0 and a finite gradient where there is no term."""

from __future__ import annotations

from imagematch.losses.lazy import tf


def mean_where(values: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
    """Mean of `values` where `counted` (bool, same shape) holds; 0 where it holds nowhere."""
    return share(tf.reduce_sum(tf.where(counted, values, 0)), count(counted))


def share(total: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    """`total` / `number`; 0 where `number` is 0."""
    return tf.math.divide_no_nan(total, tf.cast(number, total.dtype))


def count(mask: tf.Tensor) -> tf.Tensor:
    """How often `mask` holds, a float32 scalar."""
    return tf.reduce_sum(tf.cast(mask, tf.float32))


def masked_logsumexp(values: tf.Tensor, mask: tf.Tensor, axis: int = 1) -> tf.Tensor:
    """log of the sum of exp(values) where `mask` holds, along `axis`; -inf, with gradient 0, where it holds nowhere."""
    some = tf.reduce_any(mask, axis, keepdims=True)
    # A line with nothing in it would give 0 / 0 in the gradient: it is computed over zeros, and then not used.
    masked = tf.where(mask, values, tf.where(some, values.dtype.as_numpy_dtype("-inf"), 0))
    return tf.where(tf.squeeze(some, axis), tf.reduce_logsumexp(masked, axis), values.dtype.as_numpy_dtype("-inf"))
