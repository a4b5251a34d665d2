"""Finds the largest face of an image and five points of it with three small networks, one after another, on OpenVINO.

The weights are those of the package `mtcnn`, read as data: neither that package nor TensorFlow is imported.

Source: K. Zhang, Z. Zhang, Z. Li, Y. Qiao, Joint face detection and alignment using multitask cascaded convolutional
networks, IEEE Signal Processing Letters 2016.
"""

from __future__ import annotations

import importlib.util
import io
import threading
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from imagematch.data.decoding import Thumbnail, thread_count
from imagematch.data.faces.detector import INSTALL_FACES, SMALLEST_FACE, Face, FaceDetector, in_full_size, largest
from imagematch.errors import DataError
from imagematch.files import os_reason
from imagematch.reading import MB, read_file

_DIGESTS = {
    "pnet": "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    "rnet": "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    "onet": "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
}
"""SHA-256 of the files in mtcnn 1.0.0. They are pickles, so nothing but these very bytes is ever unpickled."""
_POOLS: dict[str, tuple[tuple[int, str], ...]] = {
    "pnet": ((2, "same"),),
    "rnet": ((3, "same"), (3, "valid")),
    "onet": ((3, "same"), (3, "valid"), (2, "same")),
}
"""Size and padding of the pooling after each of the first convolutions; all go in steps of 2."""
_OUTPUTS = {"pnet": 2, "rnet": 2, "onet": 3}

_CELL, _STRIDE = 12, 2
"""Pixels that the first network sees of a face, and between two that it looks at."""
_LEAST_SIDE = 20
"""Of a face, pixels."""
_STEP = 0.709
"""From one size of the image to the next, about half the area."""
_FIRST, _SECOND, _THIRD = 0.6, 0.7, 0.8
"""What a face must score in each network."""
_MOST_CANDIDATES = 200
"""That go from one network to the next: an image of nothing but faces must not cost without end."""

_compiling = threading.Lock()
_own = threading.local()
"""A request must not be used by two threads at once: each has its own."""


class Mtcnn(FaceDetector):
    """The three networks: proposals at every size of the image, refined, then with points."""

    name = "mtcnn"
    version = "1"

    def find(self, seen: Thumbnail) -> Face | None:
        """See FaceDetector."""
        height, width = seen.pixels.shape[:2]
        smallest = max(_LEAST_SIDE, SMALLEST_FACE * min(width, height))
        if min(width, height) < _LEAST_SIDE:
            return None
        image = Image.fromarray(seen.pixels)
        boxes = _square(_proposals(image, smallest))
        if len(boxes) == 0:
            return None
        around = max(8, int(np.ceil(max(0, -boxes[:, :2].min(), (boxes[:, 2:4] - (width, height)).max()))))
        padded = ImageOps.expand(image, min(around, max(width, height)))
        border = (padded.width - width) // 2
        boxes, _ = _refined("rnet", 24, _SECOND, padded, border, boxes)
        boxes, points = _refined("onet", 48, _THIRD, padded, border, _square(boxes[_apart(boxes, 0.7)]))
        if len(boxes) == 0:
            return None
        flat = [(left, top, right - left, bottom - top) for left, top, right, bottom, _ in boxes.tolist()]
        chosen = largest(flat)
        return in_full_size(seen, flat[chosen], points[chosen].tolist())


def _proposals(image: Image.Image, smallest: float) -> np.ndarray:
    """(n, 5): left, top, right, bottom and score of what may be a face, by the first network."""
    found = [np.empty((0, 5))]
    scale = _CELL / smallest
    while min(image.size) * scale >= _CELL:
        size = max(_CELL, round(image.width * scale)), max(_CELL, round(image.height * scale))
        small = np.asarray(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
        offsets, scores = _run("pnet", small[None])
        rows, columns = np.nonzero(scores[0, 1] > _FIRST)
        corner = np.stack([columns, rows, columns, rows], axis=1) * _STRIDE + np.array([0, 0, _CELL, _CELL])
        boxes = corner + offsets[0][:, rows, columns].T * _CELL
        ratio = np.array([image.width / size[0], image.height / size[1]] * 2)
        level = np.concatenate([boxes * ratio, scores[0, 1][rows, columns][:, None]], axis=1)
        found.append(level[_apart(level, 0.5)])
        scale *= _STEP
    boxes = np.concatenate(found)
    return boxes[_apart(boxes, 0.7)]


def _refined(
    network: str, side: int, least: float, image: Image.Image, border: int, boxes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The boxes that a network takes for faces, moved as it says, and their points (n, 5, 2), where it gives some."""
    if len(boxes) == 0:
        return boxes, np.empty((0, 5, 2))
    limits = np.clip(boxes[:, :4] + border, 0, (image.size * 2))
    cuts = [image.resize((side, side), Image.Resampling.BILINEAR, box=_not_empty(box)) for box in limits.tolist()]
    offsets, *points, scores = _run(network, np.stack([np.asarray(cut) for cut in cuts]))
    sides = np.stack([boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]], axis=1)
    moved = np.concatenate([boxes[:, :4] + offsets * np.tile(sides, 2), scores[:, 1:]], axis=1)
    places = np.empty((len(boxes), 5, 2))
    if points:  # five to the right, then five down
        places = boxes[:, None, :2] + points[0].reshape(-1, 2, 5).transpose(0, 2, 1) * sides[:, None]
    faces = np.flatnonzero(moved[:, 4] > least)
    return moved[faces], places[faces]


def _not_empty(box: list[float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _square(boxes: np.ndarray) -> np.ndarray:
    """Boxes about the same centres with the longer side on both axes."""
    centres = (boxes[:, :2] + boxes[:, 2:4]) / 2
    half = (boxes[:, 2:4] - boxes[:, :2]).max(axis=1, keepdims=True, initial=0) / 2
    return np.concatenate([centres - half, centres + half, boxes[:, 4:]], axis=1)


def _apart(boxes: np.ndarray, overlap: float) -> np.ndarray:
    """Rows of the boxes that no better one overlaps by more than a share of both, the best first, of 200 at most."""
    order = np.argsort(-boxes[:, 4], kind="stable")
    areas = np.prod(boxes[:, 2:4] - boxes[:, :2], axis=1)
    chosen: list[int] = []
    while len(order) and len(chosen) < _MOST_CANDIDATES:
        best, order = int(order[0]), order[1:]
        chosen.append(best)
        low, high = np.maximum(boxes[order, :2], boxes[best, :2]), np.minimum(boxes[order, 2:4], boxes[best, 2:4])
        shared = np.prod(np.clip(high - low, 0, None), axis=1)
        order = order[shared <= overlap * (areas[order] + areas[best] - shared)]
    return np.array(chosen, dtype=int)


def _run(network: str, images: np.ndarray) -> list[np.ndarray]:
    """What a network gives of (n, height, width, 3) uint8: offsets, points where it has some, and scores."""
    requests: dict[str, Any] = _own.__dict__.setdefault("requests", {})
    if network not in requests:
        requests[network] = _compiled(network).create_infer_request()
    request = requests[network]
    request.infer([(np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32) - 127.5) / 128])
    return [np.array(request.get_output_tensor(number).data) for number in range(_OUTPUTS[network])]


def _compiled(network: str) -> Any:
    with _compiling:
        return _compile(network)


@lru_cache(maxsize=3)
def _compile(network: str) -> Any:
    weights = _weights(network)
    try:
        import openvino as ov
    except ImportError as error:
        raise DataError(
            "face_crop: mtcnn needs OpenVINO", do="pip install openvino, or give face_crop: haar"
        ) from error
    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": thread_count(),
        "NUM_STREAMS": thread_count(),
    }
    return ov.Core().compile_model(_graph(network, weights), "CPU", options)


def _weights(network: str) -> list[np.ndarray]:
    """The arrays of a network, in the order of its layers, as Keras lays them out."""
    found = importlib.util.find_spec("mtcnn")
    if found is None or not found.submodule_search_locations:
        raise DataError("face_crop: mtcnn needs the weights of the package mtcnn", do=INSTALL_FACES)
    path = Path(found.submodule_search_locations[0]) / "assets" / "weights" / f"{network}.lz4"
    try:
        data = read_file(path, max_bytes=8 * MB)
    except OSError as error:
        what = f"the package mtcnn lacks its weights: {os_reason(error)}"
        raise DataError(what, where=str(path), do="pip install mtcnn==1.0.0") from error
    if sha256(data).hexdigest() != _DIGESTS[network]:
        raise DataError(
            "not the weights of mtcnn 1.0.0", where=str(path), do="pip install --force-reinstall mtcnn==1.0.0"
        )
    import joblib

    try:
        return list(joblib.load(io.BytesIO(data)))
    except (ImportError, ValueError) as error:
        raise DataError("face_crop: mtcnn needs lz4", do=INSTALL_FACES) from error


def _graph(network: str, weights: list[np.ndarray]) -> Any:
    """The network as OpenVINO has it: convolutions, then dense layers but in the first, then the outputs."""
    from openvino import Model, Type
    from openvino import opset13 as ops

    left = iter(weights)
    side = {"pnet": -1, "rnet": 24, "onet": 48}[network]
    images = ops.parameter([-1, 3, side, side], Type.f32)
    convolutions = sum(array.ndim == 4 for array in weights) - (2 if network == "pnet" else 0)
    x = images
    for number in range(convolutions):
        x = _convolution(x, next(left), next(left))
        x = ops.prelu(x, next(left).reshape(1, -1, 1, 1))
        if number < len(_POOLS[network]):
            size, padding = _POOLS[network][number]
            # TensorFlow's "same" pads the end: the largest of what is there, so that no zero gets in.
            auto = "same_upper" if padding == "same" else "valid"
            x = ops.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [size, size], "floor", auto).output(0)
    if network == "pnet":
        offsets, scores = _convolution(x, next(left), next(left)), _convolution(x, next(left), next(left))
        return Model([offsets, ops.softmax(scores, 1)], [images], network)
    x = ops.reshape(ops.transpose(x, [0, 3, 2, 1]), [0, -1], special_zero=True)  # across, down, channels
    x = ops.prelu(_dense(x, next(left), next(left)), next(left).reshape(1, -1))
    *outputs, scores = [_dense(x, next(left), next(left)) for _ in range(_OUTPUTS[network])]
    return Model([*outputs, ops.softmax(scores, 1)], [images], network)


def _convolution(x: Any, kernel: np.ndarray, bias: np.ndarray) -> Any:
    from openvino import opset13 as ops

    kernel = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
    return ops.add(ops.convolution(x, kernel, [1, 1], [0, 0], [0, 0], [1, 1]), bias.reshape(1, -1, 1, 1))


def _dense(x: Any, kernel: np.ndarray, bias: np.ndarray) -> Any:
    from openvino import opset13 as ops

    return ops.add(ops.matmul(x, kernel, False, False), bias.reshape(1, -1))
