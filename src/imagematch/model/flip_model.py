"""A feature model that sees every image and its mirror image, as one Keras model."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="imagematch")
class Mirror(keras.layers.Layer):
    """Images -> their mirror images, left and right exchanged: (batch, height, width, 3) -> the same shape."""

    def call(self, images: Any) -> Any:
        """(batch, height, width, 3) -> (batch, height, width, 3)."""
        return keras.ops.flip(images, axis=2)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape does not change."""
        return input_shape


def build_flip_model(feature_model: keras.Model) -> keras.Model:
    """The model whose embedding is `flip_average` of the feature model's.

    Args:
        feature_model: (batch, height, width, 3), values 0 to 255 -> (batch, dim), L2-normalised; shared, not copied.

    Returns:
        (batch, height, width, 3), values 0 to 255 -> (batch, dim) float32, L2-normalised.
    """
    images = keras.Input((None, None, 3), name="image")
    both = [feature_model(images), feature_model(Mirror(name="mirror")(images))]
    embeddings = keras.layers.UnitNormalization(name="unit_mean")(keras.layers.Add(name="both")(both))
    return keras.Model(images, embeddings, name="flip_model")
