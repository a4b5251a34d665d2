"""The head as data: what its shape follows from, its tensors in a file, and both forms that run: numpy and Keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imagematch.model.numpy_head import NORM_EPSILON, JoinedNumpyHead, NumpyHead
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

    @property
    def dim(self) -> int:
        """Length of its embeddings."""
        return self.embedding_dim

    def tensors_of(self, head: keras.Model) -> dict[str, np.ndarray]:
        """The tensors of a head that `build_head` made. Raises ValueError where it has another shape."""
        return _checked(self, dict(zip(self.tensors(), head.get_weights(), strict=True)))

    def in_numpy(self, tensors: Mapping[str, np.ndarray]) -> NumpyHead:
        """Kernels and biases with the batch norms folded in, and the whitening joined to the layer behind it."""
        layers = []
        for number in range(1, len(self.units) + 1):
            gamma, beta, mean, variance = (tensors[f"ff_block_{number}.{name}"].astype(np.float64) for name in _NORM)
            scale = gamma / np.sqrt(variance + NORM_EPSILON)
            layers.append((tensors[f"ff_block_{number}.kernel"] * scale, beta - mean * scale))
        layers.append((tensors["projection.kernel"], tensors["projection.bias"]))
        if self.whitening is not None:
            white, offset = (tensors[f"whitening.{name}"].astype(np.float64) for name in ("kernel", "bias"))
            kernel, bias = layers[0]
            layers[0] = (white @ kernel, offset @ kernel + bias)
        return NumpyHead(
            tuple(np.asarray(kernel, np.float32) for kernel, _ in layers),
            tuple(np.asarray(bias, np.float32) for _, bias in layers),
        )

    def in_keras(self, tensors: Mapping[str, np.ndarray], name: str = "head") -> keras.Model:
        """The head as a Keras model."""
        from imagematch.model.head import build_head

        white = (np.zeros((self.feature_dim, self.whitening)), np.zeros(self.whitening)) if self.whitening else None
        head = build_head(
            self.feature_dim, units=self.units, embedding_dim=self.embedding_dim, whitening=white, name=name
        )
        head.set_weights([tensors[tensor] for tensor in self.tensors()])
        return head


@dataclass(frozen=True)
class JoinedShape:
    """What the shapes of the tensors of joined heads follow from; see `imagematch.model.build_joined_head`.

    Attributes:
        feature_dim: length of the features it takes.
        heads: of each trained head; there may be none.
        components: of the half-whitened features; None where only heads are joined.
        reduced: length of its embeddings, where they are reduced.
    """

    feature_dim: int
    heads: tuple[HeadShape, ...]
    components: int | None
    reduced: int | None = None

    @property
    def joined_dim(self) -> int:
        """Length of all that stands side by side."""
        return sum(head.dim for head in self.heads) + (self.components or 0)

    @property
    def dim(self) -> int:
        """Length of its embeddings."""
        return self.joined_dim if self.reduced is None else self.reduced

    def tensors(self) -> dict[str, TensorSpec]:
        """Names and shapes of the tensors."""
        specs: dict[str, TensorSpec] = {}
        for number, head in enumerate(self.heads, 1):
            specs |= {f"{_head_name(number)}.{name}": spec for name, spec in head.tensors().items()}
        if self.components is not None:
            specs["join.kernel"] = TensorSpec((self.feature_dim, self.components))
            specs["join.bias"] = TensorSpec((self.components,))
        specs["join.shares"] = TensorSpec((len(self.heads) + (self.components is not None),))
        if self.reduced is not None:
            specs["reduction.kernel"] = TensorSpec((self.joined_dim, self.reduced))
        return specs

    def tensors_of(self, head: keras.Model) -> dict[str, np.ndarray]:
        """The tensors of what `build_joined_head` made. Raises ValueError where it has another shape."""
        found: list[np.ndarray] = []
        for number, one in enumerate(self.heads, 1):
            found += one.tensors_of(head.get_layer(_head_name(number))).values()
        if self.components is not None:
            found += head.get_layer("join").get_weights()
        found += head.get_layer("shares").get_weights()
        if self.reduced is not None:
            found += head.get_layer("reduction").get_weights()
        return _checked(self, dict(zip(self.tensors(), found, strict=True)))

    def in_numpy(self, tensors: Mapping[str, np.ndarray]) -> JoinedNumpyHead:
        """The heads as each of them is in numpy, and what joins them."""
        heads = tuple(one.in_numpy(_of_head(number, tensors)) for number, one in enumerate(self.heads, 1))
        projection = None
        if self.components is not None:
            projection = NumpyHead((tensors["join.kernel"],), (tensors["join.bias"],))
        return JoinedNumpyHead(heads, projection, tensors["join.shares"], tensors.get("reduction.kernel"))

    def in_keras(self, tensors: Mapping[str, np.ndarray]) -> keras.Model:
        """The joined heads as a Keras model."""
        from imagematch.model.head import build_joined_head

        return build_joined_head(
            self.feature_dim,
            heads=[one.in_keras(_of_head(n, tensors), _head_name(n)) for n, one in enumerate(self.heads, 1)],
            projection=None if self.components is None else (tensors["join.kernel"], tensors["join.bias"]),
            shares=tensors["join.shares"].tolist(),
            reduction=tensors.get("reduction.kernel"),
        )


AnyHeadShape = HeadShape | JoinedShape


def _head_name(number: int) -> str:
    return f"head_{number}"


def _of_head(number: int, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    prefix = f"{_head_name(number)}."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def write_head(path: Path, shape: AnyHeadShape, head: keras.Model) -> None:
    """Writes the weights of a head that `build_head` or `build_joined_head` made.

    Raises:
        OSError: the file cannot be written.
        ValueError: the head has another shape.
    """
    write_tensors(path, shape.tensors_of(head))


def read_head(path: Path, shape: AnyHeadShape, *, inside: Path | None = None) -> NumpyHead | JoinedNumpyHead:
    """The head of a file, for numpy. Raises ModelError as `read_tensors` does."""
    return shape.in_numpy(read_tensors(path, shape.tensors(), inside=inside))


def read_keras_head(path: Path, shape: AnyHeadShape, *, inside: Path | None = None) -> keras.Model:
    """The head of a file, for Keras. Raises ModelError as `read_tensors` does."""
    return shape.in_keras(read_tensors(path, shape.tensors(), inside=inside))


def head_in_numpy(shape: AnyHeadShape, head: keras.Model) -> NumpyHead | JoinedNumpyHead:
    """A head in Keras, as `read_head` gives it back. Raises ValueError where it has another shape."""
    return shape.in_numpy(shape.tensors_of(head))


def _checked(shape: AnyHeadShape, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if any(tensors[name].shape != spec.shape for name, spec in shape.tensors().items()):
        raise ValueError(f"the head's weights are not those of {shape}")
    return tensors
