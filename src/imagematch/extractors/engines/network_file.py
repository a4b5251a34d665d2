"""Converted networks as files: OpenVINO's description (.xml) and weights (.bin), checked before OpenVINO runs them.

A network may come from anywhere, so it is believed to be no more than what it is: plain operations on tensors of
bounded size. Nothing in it can name another file or bring code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from imagematch.errors import ModelError
from imagematch.files import digest_bytes, digest_json, os_reason
from imagematch.reading import GB, MB, open_file, read_file

if TYPE_CHECKING:
    import openvino

_DIGEST = re.compile("[0-9a-f]{32}")
_MAX_XML_BYTES = 16 * MB
_MAX_BIN_BYTES = 4 * GB
_MAX_OPERATIONS = 20_000
_MAX_VALUES_PER_PIXEL = 256
_MAX_VALUES = 1 << 27
_MAX_FLOP = 2e12
_OPERATIONS = re.compile(
    "Abs|Add|AvgPool|BatchNormInference|Broadcast|Clamp|Concat|Const|Convert|Convolution|Cos|DepthToSpace|"
    "Divide|Elu|Erf|Exp|FakeQuantize|Floor|FloorMod|Gather|Gelu|GroupConvolution|GroupNormalization|"
    "HardSigmoid|HSigmoid|HSwish|Interpolate|LogicalNot|MVN|MatMul|MaxPool|Maximum|Minimum|Mish|Mod|Multiply|"
    "Negative|NormalizeL2|PRelu|Pad|Parameter|Power|ReLU|ReduceL2|ReduceMax|ReduceMean|ReduceSum|Reshape|"
    "Result|ReverseSequence|ScaledDotProductAttention|Selu|ShapeOf|Sigmoid|Sin|Slice|SoftMax|Softmax|"
    "SpaceToDepth|Split|Sqrt|SquaredDifference|Squeeze|StridedSlice|Subtract|Swish|Tanh|Tile|Transpose|"
    "Unsqueeze|VariadicSplit"
)
"""What the networks of this package consist of, and its plain relatives: no loops, conditions, states or own code."""


def write_network(model: openvino.Model, folder: Path) -> str:
    """Writes a network into a folder, in float32, and returns the digest that `read_network` finds it by.

    Raises:
        OSError, RuntimeError: it cannot be written.
    """
    import openvino

    new = folder / "network.xml"
    openvino.save_model(model, new, compress_to_fp16=False)
    digest = _digest(new.read_bytes(), np.memmap(new.with_suffix(".bin"), np.uint8, "r"))
    for path, target in zip((new, new.with_suffix(".bin")), network_files(digest), strict=True):
        path.replace(folder / target)
    return digest


def network_files(digest: str) -> tuple[str, str]:
    """Names of the two files of a network."""
    return f"network-{digest}.xml", f"network-{digest}.bin"


def read_network(
    core: openvino.Core, folder: Path, digest: str, *, image_size: int, feature_dim: int
) -> openvino.Model:
    """Reads and checks a network.

    Args:
        core: OpenVINO.
        folder: where its files are.
        digest: what `write_network` returned: 32 hex digits.
        image_size: side of the square that it sees, in pixels.
        feature_dim: length of its features.

    Returns:
        (batch, h, w, 3) uint8 of free sizes -> (batch, feature_dim) float32.

    Raises:
        ModelError: its files are missing, are not those that had this digest, or hold anything but plain operations on
            tensors of a size that such a network has.
    """
    import openvino

    if not _DIGEST.fullmatch(digest):
        raise ModelError(f"{digest[:40]!r} is not the digest of a network", where=str(folder))
    xml_path, bin_path = (folder / name for name in network_files(digest))
    try:
        description = read_file(xml_path, max_bytes=_MAX_XML_BYTES, inside=folder)
        with open_file(bin_path, max_bytes=_MAX_BIN_BYTES, inside=folder, dense=True) as file:
            weights = np.memmap(file, np.uint8, "r") if file.seek(0, 2) else np.zeros(0, np.uint8)
    except OSError as error:
        raise ModelError(
            f"cannot be read: {os_reason(error)}", where=str(error.filename or xml_path), do="restore the file"
        ) from error
    if _digest(description, weights) != digest:
        raise ModelError("was changed since it was saved", where=str(xml_path), do="restore it, or train again")
    try:
        _check_description(description, len(weights))
        model = core.read_model(description, openvino.Tensor(np.asarray(weights)))
        _check_model(model, image_size, feature_dim)
    except _RefusedNetworkError as error:
        raise ModelError(f"is not a network that imagematch runs: {error}", where=str(xml_path)) from error
    except (RuntimeError, TypeError, ValueError) as error:  # OpenVINO's own complaints about a damaged description
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"is not a network that OpenVINO reads: {reason}", where=str(xml_path)) from error
    return model


class _RefusedNetworkError(Exception):
    """Why a network is not run."""


def _digest(description: bytes, weights: np.ndarray) -> str:
    return digest_json([digest_bytes(description), digest_bytes(weights.data)])


def _check_description(description: bytes, weight_bytes: int) -> None:
    """Refuses operations that are not plain, and weights that lie outside the file, before OpenVINO sees them."""
    if b"<!" in description:  # a document type could define entities
        raise _RefusedNetworkError("its description has more than elements")
    try:
        root = ElementTree.fromstring(description)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise _RefusedNetworkError("its description is no XML") from error
    layers = root.findall("./layers/layer")
    if root.tag != "net" or not 0 < len(layers) <= _MAX_OPERATIONS:
        raise _RefusedNetworkError(f"it has {len(layers):,} operations")
    if len(root.findall(".//layer")) != len(layers):
        raise _RefusedNetworkError("it has networks inside")
    for layer in layers:
        kind = str(layer.get("type"))
        if not _OPERATIONS.fullmatch(kind) or not str(layer.get("version")).startswith("opset"):
            raise _RefusedNetworkError(f"{kind[:40]!r} is not a plain operation")
        if kind == "Const":
            data = layer.find("data")
            start, size = (_number(data.get(key) if data is not None else None) for key in ("offset", "size"))
            if start + size > weight_bytes:
                raise _RefusedNetworkError("its weights lie outside their file")


def _number(text: str | None) -> int:
    if text is None or not text.isdecimal() or len(text) > 15:
        raise _RefusedNetworkError("its weights have no place in their file")
    return int(text)


def _check_model(model: openvino.Model, image_size: int, feature_dim: int) -> None:
    """Refuses other inputs and outputs, and tensors or work beyond what a network of this image size has."""
    import openvino

    inputs, outputs = model.inputs, model.outputs
    if len(inputs) != 1 or str(inputs[0].partial_shape) != "[?,?,?,3]" or inputs[0].element_type.to_string() != "u8":
        raise _RefusedNetworkError("it does not take images")
    if len(outputs) != 1 or outputs[0].element_type.to_string() != "f32":
        raise _RefusedNetworkError("it does not give features")
    sized = model.clone()
    sized.reshape(openvino.PartialShape([1, image_size, image_size, 3]))
    if str(sized.outputs[0].partial_shape) != f"[1,{feature_dim}]":
        raise _RefusedNetworkError(f"its features are not {feature_dim:,} numbers an image")
    largest = min(_MAX_VALUES, max(_MAX_VALUES_PER_PIXEL * image_size**2, _MAX_VALUES >> 7))
    work = 0.0
    for operation in sized.get_ordered_ops():
        if operation.get_type_name() == "Constant":
            continue
        shapes = [output.partial_shape for output in operation.outputs()]
        if any(shape.is_dynamic for shape in shapes):
            raise _RefusedNetworkError("the size of its tensors cannot be told")
        values = sum(math.prod(_sizes(shape)) for shape in shapes)
        if values > largest:
            raise _RefusedNetworkError(f"it makes a tensor of {values:,} numbers")
        work += 2 * values * _products(operation)
    if work > _MAX_FLOP:
        raise _RefusedNetworkError(f"it takes {work:.0e} operations an image")


def _products(operation: Any) -> float:
    """How many products each number of an operation's output is the sum of."""
    kind = operation.get_type_name()
    if kind in ("Convolution", "GroupConvolution"):
        kernel = _sizes(operation.input(1).get_partial_shape())
        return math.prod(kernel[1:] if kind == "Convolution" else kernel[2:])
    if kind == "MatMul":
        return max(_sizes(operation.input(0).get_partial_shape())[-2:], default=1)
    return 1


def _sizes(shape: Any) -> Sequence[int]:
    return [dimension.get_length() for dimension in shape]
