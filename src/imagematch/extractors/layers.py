"""The Keras layer of our own: pixels the way Caffe's networks were trained on them. Imports Keras."""

from __future__ import annotations

from typing import Any

import keras

# Mean of ImageNet's blue, green and red, as the VGG and ResNet authors subtracted it.
_BGR_MEAN = (103.939, 116.779, 123.68)


@keras.saving.register_keras_serializable(package="imagematch")
class CaffePixels(keras.layers.Layer):
    """RGB in 0 to 255 -> BGR with ImageNet's mean subtracted, not scaled: (batch, h, w, 3) -> the same shape.

    Source: `keras.applications.imagenet_utils.preprocess_input`, mode "caffe".
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.trainable = False

    def call(self, images: Any) -> Any:
        """(batch, h, w, 3) RGB -> (batch, h, w, 3) BGR."""
        return keras.ops.flip(images, axis=-1) - keras.ops.cast(_BGR_MEAN, images.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape does not change."""
        return input_shape
