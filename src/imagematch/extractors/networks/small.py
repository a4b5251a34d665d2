"""The small ones: the pixels themselves, and a network to be trained from scratch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imagematch.registry import register_extractor

if TYPE_CHECKING:
    import keras

_FILTERS = (32, 64, 128, 256)


@register_extractor("pixels", image_size=32, min_image_size=1, feature_dim=0, preprocessing="unit", parameters=0)
def build_pixels(image_size: int) -> keras.Model:
    """(batch, h, w, 3) -> the same numbers, flat."""
    import keras

    return keras.Sequential([keras.Input((image_size, image_size, 3)), keras.layers.Flatten()], name="pixels")


@register_extractor(
    "small_cnn", image_size=32, min_image_size=8, feature_dim=256, preprocessing="symmetric", parameters=389_856
)
def build_small_cnn(image_size: int) -> keras.Model:
    """Four blocks of 3 x 3 convolution, batch norm, ReLU (and 2 x 2 maximum but for the last), then the average.

    32, 64, 128 and 256 filters, 390,000 weights: made to be trained from scratch on small images (digits, letters) in
    minutes without a GPU.
    """
    import keras

    x = inputs = keras.Input((image_size, image_size, 3))
    for block, filters in enumerate(_FILTERS, 1):
        x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"block{block}_conv")(x)
        x = keras.layers.BatchNormalization(name=f"block{block}_norm")(x)
        x = keras.layers.ReLU(name=f"block{block}_relu")(x)
        if block < len(_FILTERS):
            x = keras.layers.MaxPooling2D(name=f"block{block}_pool")(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D(name="average")(x), name="small_cnn")
