"""Builds the networks as Keras models with random weights. Imports Keras inside the functions."""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from imagematch.extractors.bit import build_bit
from imagematch.extractors.kerashub import build_preset, preset_pixels
from imagematch.extractors.registry import Spec

if TYPE_CHECKING:
    import keras

_SMALL_CNN_FILTERS = (32, 64, 128, 256)
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
"""Standard deviation of ImageNet's red, green and blue in 0 to 1."""


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
            network = build_application(spec, image_size, None)
        elif spec.name == "small_cnn":
            network = _small_cnn(shape)
        elif spec.name == "bit_m_r50x1":
            network = build_bit(shape)
        elif spec.preset:
            network = build_preset(spec, image_size)
        else:
            network = keras.Sequential([keras.Input(shape), keras.layers.Flatten()], name=spec.name)
    return network


def build_application(spec: Spec, image_size: int, weights: str | None) -> keras.Model:
    """The network of `keras.applications`, with random weights (None) or `imagenet`, which Keras fetches."""
    import keras

    constructor = getattr(keras.applications, spec.application)
    shape = (image_size, image_size, 3)
    return constructor(include_top=False, weights=weights, pooling="avg", input_shape=shape, **dict(spec.arguments))


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
    if spec.preprocessing == "imagenet":
        scale = [1 / (255 * deviation) for deviation in IMAGENET_DEVIATION]
        offset = [-mean / deviation for mean, deviation in zip(_IMAGENET_MEAN, IMAGENET_DEVIATION, strict=True)]
        return keras.layers.Rescaling(scale, offset=offset, dtype="float32", name="imagenet_pixels")(images)
    if spec.preprocessing == "preset":
        return preset_pixels(spec, images)
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
    return keras.Model(inputs, x, name=re.sub(r"\W+", "_", spec.name) + "_extractor")
