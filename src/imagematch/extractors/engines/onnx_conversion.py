"""Reads a network file of any origin with OpenVINO, and writes it anew as imagematch runs networks.

It runs in a process with limits (`limited_process`): ONNX, OpenVINO IR and TFLite are read by native code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagematch.errors import ModelError
from imagematch.extractors.engines.conversion import sample_images
from imagematch.extractors.engines.network_file import read_network, write_network
from imagematch.extractors.engines.openvino import OpenVinoEngine, native_bfloat16

if TYPE_CHECKING:
    import openvino

FACTS_FILE = "facts.json"
_KNOWN_OUTPUTS = ("image_embeds", "pooler_output", "embedding", "embeddings", "features", "last_hidden_state")
_SAMPLES = 9
"""A batch of the engine and one more: what crashes OpenVINO does so here."""
_RUNNING: list[OpenVinoEngine] = []
"""Engines until the process ends: tearing one down has been seen to wait for its threads forever."""
_SIDES = {"nchw": (2, 3), "nhwc": (1, 2)}
_GEM_POWER, _GEM_LEAST = 3.0, 1e-6
"""Of generalised mean pooling. Source: Radenovic et al., Fine-tuning CNN image retrieval, TPAMI 2018."""


_UNKNOWN = re.compile(r"No conversion rule found for operations:\s*([\w.:, ]+)")


def convert_network_file(path: str, settings: str, folder: str) -> None:
    """Writes the network (network-DIGEST.xml and .bin) and what was found of it (facts.json) into a folder.

    Args:
        path: of the file.
        settings: JSON: `size` (or null), `size_from` (who says so), `scale`, `mean` and `std` (3 numbers each),
            `channels`, `layout`, `output` and `pooling` (or null).
        folder: where the results go.

    Raises:
        ModelError: it is no network of images, something is unclear, or it has operations that imagematch does not run.
    """
    import openvino

    given = json.loads(settings)
    core = openvino.Core()
    try:
        model = openvino.convert_model(path, verbose=False)
    except Exception as error:  # OpenVINO raises many kinds, its own and RuntimeError
        unknown = _UNKNOWN.search(str(error))
        if unknown:
            what = f"has operations that OpenVINO does not know: {unknown[1].strip()}"
            raise _refused(path, what, "export it with the standard operations alone") from error
        do = "export it again, with its external data beside it"
        raise _refused(path, f"cannot be read: {_line(error)}", do) from error
    facts: dict[str, Any] = {"inputs": _described(model.inputs), "outputs": _described(model.outputs)}
    image, layout = _image_input(path, model, given["layout"])
    size = _size(path, image, layout, given["size"], given["size_from"])
    try:
        _free_batch(model, image, layout, size)
    except Exception as error:
        raise _refused(path, f"cannot take {size} px: {_line(error)}", "give another input: {size: ...}") from error
    _as_float32(model)
    features, chosen, pooling = _features(path, model, layout, given["output"], given["pooling"])
    images = _prepared(image, layout, size, given)
    model = openvino.Model([features], [images], "network")
    model.validate_nodes_and_infer_types()
    shape = model.outputs[0].partial_shape
    if len(shape) != 2 or shape[1].is_dynamic:
        raise _refused(path, f"its features have the shape {shape}", "give input: {output: NAME}")
    dim, target = shape[1].get_length(), Path(folder)
    digest = write_network(model, target)
    try:
        checked = read_network(core, target, digest, image_size=size, feature_dim=dim)
    except ModelError as error:
        raise _refused(path, error.what, "export it with a batch of any size and plain operations") from error
    for precision in ("bfloat16", "float32") if native_bfloat16(core) else ("float32",):
        _RUNNING.append(OpenVinoEngine(core, checked, precision, dim))
        found = _RUNNING[-1].run(sample_images(_SAMPLES, min(size, 256)))
    facts |= {
        "layout": layout,
        "image_size": size,
        "output": chosen,
        "pooling": pooling,
        "feature_dim": dim,
        "network": digest,
        "parameters": sum(
            int(np.prod(one.get_output_shape(0))) for one in checked.get_ops() if one.get_type_name() == "Constant"
        ),
        "finite": bool(np.isfinite(found).all()),
        "variation": _variation(found),
    }
    (target / FACTS_FILE).write_text(json.dumps(facts), encoding="utf-8")


def _variation(features: np.ndarray) -> float:
    """How far features of different images lie apart, as a share of their length."""
    length = float(np.linalg.norm(features, axis=1).mean())
    apart = float(np.linalg.norm(features - features.mean(axis=0), axis=1).mean())
    return apart / length if np.isfinite(length) and length > 0 else 0.0


def _described(ports: Sequence[Any]) -> list[str]:
    return [
        f"{next(iter(port.get_names()), '?')} {port.partial_shape} {port.element_type.to_string()}" for port in ports
    ]


def _image_input(path: str, model: openvino.Model, layout: str | None) -> tuple[Any, str]:
    """The one input, a batch of images, and where its colours are."""
    if len(model.inputs) != 1:
        what = f"has {len(model.inputs)} inputs ({', '.join(_described(model.inputs))})"
        raise _refused(path, what, "export the image tower alone")
    port = model.inputs[0]
    shape = port.partial_shape
    if shape.rank.is_dynamic or len(shape) != 4:
        raise _refused(path, f"takes {_described([port])[0]}, not images", "export a network of images with fixed rank")
    colours = [
        name for name, axis in (("nchw", 1), ("nhwc", 3)) if shape[axis].is_static and shape[axis].get_length() == 3
    ]
    if layout is None and len(colours) != 1:
        what = f"takes {shape}: which axis has the three colours is unclear"
        raise _refused(path, what, "give input: {layout: nchw} or {layout: nhwc}")
    chosen = layout or colours[0]
    if colours and chosen not in colours:
        raise _refused(path, f"takes {shape}, which is not {chosen}", f"give input: {{layout: {colours[0]}}}")
    return port, chosen


def _size(path: str, port: Any, layout: str, wanted: int | None, said_by: str) -> int:
    sides = [port.partial_shape[axis] for axis in _SIDES[layout]]
    fixed = {side.get_length() for side in sides if side.is_static}
    if len(fixed) > 1:
        raise _refused(path, f"takes images of {' x '.join(map(str, sorted(fixed)))}, and only squares are given")
    if fixed and wanted not in (None, *fixed):
        do = "leave the size out" if said_by == "input" else f"correct {said_by}, or remove it and give mean and std"
        raise _refused(path, f"takes images of {fixed.pop()} px, not {wanted} as {said_by} says", do)
    if not fixed and wanted is None:
        raise _refused(path, "takes images of any size", "give input: {size: 224}, or what it was trained with")
    return int(fixed.pop() if fixed else wanted or 0)


def _free_batch(model: openvino.Model, port: Any, layout: str, size: int) -> None:
    import openvino

    sides = [-1, 3, size, size] if layout == "nchw" else [-1, size, size, 3]
    model.reshape({port: openvino.PartialShape(sides)})


def _as_float32(model: openvino.Model) -> None:
    """Half and double precision, of weights and inside, becomes float32."""
    from openvino import opset13 as ops

    for one in model.get_ops():
        kind, element = one.get_type_name(), one.get_output_size() and one.get_output_element_type(0).to_string()
        if kind == "Constant" and element in ("f16", "bf16", "f64"):
            one.output(0).replace(ops.constant(one.get_data(dtype=np.float32)).output(0))
        elif kind == "Convert" and element in ("f16", "bf16", "f64"):
            one.output(0).replace(ops.convert(one.input_value(0), "f32").output(0))
        elif kind == "Parameter" and element in ("f16", "bf16", "f64"):
            one.set_element_type(_float32())
    model.validate_nodes_and_infer_types()


def _float32() -> Any:
    import openvino

    return openvino.Type.f32


def _features(
    path: str, model: openvino.Model, layout: str, name: str | None, pooling: str | None
) -> tuple[Any, str, str]:
    """The output that is taken, as one vector an image; its name, and how it became one."""
    from openvino import opset13 as ops

    outputs = {next(iter(port.get_names()), str(number)): port for number, port in enumerate(model.outputs)}
    usual = [one for one in _KNOWN_OUTPUTS if one in outputs]
    chosen = name or (next(iter(outputs)) if len(outputs) == 1 else next(iter(usual), None))
    if chosen not in outputs:
        what = f"has the outputs {', '.join(_described(model.outputs))}"
        raise _refused(path, what, "give input: {output: NAME}")
    value = outputs[chosen].get_node().input_value(0)
    rank = len(value.get_partial_shape()) if value.get_partial_shape().rank.is_static else 0
    if value.get_element_type().to_string() != "f32" or rank not in (2, 3, 4):
        raise _refused(
            path, f"its output {_described([outputs[chosen]])[0]} is no feature", "give input: {output: NAME}"
        )
    how = pooling or {2: "none", 3: "cls", 4: "mean"}[rank]
    if how not in {2: ("none",), 3: ("cls", "mean", "gem"), 4: ("mean", "gem")}[rank]:
        raise _refused(path, f"its output of rank {rank} cannot be pooled by {how}", "leave input: {pooling} out")
    if how == "none":
        return value, str(chosen), how
    if how == "cls":
        index, axis = (ops.constant(np.array(number, np.int64)) for number in (0, 1))
        return ops.gather(value, index, axis).output(0), str(chosen), how
    over = [1] if rank == 3 else _SIDES[layout] if _map_axes(value) is None else _map_axes(value)
    axes = ops.constant(np.array(over, np.int64))
    if how == "mean":
        return ops.reduce_mean(value, axes, False).output(0), str(chosen), how
    power = ops.power(ops.maximum(value, np.float32(_GEM_LEAST)), np.float32(_GEM_POWER))
    return ops.power(ops.reduce_mean(power, axes, False), np.float32(1 / _GEM_POWER)).output(0), str(chosen), how


def _map_axes(value: Any) -> tuple[int, int] | None:
    """The sides of a map of features, where they alone are equal."""
    shape = value.get_partial_shape()
    same = [axes for axes in ((2, 3), (1, 2)) if shape[axes[0]] == shape[axes[1]] and shape[axes[0]].is_static]
    return same[0] if len(same) == 1 else None


def _prepared(port: Any, layout: str, size: int, given: dict[str, Any]) -> Any:
    """(n, h, w, 3) uint8 of any size -> what the network takes, in place of its input."""
    import openvino
    from openvino import opset13 as ops

    images = ops.parameter(openvino.PartialShape([-1, -1, -1, 3]), np.uint8)
    values = ops.interpolate(
        ops.convert(images, "f32"),
        ops.constant(np.array([size, size], np.int32)),
        "linear_onnx",
        "sizes",
        axes=ops.constant(np.array([1, 2], np.int32)),
        coordinate_transformation_mode="half_pixel",
    )
    if given["channels"] == "bgr":
        order, axis = ops.constant(np.array([2, 1, 0], np.int64)), ops.constant(np.array(3, np.int64))
        values = ops.gather(values, order, axis)
    mean, std = (np.array(given[key], np.float32) for key in ("mean", "std"))
    scaled = ops.multiply(values, ops.constant((np.float32(given["scale"]) / std).reshape(1, 1, 1, 3)))
    values = ops.add(scaled, ops.constant((-mean / std).reshape(1, 1, 1, 3)))
    if layout == "nchw":
        values = ops.transpose(values, ops.constant(np.array([0, 3, 1, 2], np.int64)))
    port.get_node().output(0).replace(values.output(0))
    return images


def _refused(path: str, what: str, do: str = "") -> ModelError:
    return ModelError(what, where=path, do=do)


def _line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[-200:] if len(text) > 200 else text
