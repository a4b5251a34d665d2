"""What a violated margin costs: the hinge max(0, x), or its smooth form log(1 + exp(x))."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf


class Hinge(NamedTuple):
    """A function of the violation x, and its slope, both elementwise and 0 at minus infinity; and its usual margin."""

    cost: Callable[[tf.Tensor], tf.Tensor]
    slope: Callable[[tf.Tensor], tf.Tensor]
    margin: float


HINGES: Mapping[str, Hinge] = {
    "hinge": Hinge(tf.nn.relu, lambda x: tf.cast(x > 0, x.dtype), 0.2),
    "softplus": Hinge(tf.nn.softplus, tf.nn.sigmoid, 0.0),
}
