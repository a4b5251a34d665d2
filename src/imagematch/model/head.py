"""The head: feed-forward blocks, a projection, L2 normalisation; and heads joined with half-whitened features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from imagematch.model.numpy_head import NORM_EPSILON

Whitening = tuple[np.ndarray, np.ndarray]
"""Kernel (feature_dim, dim) and bias (dim,), float32, of a linear layer."""


@keras.saving.register_keras_serializable(package="imagematch")
class FFBlock(keras.layers.Layer):
    """Feed-forward block: Dense -> BatchNorm -> ReLU -> Dropout.

    Maps (batch, any) to (batch, units). The dense layer has no bias: the batch norm that follows would cancel it.

    Args:
        units: width of the block, at least 1.
        dropout: share of the outputs dropped in training, 0 to 1.
        seed: fixes the initial kernel and the dropout masks; None draws them.
    """

    def __init__(self, units: int, dropout: float = 0.0, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.dropout = dropout
        self.seed = seed
        kernel = keras.initializers.GlorotUniform(seed=seed)
        self._dense = keras.layers.Dense(units, use_bias=False, kernel_initializer=kernel, name="dense")
        self._norm = keras.layers.BatchNormalization(epsilon=NORM_EPSILON, name="norm")
        self._drop = keras.layers.Dropout(dropout, seed=seed, name="dropout")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights for features of the given shape."""
        self._dense.build(input_shape)
        self._norm.build((*input_shape[:-1], self.units))

    def call(self, features: Any, training: bool | None = None) -> Any:
        """(batch, any) -> (batch, units)."""
        activations = keras.ops.relu(self._norm(self._dense(features), training=training))
        return self._drop(activations, training=training)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's shape with its last axis replaced by `units`."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """What rebuilds this layer."""
        return {**super().get_config(), "units": self.units, "dropout": self.dropout, "seed": self.seed}


def build_head(
    feature_dim: int,
    *,
    units: Sequence[int] = (),
    dropout: float = 0.0,
    embedding_dim: int = 128,
    seed: int = 0,
    whitening: Whitening | None = None,
    feature_dropout: float = 0.0,
    name: str = "head",
) -> keras.Model:
    """The head: (batch, feature_dim) float32 -> (batch, embedding_dim) float32 on the unit sphere.

    Args:
        feature_dim: length of a feature vector.
        units: widths of the feed-forward blocks, in order; empty makes the head a linear projection.
        dropout: of every block.
        embedding_dim: length of an embedding.
        seed: fixes the initial weights and the dropout masks.
        whitening: what is done to the features first and never trained; None leaves them as they are.
        feature_dropout: share of the (whitened) features dropped in training.
        name: of the model.
    """
    seeds = [int(s) for s in np.random.SeedSequence(seed).generate_state(len(units) + 1)]
    inputs = keras.Input((feature_dim,), name="features")
    outputs = inputs
    if whitening is not None:
        first = keras.layers.Dense(len(whitening[1]), trainable=False, name="whitening")
        outputs = first(inputs)
        first.set_weights(whitening)
    if feature_dropout:
        outputs = keras.layers.Dropout(feature_dropout, seed=seed, name="feature_dropout")(outputs)
    for number, (width, block_seed) in enumerate(zip(units, seeds, strict=False), start=1):
        outputs = FFBlock(width, dropout, seed=block_seed, name=f"ff_block_{number}")(outputs)
    kernel = keras.initializers.GlorotUniform(seed=seeds[-1])
    outputs = keras.layers.Dense(embedding_dim, kernel_initializer=kernel, name="projection")(outputs)
    outputs = keras.layers.UnitNormalization(name="unit_norm")(outputs)
    return keras.Model(inputs, outputs, name=name)


@keras.saving.register_keras_serializable(package="imagematch")
class WeightedConcatenation(keras.layers.Layer):
    """Embeddings (batch, any) side by side, each multiplied by its share, a weight that is not trained."""

    def build(self, input_shape: list[tuple[int | None, ...]]) -> None:
        """Creates a share for each input."""
        self.shares = self.add_weight(name="shares", shape=(len(input_shape),), initializer="ones", trainable=False)

    def call(self, embeddings: list[Any]) -> Any:
        """[(batch, any), ...] -> (batch, sum of their lengths)."""
        parts = [self.shares[number] * part for number, part in enumerate(embeddings)]
        return keras.ops.concatenate(parts, axis=-1)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """The inputs' shape with the sum of their last axes."""
        return (*input_shape[0][:-1], sum(int(shape[-1] or 0) for shape in input_shape))


def build_joined_head(
    feature_dim: int,
    *,
    heads: Sequence[keras.Model],
    projection: Whitening | None,
    shares: Sequence[float],
    reduction: np.ndarray | None = None,
) -> keras.Model:
    """Heads joined with half-whitened features: (batch, feature_dim) -> (batch, dim) float32 on the unit sphere.

    Nothing of it is trained: the heads were, each alone.

    Args:
        feature_dim: length of a feature vector.
        heads: as `build_head` makes them, each of another name; shared, not copied.
        projection: of the L2-normalised features; None where only heads are joined.
        shares: what the embedding of each head, then that of the projection, is multiplied by.
        reduction: (joined length, dim), applied to all of them; None leaves them as they are.
    """
    inputs = keras.Input((feature_dim,), name="features")
    parts = [head(inputs) for head in heads]
    if projection is not None:
        outputs = keras.layers.UnitNormalization(name="feature_norm")(inputs)
        linear = keras.layers.Dense(len(projection[1]), trainable=False, name="join")
        outputs = linear(outputs)
        linear.set_weights(projection)
        parts.append(keras.layers.UnitNormalization(name="join_norm")(outputs))
    joining = WeightedConcatenation(name="shares")
    outputs = joining(parts)
    joining.set_weights([np.asarray(shares, np.float32)])
    if reduction is not None:
        reducing = keras.layers.Dense(reduction.shape[1], use_bias=False, trainable=False, name="reduction")
        outputs = reducing(outputs)
        reducing.set_weights([reduction])
    outputs = keras.layers.UnitNormalization(name="unit_norm")(outputs)
    return keras.Model(inputs, outputs, name="head")
