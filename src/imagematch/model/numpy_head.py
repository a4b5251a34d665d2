"""The head in numpy: a few matrices read from a saved feature model, so that matching needs no TensorFlow."""

from __future__ import annotations

import io
import itertools
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.model.archive import CONFIG, WEIGHTS, check_archive

if TYPE_CHECKING:
    import h5py

NORM_EPSILON = 1e-3
"""Added to the variance by the batch norm of every FF block."""
_LENGTH_EPSILON = 1e-12
_BATCH = 4096

_Layer = tuple[np.ndarray, np.ndarray]


class _UnknownHeadError(Exception):
    """The file does not hold a head of the form that this module knows."""


@dataclass(frozen=True, eq=False)
class NumpyHead:
    """Features -> embeddings, as the head it was read from.

    Attributes:
        kernels: (input, output) float32 of each layer, batch norms and whitening folded in; the last is the projection.
        biases: (output,) float32 of each layer.
    """

    kernels: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]

    @property
    def feature_dim(self) -> int:
        """Length of the features it takes."""
        return int(self.kernels[0].shape[0])

    @property
    def dim(self) -> int:
        """Length of its embeddings."""
        return int(self.kernels[-1].shape[1])

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(n, feature_dim) of any float type -> (n, dim) float32, L2-normalised."""
        found = np.empty((len(features), self.dim), np.float32)
        for start in range(0, len(features), _BATCH):
            found[start : start + _BATCH] = self._block(np.asarray(features[start : start + _BATCH], np.float32))
        return found

    def _block(self, x: np.ndarray) -> np.ndarray:
        for kernel, bias in zip(self.kernels[:-1], self.biases[:-1], strict=True):
            x = np.maximum(x @ kernel + bias, np.float32(0))
        x = x @ self.kernels[-1] + self.biases[-1]
        lengths = np.linalg.norm(x, axis=1, keepdims=True)
        return x / np.maximum(lengths, np.float32(_LENGTH_EPSILON))


def read_head(path: Path) -> NumpyHead | None:
    """The head of a saved feature model; None where it is not of the form `build_head` gives (Keras can run it then).

    Raises:
        ModelError: the file is damaged, or holds anything but known layers.
    """
    import h5py

    check_archive(path)
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read(CONFIG))
            weights = io.BytesIO(archive.read(WEIGHTS))
        name, layers = _head_layers(config)
        with h5py.File(weights, "r") as file:
            groups = _named_groups(_named_groups(file)[name])
            folded = [_folded(layer, groups[layer["config"]["name"]]) for layer in layers]
        if layers[0]["class_name"] == "Dense" and len(layers) > 1:
            folded = [_joined(*folded[:2]), *folded[2:]]
    except (_UnknownHeadError, KeyError, IndexError, TypeError, AttributeError, ValueError, OSError, RuntimeError):
        return None
    kernels = tuple(kernel.astype(np.float32) for kernel, _ in folded)
    biases = tuple(bias.astype(np.float32) for _, bias in folded)
    if any(one.shape[1] != after.shape[0] for one, after in itertools.pairwise(kernels)):
        return None
    return NumpyHead(kernels, biases)


def _head_layers(config: Mapping[str, Any]) -> tuple[str, Sequence[Mapping[str, Any]]]:
    """The head's name, and its layers with weights in order, after checking that it is a plain chain of known ones."""
    head = config["config"]["layers"][-1]
    layers = head["config"]["layers"]
    classes = [layer["class_name"] for layer in layers]
    whitening = classes[1:2] == ["Dense"] and len(layers) > 3
    blocks = len(layers) - 3 - whitening
    expected = ["InputLayer", *["Dense"] * whitening, *["FFBlock"] * blocks, "Dense", "UnitNormalization"]
    if blocks < 0 or classes != expected:
        raise _UnknownHeadError
    for before, layer in itertools.pairwise(layers):
        (node,) = layer["inbound_nodes"]
        (argument,) = node["args"]
        if argument["config"]["keras_history"] != [before["config"]["name"], 0, 0]:
            raise _UnknownHeadError
        if layer["config"]["dtype"]["config"] != {"name": "float32"}:
            raise _UnknownHeadError
    linear = [layer["config"] for layer in layers if layer["class_name"] == "Dense"]
    if any(dense["activation"] != "linear" or dense["use_bias"] is not True for dense in linear):
        raise _UnknownHeadError
    if layers[-1]["config"]["axis"] != -1:
        raise _UnknownHeadError
    return head["config"]["name"], layers[1:-1]


def _named_groups(group: h5py.Group) -> dict[str, h5py.Group]:
    """The layers below a group of a Keras weights file, by the names that their `vars` carry."""
    found = {}
    for child in _member(group, "layers").values():
        name = child["vars"].attrs["name"]
        found[name.decode() if isinstance(name, bytes) else str(name)] = child
    return found


def _folded(layer: Mapping[str, Any], group: h5py.Group) -> _Layer:
    """Kernel and bias of a layer, float64; those of an FF block have its batch norm in them."""
    units = int(layer["config"]["units"])
    if layer["class_name"] == "Dense":
        kernel, bias = _arrays(_member(group, "vars"), 2)
    else:
        (kernel,) = _arrays(_member(_member(group, "_dense"), "vars"), 1)
        gamma, beta, mean, variance = _arrays(_member(_member(group, "_norm"), "vars"), 4)
        if not gamma.shape == beta.shape == mean.shape == variance.shape == (units,):
            raise _UnknownHeadError
        scale = gamma / np.sqrt(variance + NORM_EPSILON)
        kernel, bias = kernel * scale, beta - mean * scale
    if kernel.ndim != 2 or kernel.shape[1] != units or bias.shape != (units,):
        raise _UnknownHeadError
    return kernel, bias


def _joined(first: _Layer, second: _Layer) -> _Layer:
    """Two linear layers in one. What the second does after that stays as it is."""
    (kernel, bias), (after, offset) = first, second
    return kernel @ after, bias @ after + offset


def _arrays(group: h5py.Group, count: int) -> list[np.ndarray]:
    """The arrays "0", "1", ... of a group, float64: plain ones only, no larger than the file itself."""
    if sorted(group) != [str(number) for number in range(count)]:
        raise _UnknownHeadError
    found = []
    for number in range(count):
        array = _member(group, str(number))
        if array.dtype != np.float32 or array.chunks is not None or array.external or array.is_virtual:
            raise _UnknownHeadError
        found.append(array[()].astype(np.float64))
    return found


def _member(group: h5py.Group, name: str) -> Any:
    """A member that lies in this very file."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise _UnknownHeadError
    return group[name]
