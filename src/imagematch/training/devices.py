"""Data parallelism over several GPUs: each takes a part of the batch, with one set of weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


def gpus() -> list[str]:
    """The names of the GPUs that TensorFlow sees."""
    return [device.name for device in tf.config.list_logical_devices("GPU")]


def on_devices(network: keras.Model, devices: Sequence[str]) -> keras.layers.Layer:
    """`network` itself, or a layer that runs it on all devices where there are several."""
    return network if len(devices) < 2 else DataParallel(network, devices)


class DataParallel(keras.layers.Layer):
    """Runs a network on several devices, each on its part of the batch, and concatenates the outputs.

    There is one set of variables, which every device reads. The head and the loss see the whole batch, so that losses
    over pairs, their memories and proxies, the head's batch norms and the optimiser give the results of one device;
    only the order of summation differs. (A batch norm inside the network that is trained, which is one that began with
    random weights, sees its device's part.) `tf.distribute.MirroredStrategy` would run each loss on a part of the
    batch, or on gathered embeddings once for every replica, and every loss would have to know of it.

    Args:
        network: (batch, ...) -> (batch, ...).
        devices: TensorFlow's names of them.
    """

    def __init__(self, network: keras.Model, devices: Sequence[str]) -> None:
        super().__init__(name="data_parallel")
        self._network = network
        self._devices = list(devices)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """(batch, ...) -> the network's outputs, (batch, ...)."""
        count, parts = tf.shape(inputs)[0], len(self._devices)
        outputs = []
        for index, device in enumerate(self._devices):
            with tf.device(device):
                part = inputs[count * index // parts : count * (index + 1) // parts]
                outputs.append(self._network(part, training=training))
        return tf.concat(outputs, 0)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The network's output shape."""
        return tuple(self._network.compute_output_shape(input_shape))
