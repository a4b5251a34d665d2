"""Augmentation: zoom, flip, rotation, translation, brightness and contrast, drawn from a seed, whatever the batch."""

from __future__ import annotations

from typing import Any

import numpy as np

AUGMENTATION_VERSION = "2"
"""Changes whenever the same draws give other pixels: cached features of augmented views are keyed by it."""

ZOOM = 0.15
"""The image is magnified or reduced by up to this share."""
ROTATION_DEGREES = 15.0
TRANSLATION = 0.1
"""Shift, as a share of each side."""
BRIGHTNESS = 0.2
"""Added to every pixel, as a share of white."""
CONTRAST = 0.2
"""Spread about each image's mean, as a share."""

N_DRAWS = 7
"""Random numbers that one image's augmentation takes."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def draw_augmentations(seed: int, keys: np.ndarray) -> np.ndarray:
    """The random numbers of each image's augmentation; an image's depend on the seed and its key alone.

    Args:
        seed: not negative.
        keys: (batch,) integers, one an image: the row, or the position in the epoch.

    Returns:
        (batch, N_DRAWS) float32, uniform in [0, 1).

    Source: G. Steele, D. Lea, C. Flood, Fast splittable pseudorandom number generators, 2014 (SplitMix64).
    """
    start = _mixed(np.array([seed], np.uint64))
    streams = _mixed(start + keys.astype(np.uint64))[:, None]
    numbers = _mixed(streams + np.arange(N_DRAWS, dtype=np.uint64) * _GOLDEN)
    return ((numbers >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)).astype(np.float32)


def augment(images: Any, draws: Any) -> Any:
    """Augments a batch; runs eagerly and in a graph. What comes in from outside the image is its mirror image.

    Args:
        images: (batch, height, width, 3) float32 tensor, 0 to 255.
        draws: (batch, N_DRAWS) float32, uniform in [0, 1); all 0.5 changes nothing.

    Returns:
        (batch, height, width, 3) float32 tensor, 0 to 255.
    """
    import tensorflow as tf

    images = tf.convert_to_tensor(images, tf.float32)
    # Sines, cosines and means differ in their last digit between one image and many: in float64 that is rounded away.
    draws = tf.cast(draws, tf.float64)
    zoom, flip, turn, right, down, brightness, contrast = tf.unstack(2.0 * draws - 1.0, num=N_DRAWS, axis=1)
    size = tf.shape(images)[1:3]
    height, width = tf.cast(size[0], tf.float64), tf.cast(size[1], tf.float64)
    scale = 1.0 + ZOOM * zoom
    angle = turn * (ROTATION_DEGREES * np.pi / 180)
    mirror = tf.where(flip > 0, tf.constant(-1.0, tf.float64), 1.0)
    cos, sin = scale * tf.cos(angle), scale * tf.sin(angle)
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    # Output pixel (x, y) is taken from input pixel (a x + b y + c, d x + e y + f).
    a, b, d, e = mirror * cos, -mirror * sin, sin, cos
    c = centre_x - a * centre_x - b * centre_y + TRANSLATION * width * right
    f = centre_y - d * centre_x - e * centre_y + TRANSLATION * height * down
    zero = tf.zeros_like(a)
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.cast(tf.stack([a, b, c, d, e, f, zero, zero], axis=1), tf.float32),
        output_shape=size,
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )
    mean = tf.cast(tf.reduce_mean(tf.cast(moved, tf.float64), axis=(1, 2, 3), keepdims=True), tf.float32)
    spread = tf.cast(1.0 + CONTRAST * contrast, tf.float32)[:, None, None, None]
    light = tf.cast(255.0 * BRIGHTNESS * brightness, tf.float32)[:, None, None, None]
    return tf.clip_by_value((moved - mean) * spread + mean + light, 0.0, 255.0)


def _mixed(numbers: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is meant
        z = numbers + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * _MIX[0]
        z = (z ^ (z >> np.uint64(27))) * _MIX[1]
        return z ^ (z >> np.uint64(31))
