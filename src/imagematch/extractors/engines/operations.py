"""What is known of each operation that a converted network may have: versions, attributes, inputs and outputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Attributes = Mapping[str, str]

INTEGERS: Mapping[str, np.dtype[Any]] = {"i32": np.dtype("<i4"), "i64": np.dtype("<i8")}
"""Integers are those of shapes and axes, nothing else."""
INTEGER_OPERATIONS = {
    *("Gather", "Concat", "StridedSlice", "Slice", "Squeeze", "Unsqueeze", "Reshape"),
    *("Add", "Subtract", "Multiply", "Divide", "FloorMod", "Mod", "Maximum", "Minimum"),
}
"""The arithmetic of shapes."""
AXES = {
    **dict.fromkeys(("MVN", "NormalizeL2", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceSum"), 1),
    **dict.fromkeys(("Squeeze", "Unsqueeze", "Split", "VariadicSplit"), 1),
    **{"Gather": 2, "Slice": 4, "Interpolate": -1},
}
"""The input that says which axes an operation works on: a constant. OpenVINO believes it of some."""
ELEMENTWISE = {
    *("Abs", "Cos", "Erf", "Exp", "Floor", "Negative", "ReLU", "Sigmoid", "Sin", "Sqrt", "Tanh", "HSigmoid", "HSwish"),
    *("Mish", "Swish", "Add", "Subtract", "Multiply", "Maximum", "Minimum", "Mod", "FloorMod", "Power", "Divide"),
    *("SquaredDifference", "PReLU", "HardSigmoid", "Selu", "Clamp", "Elu", "Gelu", "FakeQuantize", "Convert"),
}
"""Operations on each number alone, which OpenVINO compiles into one where they follow each other."""

_BOOL = "true|false"
_REAL = r"-?\d{1,9}(\.\d{0,20})?(e[+-]?\d{1,2})?"
_AXIS = r"-?[0-5]"
_MASK = r"[01](, ?[01]){0,5}"
_SIDES = r"[1-9]\d{0,2}(, ?[1-9]\d{0,2}){0,2}"
_PADS = r"\d{1,3}(, ?\d{1,3}){0,2}"
_NO_PADS = "0(, ?0){0,5}|"
_LABELS = r"(?!\w*(?P<{0}>\w)\w*(?P={0}))[A-Za-z]{{1,6}}"
"""Of an operand's axes, each another one."""
_EQUATION = "{},{}->{}".format(*(_LABELS.format(operand) for operand in ("first", "second", "result")))
_AUTO_PAD = "explicit|same_upper|same_lower|valid|notset"


@dataclass(frozen=True)
class Known:
    """What an operation may look like.

    Attributes:
        inputs: how many it may have.
        outputs: likewise.
        versions: the operation sets that it may be of.
        attributes: name -> pattern of its value.
        optional: attributes that may be missing.
    """

    inputs: range
    outputs: range
    versions: tuple[str, ...]
    attributes: Attributes
    optional: frozenset[str]

    @property
    def needed(self) -> frozenset[str]:
        """Attributes that must be there."""
        return frozenset(self.attributes) - self.optional


def _known(
    inputs: int,
    most: int = 0,
    *,
    outputs: int = 1,
    versions: str = "opset1",
    optional: Collection[str] = (),
    **attributes: str,
) -> Known:
    """An operation of `inputs` to `most` inputs, and of up to `outputs` outputs."""
    names = {name.replace("exclude_pad", "exclude-pad"): pattern for name, pattern in attributes.items()}
    least = min(outputs, 1)
    return Known(
        range(inputs, max(inputs, most) + 1),
        range(least, outputs + 1),
        tuple(versions.split()),
        names,
        frozenset(optional),
    )


_ONE = _known(1)
_TWO = _known(2, auto_broadcast="numpy")
_REDUCE = _known(2, keep_dims=_BOOL)
_CONVOLUTION = _known(2, strides=_SIDES, dilations=_SIDES, pads_begin=_PADS, pads_end=_PADS, auto_pad=_AUTO_PAD)
_POOL: dict[str, Any] = {
    "kernel": _SIDES,
    "strides": _SIDES,
    "pads_begin": _PADS,
    "pads_end": _PADS,
    "rounding_type": "floor|ceil|ceil_torch",
    "auto_pad": _AUTO_PAD,
}

OPERATIONS: Mapping[str, Known] = {
    "Parameter": _known(0, shape=r"\?,\?,\?,3", element_type="u8"),
    "Const": _known(
        0, element_type="f32|i32|i64", shape=r"(\d{1,8}(, ?\d{1,8}){0,5})?", offset=r"\d{1,12}", size=r"\d{1,12}"
    ),
    "Result": _known(1, outputs=0),
    **dict.fromkeys(("Abs", "Cos", "Erf", "Exp", "Floor", "Negative", "ReLU", "Sigmoid", "Sin", "Sqrt", "Tanh"), _ONE),
    "HSigmoid": _known(1, versions="opset5"),
    "HSwish": _known(1, versions="opset4"),
    "Mish": _known(1, versions="opset4"),
    "Swish": _known(1, 2, versions="opset4"),
    **dict.fromkeys(("Add", "Subtract", "Multiply", "Maximum", "Minimum", "Mod", "FloorMod", "Power"), _TWO),
    "SquaredDifference": _TWO,
    "Divide": _known(2, auto_broadcast="numpy", m_pythondiv=_BOOL),
    "PReLU": _known(2),
    "HardSigmoid": _known(3),
    "Selu": _known(3),
    "Clamp": _known(1, min=_REAL, max=_REAL),
    "Elu": _known(1, alpha=_REAL),
    "Gelu": _known(1, versions="opset7", approximation_mode="ERF|TANH|erf|tanh"),
    "FakeQuantize": _known(5, levels=r"[1-9]\d{1,4}", auto_broadcast="numpy"),
    "Convert": _known(1, destination_type="f32|i32|i64"),
    "ShapeOf": _known(1, versions="opset3", output_type="i32|i64"),
    "Convolution": _CONVOLUTION,
    "GroupConvolution": _CONVOLUTION,
    "MatMul": _known(2, transpose_a=_BOOL, transpose_b=_BOOL),
    "Einsum": _known(2, versions="opset7", equation=_EQUATION),
    "ScaledDotProductAttention": _known(3, 5, versions="opset13", causal=_BOOL),
    "AvgPool": _known(1, versions="opset1 opset14", **_POOL, exclude_pad=_BOOL),
    "MaxPool": _known(
        1,
        versions="opset1 opset8 opset14",
        outputs=2,
        **_POOL,
        dilations=_SIDES,
        index_element_type="i64|i32",
        axis="0",
        optional=("dilations", "index_element_type", "axis"),
    ),
    "BatchNormInference": _known(5, versions="opset5", epsilon=_REAL),
    "GroupNormalization": _known(3, versions="opset12", num_groups=r"[1-9]\d{0,3}", epsilon=_REAL),
    "MVN": _known(2, versions="opset6", eps=_REAL, normalize_variance=_BOOL, eps_mode="INSIDE_SQRT|OUTSIDE_SQRT"),
    "NormalizeL2": _known(2, eps=_REAL, eps_mode="add|max"),
    "SoftMax": _known(1, versions="opset1 opset8", axis=_AXIS),
    "ReduceL2": _known(2, versions="opset4", keep_dims=_BOOL),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceSum"), _REDUCE),
    "Interpolate": _known(
        3,
        4,
        versions="opset4 opset11",
        mode="nearest|linear|linear_onnx|cubic|bilinear_pillow|bicubic_pillow",
        shape_calculation_mode="sizes|scales",
        coordinate_transformation_mode="half_pixel|pytorch_half_pixel|asymmetric|align_corners|tf_half_pixel_for_nn",
        nearest_mode="round_prefer_floor|round_prefer_ceil|floor|ceil|simple",
        antialias=_BOOL,
        pads_begin=_NO_PADS,
        pads_end=_NO_PADS,
        cube_coeff=_REAL,
    ),
    "Broadcast": _known(2, versions="opset3", mode="numpy|bidirectional"),
    "Concat": _known(1, 256, axis=_AXIS),
    "DepthToSpace": _known(1, block_size="[1-9]", mode="blocks_first|depth_first"),
    "SpaceToDepth": _known(1, block_size="[1-9]", mode="blocks_first|depth_first"),
    "Gather": _known(3, versions="opset8", batch_dims="0"),
    "Pad": _known(3, 4, versions="opset1 opset12", pad_mode="constant|edge|reflect|symmetric"),
    "Reshape": _known(2, special_zero=_BOOL),
    "ReverseSequence": _known(2, batch_axis=_AXIS, seq_axis=_AXIS),
    "Slice": _known(4, 5, versions="opset8"),
    "StridedSlice": _known(
        3, 4, begin_mask=_MASK, end_mask=_MASK, new_axis_mask=_MASK, shrink_axis_mask=_MASK, ellipsis_mask=_MASK
    ),
    "Split": _known(2, outputs=64, num_splits=r"[1-9]\d?"),
    "VariadicSplit": _known(3, outputs=64),
    "Squeeze": _known(1, 2, versions="opset1 opset15", allow_axis_skip=_BOOL, optional=("allow_axis_skip",)),
    "Tile": _known(2),
    "Transpose": _known(2),
    "Unsqueeze": _known(2),
}
"""What the networks of this package consist of, and its plain relatives: no loops, conditions, states or own code."""
