"""The TensorFlow engine: where there is a GPU, and wherever OpenVINO cannot serve."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from imagematch.extractors.engines.engine import Engine
from imagematch.extractors.extractor import Network

_DRIVER_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


def gpu_visible() -> bool:
    """Whether TensorFlow sees a GPU; TensorFlow is only imported where the system has a driver of one."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "unset") in ("", "-1")
    if hidden or not any(Path(file).exists() for file in _DRIVER_FILES):
        return False
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Inside, float32 means float32: TensorFlow else rounds products to 10 bits (TF32) on GPUs that can.

    Kept features of all engines are one where they are float32, so they must agree to a thousandth of their norm.
    """
    import tensorflow as tf

    allowed = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(allowed)


class TensorFlowEngine(Engine):
    """Runs the Keras model in one compiled function for every batch size and image size."""

    name = "tensorflow"
    batch_size = 32

    def __init__(self, network: Network, precision: str) -> None:
        import tensorflow as tf

        self.precision = precision
        self.feature_dim = network.feature_dim
        model = network.build(precision)
        signature = [tf.TensorSpec((None, None, None, 3), tf.uint8)]
        self._function = tf.function(lambda images: model(images, training=False), input_signature=signature)

    def start(self, images: np.ndarray, out: np.ndarray, rows: np.ndarray | slice) -> None:
        """Computes the batch at once."""
        with exact_float32():  # without effect on bfloat16
            out[rows] = self._function(images).numpy()

    def finish(self) -> None:
        """Nothing is left to wait for."""
