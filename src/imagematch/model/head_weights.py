"""The head as data: what its shape follows from, its tensors in a file, and both forms that run: numpy and Keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imagematch.model.numpy_head import NORM_EPSILON, NumpyHead
from imagematch.tensors import TensorSpec, read_tensors, write_tensors

if TYPE_CHECKING:
    import keras

_NORM = ("gamma", "beta", "mean", "variance")


@dataclass(frozen=True)
class HeadShape:
    """What the shapes of a head's tensors follow from.

    Attributes:
        feature_dim: length of the features it takes.
        units: widths of the feed-forward blocks, in order.
        embedding_dim: length of its embeddings.
        whitening: components of the frozen linear layer in front of the blocks; None where there is none.
    """

    feature_dim: int
    units: tuple[int, ...]
    embedding_dim: int
    whitening: int | None = None

    def tensors(self) -> dict[str, TensorSpec]:
        """Names and shapes of the tensors, in the order of `keras.Model.get_weights`."""
        specs, width = {}, self.feature_dim
        if self.whitening is not None:
            specs["whitening.kernel"] = TensorSpec((width, self.whitening))
            specs["whitening.bias"] = TensorSpec((self.whitening,))
            width = self.whitening
        for number, units in enumerate(self.units, 1):
            specs[f"ff_block_{number}.kernel"] = TensorSpec((width, units))
            specs |= {f"ff_block_{number}.{name}": TensorSpec((units,)) for name in _NORM}
            width = units
        specs["projection.kernel"] = TensorSpec((width, self.embedding_dim))
        specs["projection.bias"] = TensorSpec((self.embedding_dim,))
        return specs


def write_head(path: Path, shape: HeadShape, head: keras.Model) -> None:
    """Writes the weights of a head that `build_head` made.

    Raises:
        OSError: the file cannot be written.
        ValueError: the head has another shape.
    """
    write_tensors(path, _tensors(shape, head))


def read_head(path: Path, shape: HeadShape, *, inside: Path | None = None) -> NumpyHead:
    """The head of a file, for numpy. Raises ModelError as `read_tensors` does."""
    return numpy_head(shape, read_tensors(path, shape.tensors(), inside=inside))


def read_keras_head(path: Path, shape: HeadShape, *, inside: Path | None = None) -> keras.Model:
    """The head of a file, for Keras. Raises ModelError as `read_tensors` does."""
    from imagematch.model.head import build_head

    tensors = read_tensors(path, shape.tensors(), inside=inside)
    white = (np.zeros((shape.feature_dim, shape.whitening)), np.zeros(shape.whitening)) if shape.whitening else None
    head = build_head(shape.feature_dim, units=shape.units, embedding_dim=shape.embedding_dim, whitening=white)
    head.set_weights(list(tensors.values()))
    return head


def head_in_numpy(shape: HeadShape, head: keras.Model) -> NumpyHead:
    """A head that `build_head` made, as `read_head` gives it back. Raises ValueError where it has another shape."""
    return numpy_head(shape, _tensors(shape, head))


def _tensors(shape: HeadShape, head: keras.Model) -> dict[str, np.ndarray]:
    specs = shape.tensors()
    tensors = dict(zip(specs, head.get_weights(), strict=True))
    if any(tensors[name].shape != spec.shape for name, spec in specs.items()):
        raise ValueError(f"the head's weights are not those of {shape}")
    return tensors


def numpy_head(shape: HeadShape, tensors: Mapping[str, np.ndarray]) -> NumpyHead:
    """Kernels and biases with the batch norms folded in, and the whitening joined to the layer behind it."""
    layers = []
    for number in range(1, len(shape.units) + 1):
        gamma, beta, mean, variance = (tensors[f"ff_block_{number}.{name}"].astype(np.float64) for name in _NORM)
        scale = gamma / np.sqrt(variance + NORM_EPSILON)
        layers.append((tensors[f"ff_block_{number}.kernel"] * scale, beta - mean * scale))
    layers.append((tensors["projection.kernel"], tensors["projection.bias"]))
    if shape.whitening is not None:
        white, offset = (tensors[f"whitening.{name}"].astype(np.float64) for name in ("kernel", "bias"))
        kernel, bias = layers[0]
        layers[0] = (white @ kernel, offset @ kernel + bias)
    return NumpyHead(
        tuple(np.asarray(kernel, np.float32) for kernel, _ in layers),
        tuple(np.asarray(bias, np.float32) for _, bias in layers),
    )
