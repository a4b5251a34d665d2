"""The description of a converted network: parsed, checked operation by operation, and written anew for OpenVINO.

OpenVINO never sees the XML of a stranger, in which two parsers could find two networks. What it reads is written here,
from plain operations with the attributes, inputs and constants that such operations have. So there are no names, no
networks inside, no code, no other files, and nothing that its shape inference could be made to compute at length.

Source: https://docs.openvino.ai/2026/documentation/openvino-ir-format.html
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any
from xml.etree import ElementTree

import numpy as np

from imagematch.extractors.engines.operations import (
    AXES,
    ELEMENTWISE,
    INTEGER_OPERATIONS,
    INTEGERS,
    OPERATIONS,
    Attributes,
)
from imagematch.reading import MB

_MAX_OPERATIONS = 6_000
_MAX_COMPUTING = 2_500
_MAX_ELEMENTWISE = 120
_MAX_ELEMENTS = 250_000
_MAX_RANK = 6
_MAX_SIDE = 1 << 24
_MAX_INTEGERS = 4_096
_MAX_LARGE_INTEGERS = 65_536
_LARGEST_INTEGER = 1 << 20
_NO_END = (np.iinfo(np.int32).max, np.iinfo(np.int64).max)
_MAX_SHARED = 4
_MIN_SHARED_BYTES = 16 * MB
_DTYPES: Mapping[str, np.dtype[Any]] = {"f32": np.dtype("<f4"), **INTEGERS}


class RefusedNetworkError(Exception):
    """Why a network is not run."""


OutputPort = tuple[str, int]
"""An operation's id and the number of its output."""


@dataclass(frozen=True)
class _Operation:
    kind: str
    version: str
    attributes: Attributes
    inputs: tuple[OutputPort, ...]
    outputs: int


def checked_description(description: bytes, weights: np.ndarray) -> bytes:
    """The description, checked and written anew from what was parsed; `weights` are the bytes of the constants.

    Raises:
        RefusedNetworkError: it is no description, or has anything but plain operations.
    """
    operations = _parsed(description)
    order = _ordered(operations)
    _check_length(operations, order)
    _check_constants(operations, weights)
    _check_integers(operations, order, weights)
    return _written(operations, order)


def _parsed(description: bytes) -> dict[str, _Operation]:
    if not description.startswith(b"<?xml version=") or b"<!" in description or b"\0" in description:
        raise RefusedNetworkError("its description has more than elements")  # entities, another encoding
    if description.count(b"<") > _MAX_ELEMENTS or description.count(b"=") > _MAX_ELEMENTS:
        raise RefusedNetworkError("its description is too long")
    try:
        root = ElementTree.fromstring(description)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise RefusedNetworkError("its description is not XML") from error
    layers, edges = root.findall("./layers/layer"), root.findall("./edges/edge")
    if root.tag != "net" or not 0 < len(layers) <= _MAX_OPERATIONS:
        raise RefusedNetworkError(f"it has {len(layers):,} operations")
    if len(root.findall(".//layer")) != len(layers):
        raise RefusedNetworkError("it has networks inside")
    sources: dict[tuple[str | None, str | None], tuple[str, str]] = {}
    for edge in edges:
        target = (edge.get("to-layer"), edge.get("to-port"))
        if target in sources:
            raise RefusedNetworkError("two of its operations lead to one place")
        sources[target] = (str(edge.get("from-layer")), str(edge.get("from-port")))
    outputs = {
        (str(layer.get("id")), str(port.get("id"))): number
        for layer in layers
        for number, port in enumerate(layer.findall("./output/port"))
    }
    operations = {}
    for layer in layers:
        name = str(layer.get("id"))
        if name in operations:
            raise RefusedNetworkError("two of its operations have one number")
        inputs = [sources.get((name, port.get("id")), ("", "")) for port in layer.findall("./input/port")]
        if any(source not in outputs for source in inputs):
            raise RefusedNetworkError("an operation lacks an input")
        count = len(layer.findall("./output/port"))
        operations[name] = _operation(
            layer, tuple((layer_id, outputs[layer_id, port]) for layer_id, port in inputs), count
        )
    return operations


def _operation(layer: ElementTree.Element, inputs: tuple[OutputPort, ...], outputs: int) -> _Operation:
    """Raises RefusedNetworkError where it is no operation that OPERATIONS knows, or has other attributes."""
    kind, version, data = str(layer.get("type")), str(layer.get("version")), layer.find("data")
    known = OPERATIONS.get(kind)
    if known is None or version not in known.versions:
        raise RefusedNetworkError(f"{f'{kind} of {version}'[:60]!r} is not a plain operation")
    attributes = {} if data is None else dict(data.attrib)
    for name, value in attributes.items():
        pattern = known.attributes.get(name)
        if pattern is None or not re.fullmatch(pattern, value):
            raise RefusedNetworkError(f"{kind} has {f'{name} = {value}'[:60]!r}")
    if not known.needed <= attributes.keys():
        raise RefusedNetworkError(f"{kind} lacks attributes")
    if len(inputs) not in known.inputs or outputs not in known.outputs:
        raise RefusedNetworkError(f"{kind} has {len(inputs)} inputs and {outputs} outputs")
    return _Operation(kind, version, attributes, inputs, outputs)


def _ordered(operations: Mapping[str, _Operation]) -> list[str]:
    """The operations' ids, each after those it needs."""
    needs = {name: [source for source, _ in one.inputs] for name, one in operations.items()}
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise RefusedNetworkError("its operations go round in a circle") from error


def _check_length(operations: Mapping[str, _Operation], order: Sequence[str]) -> None:
    """Refuses more operations than a network has, and long chains of elementwise ones: compiling takes their square."""
    if sum(one.kind != "Const" for one in operations.values()) > _MAX_COMPUTING:
        raise RefusedNetworkError("it has too many operations")
    depth = dict.fromkeys(order, 0)
    for name in order:
        if operations[name].kind in ELEMENTWISE:
            depth[name] = 1 + max(depth[source] for source, _ in operations[name].inputs)
            if depth[name] > _MAX_ELEMENTWISE:
                raise RefusedNetworkError("it has a long chain of elementwise operations")


def _check_constants(operations: Mapping[str, _Operation], weights: np.ndarray) -> None:
    """Refuses constants that lie outside the file, or share it so often that they are many times as large as it is."""
    total = 0
    for one in _of_kind(operations, "Const"):
        start, size = int(one.attributes["offset"]), int(one.attributes["size"])
        shape = _shape(one)
        if len(shape) > _MAX_RANK or max(shape, default=1) > _MAX_SIDE:
            raise RefusedNetworkError(f"it has a constant of the shape {shape}"[:100])
        if size != math.prod(shape) * _DTYPES[one.attributes["element_type"]].itemsize or not size:
            raise RefusedNetworkError("the size of a constant is not that of its shape")
        if start + size > len(weights):
            raise RefusedNetworkError("its weights lie outside their file")
        total += size
    if total > max(_MAX_SHARED * len(weights), _MIN_SHARED_BYTES):
        raise RefusedNetworkError("its constants share their numbers too often")


def _of_kind(operations: Mapping[str, _Operation], kind: str) -> Iterator[_Operation]:
    return (one for one in operations.values() if one.kind == kind)


def _shape(one: _Operation) -> list[int]:
    return [int(side) for side in one.attributes["shape"].split(",") if side.strip()]


def _check_integers(operations: Mapping[str, _Operation], order: Sequence[str], weights: np.ndarray) -> None:
    """Refuses arithmetic with integers beyond that of shapes: OpenVINO does it while it reads a network.

    Integers come from constants and shapes alone, and there are few of them.
    """
    of_slices = {
        source for one in operations.values() if one.kind in ("Slice", "StridedSlice") for source, _ in one.inputs
    }
    counts: dict[str, int] = {}
    """How many integers an operation gives at most; those of numbers with a fraction are not in it."""
    for name in order:
        one = operations[name]
        given = [counts.get(source) for source, _ in one.inputs]
        integers = [count for count in given if count is not None]
        position = AXES.get(one.kind, len(one.inputs))
        axes = one.inputs[position][0] if position < len(one.inputs) else None
        if axes is not None and not _are_axes(operations[axes], weights):
            raise RefusedNetworkError(f"{one.kind} works on what may be no axis")
        if one.kind == "Const":
            if one.attributes["element_type"] in INTEGERS:
                counts[name] = _checked_integers(one, weights, endless=name in of_slices)
        elif one.kind == "ShapeOf":
            counts[name] = _MAX_RANK
        elif one.kind == "Convert":
            if one.attributes["destination_type"] in INTEGERS:
                if not integers:
                    raise RefusedNetworkError("it makes integers of other numbers")
                counts[name] = integers[0]
        elif given and given[0] is not None:
            if len(integers) < len(given):
                raise RefusedNetworkError("it computes with integers and other numbers at once")
            counts[name] = _integers_of(one, integers, operations, weights)
        elif one.kind == "Interpolate" and not all(
            _is_positive(operations[source], weights) for source, _ in one.inputs[1:-1]
        ):
            raise RefusedNetworkError("it computes the size of an image, or there is none")


def _integers_of(
    one: _Operation, integers: Sequence[int], operations: Mapping[str, _Operation], weights: np.ndarray
) -> int:
    """How many integers an operation on integers gives at most."""
    sources = [operations[source] for source, _ in one.inputs]
    if one.kind == "Broadcast":  # the lengths of sequences: as many as there are images
        if list(integers) != [1, 1] or sources[1].kind != "Gather":
            raise RefusedNetworkError("it repeats integers")
        return _MAX_INTEGERS + 1
    if one.kind not in INTEGER_OPERATIONS or max(integers) > _MAX_INTEGERS:
        raise RefusedNetworkError(f"{one.kind} computes with integers")
    if one.kind in ("Divide", "FloorMod", "Mod") and not _is_positive(sources[1], weights):
        raise RefusedNetworkError("it divides integers by what may be 0")
    if one.kind == "Concat":
        count = sum(integers)
    elif one.kind == "Gather" and sources[0].kind == "ShapeOf":
        count = integers[1]
    elif one.kind in ("Gather", "Add", "Subtract", "Multiply", "Divide", "FloorMod", "Mod", "Maximum", "Minimum"):
        count = integers[0] * integers[1]
    else:
        count = integers[0]
    if count > _MAX_INTEGERS:
        raise RefusedNetworkError(f"it computes {count:,} integers")
    return count


def _is_positive(one: _Operation, weights: np.ndarray) -> bool:
    if one.kind != "Const":
        return False
    numbers = _numbers(one, weights)
    return bool(((numbers > 0) & (numbers <= _LARGEST_INTEGER)).all())


def _are_axes(one: _Operation, weights: np.ndarray) -> bool:
    if one.kind != "Const" or one.attributes["element_type"] not in INTEGERS:
        return False
    numbers = _numbers(one, weights)
    return bool(np.all((numbers >= -_MAX_RANK) & (numbers < _MAX_RANK)))


def _checked_integers(one: _Operation, weights: np.ndarray, *, endless: bool) -> int:
    """How many there are, after checking that they are few and small; `endless` allows ends of slices."""
    numbers = _numbers(one, weights)
    checked = numbers[~np.isin(numbers, _NO_END)] if endless else numbers
    large = np.abs(checked.astype(np.float64)) > _LARGEST_INTEGER
    if len(numbers) > _MAX_LARGE_INTEGERS or large.any():
        raise RefusedNetworkError("its integers are not those of shapes")
    return len(numbers)


def _numbers(one: _Operation, weights: np.ndarray) -> np.ndarray:
    start, size = int(one.attributes["offset"]), int(one.attributes["size"])
    return np.frombuffer(weights[start : start + size].tobytes(), _DTYPES[one.attributes["element_type"]])


def _written(operations: Mapping[str, _Operation], order: Sequence[str]) -> bytes:
    numbers = {name: number for number, name in enumerate(order)}
    root = ElementTree.Element("net", name="network", version="11")
    layers, edges = ElementTree.SubElement(root, "layers"), ElementTree.SubElement(root, "edges")
    for name in order:
        one, number = operations[name], numbers[name]
        layer = ElementTree.SubElement(
            layers, "layer", id=str(number), name=f"n{number}", type=one.kind, version=one.version
        )
        ElementTree.SubElement(layer, "data", dict(one.attributes))
        for side, first, count in (("input", 0, len(one.inputs)), ("output", len(one.inputs), one.outputs)):
            ports = ElementTree.SubElement(layer, side) if count else layer
            for port in range(first, first + count):
                ElementTree.SubElement(ports, "port", id=str(port), precision="FP32")
        for port, (source, output) in enumerate(one.inputs):
            start = {"from-layer": str(numbers[source]), "from-port": str(len(operations[source].inputs) + output)}
            ElementTree.SubElement(edges, "edge", {**start, "to-layer": str(number), "to-port": str(port)})
    return ElementTree.tostring(root, xml_declaration=True, encoding="utf-8")
