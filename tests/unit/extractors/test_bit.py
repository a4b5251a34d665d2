"""BiT R50x1 against a naive forward in numpy, and its files of weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from imagematch.errors import ModelError
from imagematch.extractors import Extractor, build_network, make_extractor
from imagematch.extractors.networks.bit import load_checkpoint
from imagematch.registry import EXTRACTOR_REGISTRY

Weights = dict[str, np.ndarray]


def published_layout(units_of_block3: int = 6) -> dict[str, tuple[int, ...]]:
    """Names and shapes in BiT-M-R50x1.npz, as `big_transfer` reads them; with 23 units in block 3, R101x1's."""
    shapes: dict[str, tuple[int, ...]] = {"resnet/root_block/standardized_conv2d/kernel": (7, 7, 3, 64)}
    before = 64
    for block, (units, width) in enumerate(((3, 64), (4, 128), (units_of_block3, 256), (3, 512)), 1):
        for unit in range(1, units + 1):
            name = f"resnet/block{block}/unit{unit:02d}"
            kernels = {"a": (1, 1, before, width), "b": (3, 3, width, width), "c": (1, 1, width, 4 * width)}
            for part, kernel in kernels.items():
                shapes[f"{name}/{part}/standardized_conv2d/kernel"] = kernel
                for norm in ("gamma", "beta"):
                    shapes[f"{name}/{part}/group_norm/{norm}"] = (kernel[2],)
            if unit == 1:
                shapes[f"{name}/a/proj/standardized_conv2d/kernel"] = (1, 1, before, 4 * width)
            before = 4 * width
    shapes |= {"resnet/group_norm/gamma": (2048,), "resnet/group_norm/beta": (2048,)}
    return shapes | {"resnet/head/conv2d/kernel": (1, 1, 2048, 9), "resnet/head/conv2d/bias": (9,)}


@pytest.fixture(scope="module")
def weights() -> Weights:
    random = np.random.default_rng(0)
    drawn = {name: random.normal(0, 0.1, shape).astype(np.float32) for name, shape in published_layout().items()}
    return {name: value + 1 if name.endswith("gamma") else value for name, value in drawn.items()}


@pytest.fixture(scope="module")
def checkpoint(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bit") / "BiT-M-R50x1.npz"
    np.savez(path, **weights)  # type: ignore[arg-type]
    return path


def bit(weights: Path | str, image_size: int = 32) -> Extractor:
    settings = {"weights": str(weights), "image_size": image_size, "trainable": False, "seed": 0}
    return make_extractor(SimpleNamespace(feature_extractor="bit_m_r50x1", **settings))


@pytest.fixture(scope="module")
def network() -> Any:
    return build_network(EXTRACTOR_REGISTRY.all()["bit_m_r50x1"], 32, 0)


def naive_forward(w: Weights, image: np.ndarray) -> np.ndarray:
    """One image (h, w, 3) of 0 to 255 -> (2048,), as the paper and its code describe it."""
    x = convolved(image / 127.5 - 1, w["resnet/root_block/standardized_conv2d/kernel"], stride=2, padding=3)
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    height, width = x.shape[0] // 2, x.shape[1] // 2
    corners = [padded[i : i + 2 * height : 2, j : j + 2 * width : 2] for i in range(3) for j in range(3)]
    x = np.max(corners, axis=0)
    for block, units in enumerate((3, 4, 6, 3), 1):
        for unit in range(1, units + 1):
            name = f"resnet/block{block}/unit{unit:02d}"
            stride = 2 if unit == 1 and block > 1 else 1
            before = activated(w, x, f"{name}/a")
            if unit == 1:
                x = convolved(before, w[f"{name}/a/proj/standardized_conv2d/kernel"], stride)
            y = convolved(before, w[f"{name}/a/standardized_conv2d/kernel"])
            y = activated(w, y, f"{name}/b")
            y = convolved(y, w[f"{name}/b/standardized_conv2d/kernel"], stride, padding=1)
            y = activated(w, y, f"{name}/c")
            x = x + convolved(y, w[f"{name}/c/standardized_conv2d/kernel"])
    return activated(w, x, "resnet").mean(axis=(0, 1))


def convolved(x: np.ndarray, kernel: np.ndarray, stride: int = 1, padding: int = 0) -> np.ndarray:
    kernel = kernel.astype(np.float64)
    kernel = (kernel - kernel.mean(axis=(0, 1, 2))) / np.sqrt(kernel.var(axis=(0, 1, 2)) + 1e-10)
    size = len(kernel)
    x = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    height, width = ((side - size) // stride + 1 for side in x.shape[:2])
    out = np.zeros((height, width, kernel.shape[3]))
    for i in range(size):
        for j in range(size):
            out += x[i : i + stride * height : stride, j : j + stride * width : stride] @ kernel[i, j]
    return out


def activated(w: Weights, x: np.ndarray, name: str) -> np.ndarray:
    groups = x.reshape(*x.shape[:2], 32, -1)
    mean, variance = (f(groups, axis=(0, 1, 3), keepdims=True) for f in (np.mean, np.var))
    normed = ((groups - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape)
    return np.maximum(normed * w[f"{name}/group_norm/gamma"] + w[f"{name}/group_norm/beta"], 0)


def test_a_published_file_gives_what_a_naive_forward_gives(weights: Weights, checkpoint: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), np.uint8)
    found = np.asarray(bit(checkpoint, image_size=64).build()(images, training=False))
    expected = np.stack([naive_forward(weights, image) for image in images])
    assert np.linalg.norm(found - expected) <= 1e-4 * np.linalg.norm(expected)


def test_numbered_names_are_understood(weights: Weights, network: Any, tmp_path: Path) -> None:
    numbered = {
        name.replace("standardized_conv2d/", f"standardized_conv2d_{n}/"): weights[name]
        for n, name in enumerate(weights)
    }
    np.savez(tmp_path / "numbered.npz", **numbered)  # type: ignore[arg-type]
    load_checkpoint(network, tmp_path / "numbered.npz", "weights")
    for variable in network.weights:
        np.testing.assert_array_equal(np.asarray(variable), weights[variable.path.replace(".", "/")])


def other_file(path: Path, weights: Weights, **changes: Any) -> Path:
    kept = {name: value for name, value in weights.items() if changes.get("without") != name}
    np.savez(path, **(kept | changes.get("replaced", {})))
    return path


def test_a_file_of_another_size_names_the_first_variable_that_does_not_fit(
    weights: Weights, network: Any, tmp_path: Path
) -> None:
    wide = {"resnet/root_block/standardized_conv2d/kernel": np.zeros((7, 7, 3, 192), np.float32)}
    path = other_file(tmp_path / "BiT-M-R50x3.npz", weights, replaced=wide)
    with pytest.raises(ModelError) as caught:
        load_checkpoint(network, path, "weights")
    assert "resnet/root_block/standardized_conv2d/kernel has the shape (7, 7, 3, 192), not (7, 7, 3, 64)" in str(
        caught.value
    )
    path = other_file(tmp_path / "short.npz", weights, without="resnet/block3/unit06/b/group_norm/beta")
    with pytest.raises(ModelError, match="there is no resnet/block3/unit06/b/group_norm/beta") as caught:
        load_checkpoint(network, path, "weights")
    assert "\n" not in str(caught.value)


def test_a_deeper_network_of_the_same_width_is_refused(weights: Weights, network: Any, tmp_path: Path) -> None:
    deeper = {name: np.zeros(shape, np.float32) for name, shape in published_layout(23).items() if name not in weights}
    assert len(deeper) == 17 * 9
    path = other_file(tmp_path / "BiT-M-R101x1.npz", weights, replaced=deeper)
    with pytest.raises(ModelError, match="do not fit bit_m_r50x1: it has no resnet/block3/unit07/a/") as caught:
        load_checkpoint(network, path, "weights")
    assert "\n" not in str(caught.value)


def test_files_that_hold_no_such_weights_are_refused(weights: Weights, network: Any, tmp_path: Path) -> None:
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 not an archive")
    with (tmp_path / "one_array.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    root = "resnet/root_block/standardized_conv2d/kernel"
    np.savez_compressed(tmp_path / "whole.npz", **{root: weights[root]})
    for start in (200, 9_000):
        damaged = bytearray((tmp_path / "whole.npz").read_bytes())
        damaged[start : start + 200] = bytes(200)
        (tmp_path / f"damaged_{start}.npz").write_bytes(damaged)
    np.savez(tmp_path / "objects.npz", **{root: np.array([{}], object)})
    for name in ("torn.npz", "objects.npz", "one_array.npz", "damaged_200.npz", "damaged_9000.npz"):
        with pytest.raises(ModelError, match="not a readable file of weights") as caught:
            load_checkpoint(network, tmp_path / name, "weights")
        assert "\n" not in str(caught.value)


def test_only_bit_takes_npz(checkpoint: Path) -> None:
    settings = {"weights": str(checkpoint), "image_size": 32, "trainable": False, "seed": 0}
    with pytest.raises(ModelError, match="not a file of weights"):
        make_extractor(SimpleNamespace(feature_extractor="resnet50_v2", **settings))
