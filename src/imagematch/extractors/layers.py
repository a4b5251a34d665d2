"""The Keras layers of our own, registered so that saved models may hold them. Imports Keras."""

from __future__ import annotations

from typing import Any

import keras

from imagematch.extractors.feature_scaling import SMALLEST

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


@keras.saving.register_keras_serializable(package="imagematch")
class StandardizedConv2D(keras.layers.Layer):
    """Convolution whose kernel has mean 0 and variance 1 per output channel: (batch, h, w, in) -> (batch, h', w', out).

    No padding and no bias. The kernel is standardised in float32, whatever the precision.

    Source: Qiao et al. 2019, "Weight Standardization", eq. 5 and 6; epsilon as in BiT's code.
    """

    def __init__(self, filters: int, kernel_size: int, stride: int = 1, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.filters, self.kernel_size, self.stride = filters, kernel_size, stride

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the kernel: (size, size, in, out)."""
        shape = (self.kernel_size, self.kernel_size, input_shape[-1], self.filters)
        self.kernel = self.add_weight(shape=shape, initializer="glorot_uniform", autocast=False, name="kernel")

    def call(self, images: Any) -> Any:
        """(batch, h, w, in) -> (batch, h', w', out)."""
        mean, variance = keras.ops.moments(self.kernel, axes=(0, 1, 2), keepdims=True)
        kernel = (self.kernel - mean) * keras.ops.rsqrt(variance + 1e-10)
        return keras.ops.conv(images, keras.ops.cast(kernel, images.dtype), self.stride, padding="valid")

    def get_config(self) -> dict[str, Any]:
        """What `__init__` takes."""
        own = {"filters": self.filters, "kernel_size": self.kernel_size, "stride": self.stride}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="imagematch")
class ClassToken(keras.layers.Layer):
    """A transformer's first token, which stands for the whole image: (batch, tokens, dim) -> (batch, dim)."""

    def call(self, tokens: Any) -> Any:
        """(batch, tokens, dim) -> (batch, dim)."""
        return tokens[:, 0]


@keras.saving.register_keras_serializable(package="imagematch")
class FixedLength(keras.layers.Layer):
    """Vectors scaled to one Euclidean length: (batch, dim) -> the same shape. Vectors of zeros stay so.

    Args:
        length: over 0.
    """

    def __init__(self, length: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.length = length

    def call(self, vectors: Any) -> Any:
        """(batch, dim) -> (batch, dim)."""
        largest = keras.ops.max(keras.ops.abs(vectors), axis=-1, keepdims=True)
        vectors = vectors / keras.ops.maximum(largest, SMALLEST)  # so that no square is too small for float32
        lengths = keras.ops.sqrt(keras.ops.sum(keras.ops.square(vectors), axis=-1, keepdims=True))
        return vectors * (self.length / keras.ops.maximum(lengths, SMALLEST))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape does not change."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """What rebuilds this layer."""
        return {**super().get_config(), "length": self.length}
