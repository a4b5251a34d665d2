"""The Siamese network as one Keras model: two batches of images in, scores out."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="imagematch")
class PairScore(keras.layers.Layer):
    """Two batches of embeddings (n, dim) -> scores (n,) float32: minus the Euclidean distance, row by row."""

    def call(self, embeddings: list[Any]) -> Any:
        """[(n, dim), (n, dim)] -> (n,)."""
        first, second = embeddings
        return -keras.ops.sqrt(keras.ops.sum(keras.ops.square(first - second), axis=-1))

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """The inputs' shape without its last axis."""
        return tuple(input_shape[0][:-1])


def build_siamese_model(feature_model: keras.Model) -> keras.Model:
    """One feature model seen by two inputs, `first` and `second`.

    Args:
        feature_model: (batch, height, width, 3), values 0 to 255 -> (batch, dim); shared, not copied.

    Returns:
        [(n, height, width, 3), (n, height, width, 3)] -> (n,) float32.
    """
    inputs = [keras.Input((None, None, 3), name=name) for name in ("first", "second")]
    score = PairScore(name="score")([feature_model(images) for images in inputs])
    return keras.Model(inputs, score, name="image_matcher")
