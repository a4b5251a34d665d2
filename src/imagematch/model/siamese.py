"""Extractor and head joined as Keras models: the feature model, with mirror images, and the Siamese network."""

from __future__ import annotations

from typing import Any

import keras


def build_feature_model(extractor: keras.Model, head: keras.Model) -> keras.Model:
    """Joins an extractor and a head; both are shared, not copied.

    Args:
        extractor: (batch, height, width, 3), values 0 to 255 -> (batch, feature_dim).
        head: (batch, feature_dim) -> (batch, embedding_dim).

    Returns:
        (batch, height, width, 3), values 0 to 255 -> (batch, embedding_dim) float32, L2-normalised.
    """
    images = keras.Input((None, None, 3), name="image")
    # Said here for calls that say nothing: Keras's Resizing trains by default, and all layers after it would join in.
    return keras.Model(images, head(extractor(images, training=False)), name="feature_model")


def split_feature_model(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """The extractor and the head that `build_feature_model` joined."""
    extractor, head = model.layers[-2:]
    return extractor, head


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
