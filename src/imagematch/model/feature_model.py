"""The feature model: a feature extractor and a head joined, image -> embedding."""

from __future__ import annotations

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
