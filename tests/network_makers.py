"""Small ONNX networks, written node by node as exporters write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SIDE, DIM, TOKENS = 16, 8, 5
"""Of the images, of the features, and the tokens of `write_transformer`."""


def write_onnx(
    path: Path,
    nodes: Sequence[Any],
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    constants: Mapping[str, Any],
) -> Path:
    """Writes a network; inputs and outputs are name -> (element type, shape)."""
    import onnx
    from onnx import helper, numpy_helper

    def infos(ports: Mapping[str, Any]) -> list[Any]:
        return [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in ports.items()]

    given = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), "network", infos(inputs), infos(outputs), given)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return path


def write_convolution(
    path: Path,
    *,
    half: bool = False,
    batch: Any = "N",
    sides: tuple[Any, Any] = (SIDE, SIDE),
    channels: Any = 3,
    pooled: bool = True,
) -> tuple[Path, np.ndarray]:
    """A 1 x 1 convolution and ReLU, averaged where `pooled`; and its kernel, (DIM, 3)."""
    from onnx import TensorProto, helper

    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    kernel = np.random.default_rng(0).normal(0, 0.5, (DIM, 3, 1, 1)).astype(np.float16 if half else np.float32)
    nodes = [helper.make_node("Conv", ["image", "kernel"], ["map"]), helper.make_node("Relu", ["map"], ["positive"])]
    outputs = {"positive": (kind, [batch, DIM, *sides])}
    if pooled:
        nodes += [
            helper.make_node("GlobalAveragePool", ["positive"], ["average"]),
            helper.make_node("Flatten", ["average"], ["features"]),
        ]
        outputs = {"features": (kind, [batch, DIM])}
    write_onnx(path, nodes, {"image": (kind, [batch, channels, *sides])}, outputs, {"kernel": kernel})
    return path, kernel[:, :, 0, 0].astype(np.float64)


def write_transformer(path: Path, *, heads: bool = True, pooler: bool = True) -> Path:
    """A class token and four patches through one block of attention: its outputs are all tokens, and the first."""
    from onnx import TensorProto, helper

    random = np.random.default_rng(1)

    def drawn(*shape: int) -> np.ndarray:
        return random.normal(0, 0.3, shape).astype(np.float32)

    node = helper.make_node
    nodes = [
        node("Conv", ["pixel_values", "patch_kernel"], ["patches"], strides=[8, 8]),
        node("Reshape", ["patches", "flat"], ["rows"]),
        node("Transpose", ["rows"], ["places"], perm=[0, 2, 1]),
        node("Shape", ["places"], ["sizes"]),
        node("Gather", ["sizes", "zero"], ["count"], axis=0),
        node("Unsqueeze", ["count", "axis"], ["counts"]),
        node("Concat", ["counts", "one_dim"], ["class_sizes"], axis=0),
        node("Expand", ["class_token", "class_sizes"], ["class_tokens"]),
        node("Concat", ["class_tokens", "places"], ["tokens"], axis=1),
        node("LayerNormalization", ["tokens", "scale", "bias"], ["normed"], axis=-1),
        *(node("MatMul", ["normed", f"w{name}"], [name]) for name in "qkv"),
    ]
    if heads:
        for name in "qkv":
            nodes += [node("Reshape", [name, "split"], [f"{name}s"])]
            nodes += [node("Transpose", [f"{name}s"], [f"{name}h"], perm=[0, 2, 1, 3])]
    else:
        nodes += [node("Identity", [name], [f"{name}h"]) for name in "qkv"]
    nodes += [
        node("Transpose", ["kh"], ["kt"], perm=[0, 1, 3, 2] if heads else [0, 2, 1]),
        node("MatMul", ["qh", "kt"], ["products"]),
        node("Mul", ["products", "root"], ["scores"]),
        node("Softmax", ["scores"], ["shares"], axis=-1),
        node("MatMul", ["shares", "vh"], ["mixed"]),
    ]
    if heads:
        nodes += [
            node("Transpose", ["mixed"], ["back"], perm=[0, 2, 1, 3]),
            node("Reshape", ["back", "join"], ["joined"]),
        ]
    else:
        nodes += [node("Identity", ["mixed"], ["joined"])]
    nodes += [
        node("Add", ["joined", "tokens"], ["summed"]),
        node("LayerNormalization", ["summed", "scale", "bias"], ["last_hidden_state"], axis=-1),
    ]
    outputs = {"last_hidden_state": (TensorProto.FLOAT, ["N", TOKENS, DIM])}
    if pooler:
        nodes += [node("Gather", ["last_hidden_state", "zero"], ["pooler_output"], axis=1)]
        outputs["pooler_output"] = (TensorProto.FLOAT, ["N", DIM])
    constants = {
        "patch_kernel": drawn(DIM, 3, 8, 8),
        "flat": np.array([0, DIM, -1]),
        "zero": np.array(0),
        "axis": np.array([0]),
        "one_dim": np.array([1, DIM]),
        "class_token": drawn(1, 1, DIM),
        "scale": np.ones(DIM, np.float32),
        "bias": np.zeros(DIM, np.float32),
        **{f"w{name}": drawn(DIM, DIM) for name in "qkv"},
        "root": np.array(0.5, np.float32),
        "split": np.array([0, TOKENS, 2, DIM // 2]),
        "join": np.array([0, TOKENS, DIM]),
    }
    return write_onnx(path, nodes, {"pixel_values": (TensorProto.FLOAT, ["N", 3, SIDE, SIDE])}, outputs, constants)
