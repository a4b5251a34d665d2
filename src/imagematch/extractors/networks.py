"""Builds the networks as Keras models with random weights. Imports Keras inside the functions."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from imagematch.extractors.registry import Spec

if TYPE_CHECKING:
    import keras

_SMALL_CNN_FILTERS = (32, 64, 128, 256)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Initial weights drawn inside are the same for the same seed; nobody else's random numbers are disturbed.

    Keras draws the seed of every initialiser that has none from Python's own generator.
    """
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Layers made inside get this Keras dtype policy."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def build_network(spec: Spec, image_size: int, seed: int) -> keras.Model:
    """The bare network with random weights: (batch, image_size, image_size, 3) preprocessed -> (batch, feature_dim)."""
    import keras

    shape = (image_size, image_size, 3)
    with seeded(seed):
        if spec.application:
            constructor = getattr(keras.applications, spec.application)
            network = constructor(
                include_top=False, weights=None, pooling="avg", input_shape=shape, **dict(spec.arguments)
            )
        elif spec.name == "small_cnn":
            network = _small_cnn(shape)
        else:
            network = keras.Sequential([keras.Input(shape), keras.layers.Flatten()], name=spec.name)
    return network


def _small_cnn(shape: tuple[int, int, int]) -> keras.Model:
    """Four blocks of 3 x 3 convolution, batch norm, ReLU (and 2 x 2 maximum but for the last), then the average.

    32, 64, 128 and 256 filters, 390,000 weights: made to be trained from scratch on small images (digits, letters) in
    minutes without a GPU.
    """
    import keras

    x = inputs = keras.Input(shape)
    for block, filters in enumerate(_SMALL_CNN_FILTERS, 1):
        x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"block{block}_conv")(x)
        x = keras.layers.BatchNormalization(name=f"block{block}_norm")(x)
        x = keras.layers.ReLU(name=f"block{block}_relu")(x)
        if block < len(_SMALL_CNN_FILTERS):
            x = keras.layers.MaxPooling2D(name=f"block{block}_pool")(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D(name="average")(x), name="small_cnn")


def preprocessing(spec: Spec, images: Any) -> Any:
    """Pixels of 0 to 255 -> what the network was trained on; a Keras tensor in and out."""
    import keras

    from imagematch.extractors.layers import CaffePixels

    if spec.preprocessing == "unit":
        return keras.layers.Rescaling(1 / 255, dtype="float32", name="unit_pixels")(images)
    if spec.preprocessing == "symmetric":
        return keras.layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32", name="symmetric_pixels")(images)
    if spec.preprocessing == "caffe":
        return CaffePixels(dtype="float32", name="caffe_pixels")(images)
    return images


def whole_network(spec: Spec, network: keras.Model, image_size: int) -> keras.Model:
    """Resizing + preprocessing + network: (batch, h, w, 3) uint8 or float 0..255 -> (batch, feature_dim) float32."""
    import keras

    inputs = keras.Input((None, None, 3), dtype="float32", name="image")
    enlarge = keras.layers.Resizing(image_size, image_size, interpolation="bilinear", dtype="float32", name="enlarge")
    x = enlarge(inputs, training=False)  # it trains by default, and so would every layer behind it
    x = network(preprocessing(spec, x))
    if x.dtype != "float32":
        x = keras.layers.Activation("linear", dtype="float32", name="float32")(x)
    return keras.Model(inputs, x, name=f"{spec.name}_extractor")
