"""A network of YuNet's outputs that takes any bright cell of 32 pixels for a face, so that no weights are needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

POINTS = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
"""In a cell of 112 pixels."""


def write_yunet(path: Path, names: Sequence[str] = ("cls", "obj", "bbox", "kps")) -> Path:
    """Writes the file; a face has its centre in its cell, sides of e cells, and the aligned template's points."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    points = (np.array(POINTS) + 0.5) / 112
    values = {"bbox": np.array([0.5, 0.5, 1, 1]), "kps": points.ravel()}
    nodes, outputs, weights = [], [], []
    for stride in (8, 16, 32):
        nodes.append(
            helper.make_node(
                "AveragePool", ["input"], [f"mean_{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2
            )
        )
        for name, kind in zip(names, ("cls", "obj", "bbox", "kps"), strict=True):
            constant = values.get(kind)
            width = 1 if constant is None else len(constant)
            kernel = np.zeros((width, 3, 1, 1), np.float32)
            bias = np.zeros(width, np.float32) if constant is None else constant.astype(np.float32)
            if constant is None:
                kernel[:] = 0.1 / 3 if stride == 32 else 0
                bias[:] = -15 if stride == 32 else -30
            key = f"{name}_{stride}"
            weights += [numpy_helper.from_array(kernel, f"{key}_k"), numpy_helper.from_array(bias, f"{key}_b")]
            weights.append(numpy_helper.from_array(np.array([1, -1, width]), f"{key}_s"))
            nodes.append(helper.make_node("Conv", [f"mean_{stride}", f"{key}_k", f"{key}_b"], [f"{key}_c"]))
            squashed = f"{key}_c"
            if constant is None:
                squashed = f"{key}_g"
                nodes.append(helper.make_node("Sigmoid", [f"{key}_c"], [squashed]))
            nodes.append(helper.make_node("Transpose", [squashed], [f"{key}_t"], perm=[0, 2, 3, 1]))
            nodes.append(helper.make_node("Reshape", [f"{key}_t", f"{key}_s"], [key]))
            outputs.append(helper.make_tensor_value_info(key, TensorProto.FLOAT, [1, None, width]))
    images = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 256, 320])
    graph = helper.make_graph(nodes, "yunet", [images], outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path
