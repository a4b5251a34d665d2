"""Detectors with five points: MTCNN's networks, YuNet files, and the square that alignment cuts out."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.yunet import POINTS, write_yunet

from imagematch.config import parse_train
from imagematch.data import Dataset, Face, FaceCropper, decode, remember_yunet
from imagematch.data.faces import mtcnn, yunet
from imagematch.data.faces.alignment import aligned_square
from imagematch.errors import ConfigError, DataError, ModelError

from .drawings import photo

TEMPLATE = np.array(POINTS)
WITH_MTCNN = pytest.mark.skipif(importlib.util.find_spec("mtcnn") is None, reason="mtcnn is not installed")
WIDTHS = {"pnet": (10, 16, 32), "rnet": (28, 48, 64), "onet": (32, 64, 64, 128)}
KERNELS = {"pnet": (3, 3, 3), "rnet": (3, 3, 2), "onet": (3, 3, 3, 2)}
DENSE = {"rnet": (576, 128), "onet": (1152, 256)}


@pytest.mark.parametrize(
    ("scale", "degrees", "shift"), [(1.0, 0.0, (0, 0)), (2.3, -25.0, (90, 40)), (0.7, 170.0, (60, 90))]
)
def test_the_square_is_that_of_the_template(scale: float, degrees: float, shift: tuple[float, float]) -> None:
    turn = math.radians(degrees)
    matrix = scale * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    points = (TEMPLATE + 0.5) @ matrix.T + shift
    box, angle = aligned_square([tuple(point) for point in points.tolist()])
    centre = np.array([56.0, 56.0]) @ matrix.T + shift
    assert ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) == pytest.approx(centre, abs=0.02)
    assert (box[2] - box[0], box[3] - box[1]) == pytest.approx((112 * scale, 112 * scale), abs=0.03)
    assert angle == pytest.approx(degrees, abs=0.01)
    wider, _ = aligned_square([tuple(point) for point in points.tolist()], margin=0.25)
    assert wider[2] - wider[0] == pytest.approx(1.5 * 112 * scale, abs=0.03)


def test_aligned_pixels_are_those_of_opencvs_warp() -> None:
    """Against the usual way: a similarity transform by least squares, and warpAffine to 112 pixels."""
    pixels = photo((100, 60, 160), leaning=-12)
    points = np.array([(152.0, 153.4), (204.1, 141.9), (184.1, 180.8), (169.8, 210.9), (211.5, 202.6)])
    box, angle = aligned_square([tuple(point) for point in points.tolist()])
    centred = points - points.mean(0)
    wanted = TEMPLATE + 0.5 - (TEMPLATE + 0.5).mean(0)
    a = (centred * wanted).sum() / (centred**2).sum()
    b = (centred[:, 0] * wanted[:, 1] - centred[:, 1] * wanted[:, 0]).sum() / (centred**2).sum()
    matrix = np.array([[a, -b], [b, a]])
    shift = (TEMPLATE + 0.5).mean(0) - matrix @ points.mean(0)
    centres = matrix @ np.array([0.5, 0.5]) + shift - 0.5  # OpenCV counts from the centre of the first pixel
    warped = cv2.warpAffine(pixels, np.column_stack([matrix, centres]), (112, 112), flags=cv2.INTER_AREA)
    found = decode(pixels, box=box, angle=angle)
    small = np.asarray(Image.fromarray(found).resize((112, 112), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(small[4:-4, 4:-4] - warped[4:-4, 4:-4]).mean() < 3


def test_an_aligned_square_that_sticks_out_is_black_there() -> None:
    points = [(x / 4 - 5, y / 4 - 5) for x, y in (TEMPLATE + 0.5).tolist()]
    box, angle = aligned_square(points)
    found = decode(np.full((60, 60, 3), 200, np.uint8), box=box, angle=angle)
    assert found.shape == (28, 28, 3)
    assert found[0, 0].tolist() == [0, 0, 0]
    assert found[-1, -1].tolist() == [200, 200, 200]


def layers(network: str) -> list[np.ndarray]:
    """Random weights in the order and the shapes of the package."""
    rng = np.random.default_rng(3)
    made, before = [], 3
    for width, kernel in zip(WIDTHS[network], KERNELS[network], strict=True):
        made += [(kernel, kernel, before, width), (width,), (1, 1, width)]
        before = width
    if network == "pnet":
        made += [(1, 1, before, 4), (4,), (1, 1, before, 2), (2,)]
    else:
        flat, width = DENSE[network]
        made += [(flat, width), (width,), (width,)]
        for outputs in (4, 2) if network == "rnet" else (4, 10, 2):
            made += [(width, outputs), (outputs,)]
    return [rng.normal(0, 0.3, shape).astype(np.float32) for shape in made]


def by_loops(network: str, image: np.ndarray, weights: list[np.ndarray]) -> list[np.ndarray]:
    """One image (height, width, 3) through the network, in numpy."""
    left, x = iter(weights), image
    pools = {"pnet": [(2, True)], "rnet": [(3, True), (3, False)], "onet": [(3, True), (3, False), (2, True)]}[network]

    def convolve(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
        size = kernel.shape[0]
        windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(0, 1))
        return np.einsum("yxcij,ijco->yxo", windows, kernel) + bias

    def prelu(x: np.ndarray, slope: np.ndarray) -> np.ndarray:
        return np.maximum(x, 0) + slope * np.minimum(x, 0)

    def pooled(x: np.ndarray, size: int, same: bool) -> np.ndarray:
        if same:
            total = [max((-(-length // 2) - 1) * 2 + size - length, 0) for length in x.shape[:2]]
            x = np.pad(x, [*((n // 2, n - n // 2) for n in total), (0, 0)], constant_values=-np.inf)
        windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(0, 1))[::2, ::2]
        return windows.max(axis=(3, 4))

    def softmax(x: np.ndarray) -> np.ndarray:
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    for number in range(len(WIDTHS[network])):
        x = prelu(convolve(x, next(left), next(left)), next(left))
        x = pooled(x, *pools[number]) if number < len(pools) else x
    if network == "pnet":
        offsets = convolve(x, next(left), next(left))
        return [offsets.transpose(2, 0, 1), softmax(convolve(x, next(left), next(left))).transpose(2, 0, 1)]
    x = prelu(x.transpose(1, 0, 2).ravel() @ next(left) + next(left), next(left))
    *outputs, scores = [x @ next(left) + next(left) for _ in range(2 if network == "rnet" else 3)]
    return [*outputs, softmax(scores)]


@pytest.mark.parametrize(("network", "side"), [("pnet", 31), ("rnet", 24), ("onet", 48)])
def test_the_networks_compute_what_loops_do(network: str, side: int) -> None:
    import openvino as ov

    weights = layers(network)
    image = np.random.default_rng(1).normal(size=(side, side, 3)).astype(np.float32)
    compiled = ov.Core().compile_model(mtcnn._graph(network, weights), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    given = [np.array(one) for one in compiled([image.transpose(2, 0, 1)[None]]).values()]
    for found, expected in zip(given, by_loops(network, image, weights), strict=True):
        assert found[0] == pytest.approx(expected, rel=1e-3, abs=float(1e-3 * np.abs(expected).max()))


def test_overlapping_boxes_go() -> None:
    boxes = np.array([(0, 0, 10, 10, 0.7), (1, 0, 11, 10, 0.9), (20, 0, 30, 10, 0.8), (8, 0, 18, 10, 0.6)], float)
    assert mtcnn._apart(boxes, 0.5).tolist() == [1, 2, 3]
    assert mtcnn._apart(np.empty((0, 5)), 0.5).tolist() == []


def test_weights_that_are_not_those_of_the_package_are_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mtcnn._own, "requests", {}, raising=False)
    mtcnn._compile.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        DataError, match=r"mtcnn needs the weights of the package mtcnn; pip install 'imagematch\[faces\]'"
    ):
        FaceCropper(0.2, True, "whole", "mtcnn").find(photo())
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(DataError, match=r"pnet\.lz4: the package mtcnn lacks its weights: No such file"):
        FaceCropper(0.2, True, "whole", "mtcnn").find(photo())
    weights = tmp_path / "assets" / "weights" / "pnet.lz4"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    with pytest.raises(DataError, match=r"pnet\.lz4: not the weights of mtcnn 1\.0\.0; pip install"):
        FaceCropper(0.2, True, "whole", "mtcnn").find(photo())


@WITH_MTCNN
def test_mtcnn_finds_the_largest_face_and_its_points() -> None:
    cropper = FaceCropper(0.0, True, "whole", "mtcnn")
    face = cropper.find(photo((30, 20, 60), (150, 90, 120)))
    assert face is not None
    assert abs(face.left + face.width / 2 - 210) < 10
    assert abs(face.top + face.height / 2 - 150) < 15
    (x1, y1), (x2, y2), (x3, y3), (x4, y4), (x5, y5) = face.points
    assert x1 < x3 < x2
    assert x4 < x5
    assert max(y1, y2) < y3 < min(y4, y5)
    assert cropper.find(photo()) is None
    assert cropper.find(np.zeros((5, 300, 3), np.uint8)) is None
    assert "tensorflow" not in sys.modules or "mtcnn" not in sys.modules
    leaning = cropper.find(photo((100, 80, 160), leaning=-12))
    assert leaning is not None
    assert cropper.region(leaning, 320, 260)[1] == pytest.approx(-12, abs=4)


@pytest.fixture
def yunet_file(tmp_path: Path) -> Path:
    return write_yunet(tmp_path / "yunet.onnx")


def bright(left: int, top: int, width: int = 320, height: int = 256) -> np.ndarray:
    """A dark page with a bright cell, which the test's network takes for a face."""
    page = np.zeros((height, width, 3), np.uint8)
    page[top : top + 32, left : left + 32] = 255
    return page


def test_yunet_finds_what_its_network_says(yunet_file: Path) -> None:
    cropper = FaceCropper(0.0, True, "whole", "yunet", remember_yunet(yunet_file))
    face = cropper.find(bright(64, 96))
    assert face is not None
    # The network's centre is that of the cell, its sides are e cells; its points are those of the template.
    assert face.left + face.width / 2 == pytest.approx(80, abs=1)
    assert face.top + face.height / 2 == pytest.approx(112, abs=1)
    assert face.width == pytest.approx(32 * math.e, abs=1)
    box, angle = cropper.region(face, 320, 256)
    assert box == pytest.approx((64, 96, 96, 128), abs=0.2)
    assert angle == pytest.approx(0, abs=0.1)
    assert cropper.find(np.zeros((200, 200, 3), np.uint8)) is None
    assert cropper.find(np.zeros((5, 200, 3), np.uint8)) is None


def test_a_file_that_is_no_yunet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"none\.onnx: cannot be read: No such file or directory; give face_detection_"
    ):
        remember_yunet(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(ModelError, match=r"text\.onnx: no YuNet network: OpenCV says "):
        remember_yunet(tmp_path / "text.onnx")
    other = write_yunet(tmp_path / "other.onnx", names=("a", "b", "c", "d"))
    with pytest.raises(ModelError, match=r"other\.onnx: no YuNet network: OpenCV says "):
        remember_yunet(other)
    with pytest.raises(ModelError, match="the YuNet file of this matcher was not opened with it"):
        yunet.yunet_data("0" * 32)


def test_data_sets_see_what_matchers_see(yunet_file: Path, opened: Callable[..., Dataset], tmp_path: Path) -> None:
    root = tmp_path / "people"
    for person in range(2):
        (root / str(person)).mkdir(parents=True)
        for number in range(10):
            page = bright(32 * number % 224 + 32, 32 + 64 * person) if number else np.zeros((256, 320, 3), np.uint8)
            page[0, 0] = 10 * person + number  # no two are equal
            Image.fromarray(page).save(root / str(person) / f"{number}.png")
    dataset = opened(data_dir=root, face_crop=f"yunet:{yunet_file}", face_align=True, face_margin=0.1)
    cropper = dataset.face_cropper
    assert cropper is not None
    assert (cropper.detector, cropper.network) == ("yunet", remember_yunet(yunet_file))
    for row in range(len(dataset)):
        path = root / str(dataset.paths[row])
        assert np.array_equal(dataset.pixels(row, 24), cropper.decode(path, 24))
    assert {one.shape for one in map(dataset.pixels, dataset.rows("train"))} <= {(38, 38, 3), (256, 320, 3)}
    (cached,) = (tmp_path / "manifests").glob("*.yunet.jsonl")
    header, columns = map(json.loads, cached.read_text().splitlines())
    assert header["detector"] == f"1 {cropper.network}"
    assert [len(face) for face in columns["face"] if face is not None] == [6] * 18
    again = opened(data_dir=root, face_crop=f"yunet:{yunet_file}", face_align=True, face_margin=0.1)
    assert again.digest == dataset.digest


def test_cached_points_that_are_damaged_are_searched_again(yunet_file: Path, tmp_path: Path) -> None:
    from imagematch.data.faces import cache

    for face in ([1, 2, 3, 4], [1, 2, 3, 4, 0, [[1, 2]]], [1, 2, 3, 4, 0, [[1]] * 5], [1, 2, 3, 4, "x"], 5):
        with pytest.raises((ValueError, TypeError)):
            cache._parsed({"digest": ["a"], "face": [face]})
    whole = Face(1.0, 2.0, 3.0, 4.0, 0.0, ((1.0, 2.0),) * 5)
    assert cache._parsed({"digest": ["a"], "face": [cache._written(whole)]}) == {"a": whole}


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("yunet", "face_crop must be one of none, haar, mtcnn, not 'yunet'"),
        ("yunet:", "must be one of"),
        ("mtcn", "mtcnn"),
    ],
)
def test_the_key_says_what_there_is(written: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_train({"experiment_name": "x", "face_crop": written})
    made = parse_train({"experiment_name": "x", "face_crop": "yunet:a.onnx", "face_align": True})
    assert any("aligned by five points" in line for line in made.describe())
