"""The head: feed-forward blocks, a projection, and L2 normalisation; features in, embeddings out."""

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
) -> keras.Model:
    """The head: (batch, feature_dim) float32 -> (batch, embedding_dim) float32 on the unit sphere.

    Args:
        feature_dim: length of a feature vector.
        units: widths of the feed-forward blocks, in order; empty makes the head a linear projection.
        dropout: of every block.
        embedding_dim: length of an embedding.
        seed: fixes the initial weights and the dropout masks.
        whitening: what is done to the features first and never trained; None leaves them as they are.
    """
    seeds = [int(s) for s in np.random.SeedSequence(seed).generate_state(len(units) + 1)]
    inputs = keras.Input((feature_dim,), name="features")
    outputs = inputs
    if whitening is not None:
        first = keras.layers.Dense(len(whitening[1]), trainable=False, name="whitening")
        outputs = first(inputs)
        first.set_weights(whitening)
    for number, (width, block_seed) in enumerate(zip(units, seeds, strict=False), start=1):
        outputs = FFBlock(width, dropout, seed=block_seed, name=f"ff_block_{number}")(outputs)
    kernel = keras.initializers.GlorotUniform(seed=seeds[-1])
    outputs = keras.layers.Dense(embedding_dim, kernel_initializer=kernel, name="projection")(outputs)
    outputs = keras.layers.UnitNormalization(name="unit_norm")(outputs)
    return keras.Model(inputs, outputs, name="head")
