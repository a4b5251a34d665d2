"""Matchers' folders written by hand, as an attacker would: their digests are no signature, anyone can make them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from imagematch.files import digest_bytes, digest_file, digest_json
from imagematch.matching.card_file import sealed

CARD, CONFIG, HEAD, WEIGHTS = "matcher.json", "config.yaml", "head.safetensors", "extractor.safetensors"
SIZE, DIM = 8, 3
"""Of the images and the features of `small_network`."""


class Forged:
    """A copy of a matcher's folder to tamper with; `seal` makes its digests fit again."""

    def __init__(self, folder: Path, source: Path) -> None:
        shutil.copytree(source, folder)
        self.folder = folder

    def card(self) -> dict[str, Any]:
        """What is in `matcher.json`."""
        return json.loads((self.folder / CARD).read_text(encoding="utf-8"))

    def seal(self, card: dict[str, Any] | None = None) -> Path:
        """Writes the card with digests of whatever lies in the folder now."""
        card = self.card() if card is None else card
        for name in card["files"] if isinstance(card.get("files"), dict) else ():
            if (self.folder / name).is_file() and name in (CONFIG, HEAD, WEIGHTS):
                card["files"][name] = digest_file(self.folder / name)
        (self.folder / CARD).write_text(json.dumps(sealed(card)), encoding="utf-8")
        return self.folder

    def set(self, value: Any, *keys: Any) -> Path:
        """Puts a value at a place in the card, and seals it."""
        card = self.card()
        place: Any = card
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        return self.seal(card)

    @property
    def network(self) -> Path:
        """The description of the converted network."""
        (path,) = self.folder.glob("network-*.xml")
        return path

    def put_network(self, description: str | bytes, weights: bytes) -> Path:
        """Exchanges the converted network, and names it by its content as `write_network` does."""
        content = description.encode() if isinstance(description, str) else description
        for path in self.folder.glob("network-*"):
            path.unlink()
        digest = digest_json([digest_bytes(content), digest_bytes(weights)])
        (self.folder / f"network-{digest}.xml").write_bytes(content)
        (self.folder / f"network-{digest}.bin").write_bytes(weights)
        card = self.card()
        card["embedding"]["extractors"][0]["network"] = digest
        return self.seal(card)


def small_network(operation: Callable[[Any], Any], folder: Path) -> tuple[str, bytes]:
    """A network of OpenVINO's with one operation in its middle: description and weights.

    The operation gets (n, 3, 8, 8) float32; whatever it gives is averaged to (n, 3).
    """
    import openvino
    from openvino import opset13 as ops

    images = ops.parameter(openvino.PartialShape([-1, -1, -1, 3]), np.uint8)
    enlarged = ops.interpolate(
        ops.convert(images, "f32"),
        ops.constant(np.array([SIZE, SIZE], np.int32)),
        "linear_onnx",
        "sizes",
        axes=ops.constant(np.array([1, 2], np.int32)),
        coordinate_transformation_mode="half_pixel",
    )
    values = ops.transpose(enlarged, ops.constant(np.array([0, 3, 1, 2])))
    given = operation(ops.multiply(values, np.float32(1 / 255)))
    rank = given.get_output_partial_shape(0).rank.get_length()
    mean = ops.reduce_mean(given, ops.constant(np.arange(1, rank)), keep_dims=True)
    flat = ops.reshape(mean, ops.constant(np.array([-1, 1])), False)
    features = ops.add(flat, ops.constant(np.zeros((1, DIM), np.float32)))
    path = folder / "small_network.xml"
    openvino.save_model(openvino.Model([features], [images], "small"), path, compress_to_fp16=False)
    return path.read_text(encoding="utf-8"), path.with_suffix(".bin").read_bytes()
