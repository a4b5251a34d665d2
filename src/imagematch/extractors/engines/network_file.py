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

import numpy as np

from imagematch.errors import ModelError
from imagematch.extractors.engines.network_description import RefusedNetworkError, checked_description
from imagematch.extractors.engines.operations import AXES
from imagematch.files import digest_bytes, digest_json, os_reason
from imagematch.reading import GB, MB, open_file, read_exactly, read_file

if TYPE_CHECKING:
    import openvino

_DIGEST = re.compile("[0-9a-f]{32}")
_MAX_XML_BYTES = 8 * MB
_MAX_BIN_BYTES = 4 * GB
_VALUES_PER_PIXEL = 192
_MIN_VALUES = 1 << 22
"""Numbers that a network holds at once: VGG, which has the most, 131 for every pixel of an image."""
_FLOP_PER_WEIGHT_AND_PIXEL = 8
_FLOP_PER_PIXEL = 2e5
_MIN_FLOP = 1e10
"""Of an image. A weight is used once a pixel at most, which is 2 operations; so a small file computes little."""
_FLOP_PER_VALUE = 16
_BATCHES = (1, 8)
"""That the engine runs; what depends on their size must be in bounds for both."""
_BEFORE_ENLARGING = ("Parameter", "Convert", "Transpose")


def write_network(model: openvino.Model, folder: Path) -> str:
    """Writes a network into a folder, in float32, and returns the digest that `read_network` finds it by.

    Raises:
        OSError, RuntimeError: it cannot be written.
    """
    import openvino

    new = folder / "network.xml"
    openvino.save_model(model, new, compress_to_fp16=False)
    digest = _digest(new.read_bytes(), np.memmap(new.with_suffix(".bin"), np.uint8, "r"))
    for path, target in zip((new, new.with_suffix(".bin")), converted_files(digest), strict=True):
        path.replace(folder / target)
    return digest


def converted_files(digest: str) -> tuple[str, str]:
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

    description, weights = read_plain(folder, digest)
    where = str(folder / converted_files(digest)[0])
    try:
        model = core.read_model(description, openvino.Tensor(weights))
        _check_model(model, image_size, feature_dim)
    except RefusedNetworkError as error:
        raise ModelError(f"is not a network that imagematch runs: {error}", where=where) from error
    except (
        RuntimeError,
        TypeError,
        ValueError,
        LookupError,
        ArithmeticError,
    ) as error:  # OpenVINO's own complaints about a damaged description
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"is not a network that OpenVINO reads: {reason}", where=where) from error
    return model


def read_plain(folder: Path, digest: str) -> tuple[bytes, np.ndarray]:
    """The description, checked and written anew, and the weights, (bytes,) uint8; needs no OpenVINO.

    Raises:
        ModelError: as `read_network`.
    """
    if not _DIGEST.fullmatch(digest):
        raise ModelError(f"{digest[:40]!r} is not the digest of a network", where=str(folder))
    xml_path, bin_path = (folder / name for name in converted_files(digest))
    try:
        description = read_file(xml_path, max_bytes=_MAX_XML_BYTES, inside=folder)
        with open_file(bin_path, max_bytes=_MAX_BIN_BYTES, inside=folder, dense=True) as file:
            size = file.seek(0, 2)
            file.seek(0)
            # Into memory, not mapped: what is checked is what is run, whatever becomes of the file.
            weights = np.frombuffer(read_exactly(file, size), np.uint8)
    except OSError as error:
        raise ModelError(
            f"cannot be read: {os_reason(error)}", where=str(error.filename or xml_path), do="restore the file"
        ) from error
    if _digest(description, weights) != digest:
        raise ModelError("was changed since it was saved", where=str(xml_path), do="restore it, or train again")
    try:
        return checked_description(description, weights), weights
    except RefusedNetworkError as error:
        raise ModelError(f"is not a network that imagematch runs: {error}", where=str(xml_path)) from error
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"is not a network that OpenVINO reads: {reason}", where=str(xml_path)) from error


def _digest(description: bytes, weights: np.ndarray) -> str:
    return digest_json([digest_bytes(description), digest_bytes(weights.data)])


def _check_model(model: openvino.Model, image_size: int, feature_dim: int) -> None:
    """Refuses other inputs and outputs, and tensors or work beyond what a network of this image size has."""
    import openvino

    inputs, outputs = model.inputs, model.outputs
    if len(inputs) != 1 or str(inputs[0].partial_shape) != "[?,?,?,3]" or inputs[0].element_type.to_string() != "u8":
        raise RefusedNetworkError("it does not take images")
    if len(outputs) != 1 or outputs[0].element_type.to_string() != "f32":
        raise RefusedNetworkError("it does not give features")
    for batch in _BATCHES:
        sized = model.clone()
        sized.reshape(openvino.PartialShape([batch, -1, -1, 3]))
        if str(sized.outputs[0].partial_shape) != f"[{batch},{feature_dim}]":
            raise RefusedNetworkError(f"its features are not {feature_dim:,} numbers an image")
        _check_cost(sized.get_ordered_ops(), batch, image_size**2)


def _check_cost(operations: Sequence[Any], batch: int, pixels: int) -> None:
    """Refuses networks that hold or compute more than those of this package, for images of so many pixels."""
    weights = sum(math.prod(one.get_output_shape(0)) for one in _of_kind(operations, "Constant"))
    most_flop = batch * max(_MIN_FLOP, pixels * (_FLOP_PER_PIXEL + _FLOP_PER_WEIGHT_AND_PIXEL * weights))
    most_held = weights + batch * max(_MIN_VALUES, pixels * _VALUES_PER_PIXEL)  # quantised weights are held, too
    last_use = {source: step for step, one in enumerate(operations) for source in _sources(one)}
    of_images = {one.get_friendly_name() for one in _of_kind(operations, "Parameter")}
    work, held = 0.0, 0
    freed: dict[int, int] = {}
    for step, one in enumerate(operations):
        if one.get_type_name() == "Constant":
            continue
        _check_axes(one)
        if one.get_type_name() == "ScaledDotProductAttention" and len(one.get_output_partial_shape(0)) != 4:
            raise RefusedNetworkError("it has attention without heads, which crashes OpenVINO")
        own = one.get_type_name() in _BEFORE_ENLARGING  # of the images' own sizes, which are free
        values = sum(_values(output.partial_shape, batch * pixels if own else None) for output in one.outputs())
        name = one.get_friendly_name()
        if name in of_images or not of_images.isdisjoint(_sources(one)):  # what follows from constants alone stays
            of_images.add(name)
            end = last_use.get(name, step)
            freed[end] = freed.get(end, 0) + values
        held, work = held + values, work + _work(one, values, batch * pixels)
        if held > most_held:
            raise RefusedNetworkError(f"it holds {held:,} numbers at once")
        if work > most_flop:
            raise RefusedNetworkError(f"it takes {work:.0e} operations, and more")
        held -= freed.get(step, 0)


def _check_axes(operation: Any) -> None:
    """Refuses axes that the operation's input does not have, or one of them twice."""
    kind, inputs = operation.get_type_name(), operation.get_input_size()
    number = AXES.get(kind, inputs) % max(inputs, 1) if AXES.get(kind, inputs) < inputs else None
    if number is None or kind == "Unsqueeze":  # OpenVINO checks that one
        return
    rank = len(operation.input(0).get_partial_shape())
    axes = operation.input(number).get_source_output().get_node().get_data().flatten().tolist()
    if len({axis % max(rank, 1) for axis in axes}) < len(axes) or not all(-rank <= axis < rank for axis in axes):
        raise RefusedNetworkError("it works on axes that are not there")


def _of_kind(operations: Sequence[Any], kind: str) -> list[Any]:
    return [one for one in operations if one.get_type_name() == kind]


def _sources(operation: Any) -> list[str]:
    return [one.get_source_output().get_node().get_friendly_name() for one in operation.inputs()]


def _work(operation: Any, values: int, pixels: int) -> float:
    """Floating-point operations, roughly: those of products and windows, and some for every number in and out."""
    kind = operation.get_type_name()
    given = [one.get_partial_shape() for one in operation.inputs()]
    shapes = [_sizes(shape) if shape.is_static else [3, pixels] for shape in given]
    each = 0.0
    if kind == "Convolution":
        each = math.prod(shapes[1][1:])
    elif kind == "GroupConvolution":
        each = math.prod(shapes[1][2:])
    elif kind == "MatMul":
        each = max(shapes[0][-2:], default=1)
    elif kind == "ScaledDotProductAttention":
        each = 2 * max(shapes[1][-2:], default=1)
    elif kind == "Einsum":
        operands, result = operation.get_attributes()["equation"].split("->")
        sides = dict(zip(operands.replace(",", ""), [side for shape in shapes for side in shape], strict=True))
        each = math.prod(side for label, side in sides.items() if label not in result)
    elif kind in ("AvgPool", "MaxPool"):
        each = math.prod(operation.get_attributes()["kernel"])
    return 2 * each * values + _FLOP_PER_VALUE * (values + sum(map(math.prod, shapes)))


def _values(shape: Any, pixels: int | None) -> int:
    """How many numbers a tensor has; of images of a free size, where `pixels` says how many they have."""
    if shape.is_static:
        return math.prod(_sizes(shape))
    if pixels is None or shape.rank.is_dynamic or len(shape) != 4:
        raise RefusedNetworkError("the size of its tensors cannot be told")
    return 3 * pixels


def _sizes(shape: Any) -> Sequence[int]:
    sizes = [dimension.get_length() for dimension in shape]
    if min(sizes, default=1) < 1:
        raise RefusedNetworkError("it has tensors without numbers")
    return sizes
