"""The TensorFlow engine: where there is a GPU, and wherever OpenVINO cannot serve."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from imagematch.extractors.engines.interface import Engine
from imagematch.extractors.extractor import Network

_DRIVER_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


def gpu_visible() -> bool:
    """Whether TensorFlow sees a GPU; TensorFlow is only imported where the system has a driver of one."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "unset") in ("", "-1")
    if hidden or not any(Path(file).exists() for file in _DRIVER_FILES):
        return False
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


class TensorFlowEngine(Engine):
    """Runs the Keras model in one compiled function for every batch size and picture size."""

    name = "tensorflow"
    batch_size = 32

    def __init__(self, network: Network, precision: str) -> None:
        import tensorflow as tf

        self.precision = precision
        self.feature_dim = network.feature_dim
        model = network.build(precision)
        signature = [tf.TensorSpec((None, None, None, 3), tf.uint8)]
        self._function = tf.function(lambda images: model(images, training=False), input_signature=signature)

    def start(self, pictures: np.ndarray, out: np.ndarray, rows: np.ndarray | slice) -> None:
        """Computes the batch at once."""
        out[rows] = self._function(pictures).numpy()

    def finish(self) -> None:
        """Nothing is left to wait for."""
