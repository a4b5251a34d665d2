"""What may be inside a Keras archive of imagematch 0.1: known members of bounded size and known layers."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imagematch.errors import ModelError

CONFIG = "config.json"
WEIGHTS = "model.weights.h5"
_MEMBERS = ["metadata.json", CONFIG, WEIGHTS]
_MAX_CONFIG_BYTES = 32 << 20
_MAX_WEIGHTS_BYTES = 4 << 30

_KERAS = {
    None: {"__keras_tensor__"},
    "keras": {"DTypePolicy", "Sequential"},
    "keras.src.models.functional": {"Functional"},
    "keras.src.applications.convnext": {"LayerScale"},
    "keras.src.applications.inception_resnet_v2": {"CustomScaleLayer"},
    "keras.src.ops.numpy": {"Add", "Multiply"},
    "keras.initializers": {"Constant", "GlorotUniform", "HeNormal", "Ones", "VarianceScaling", "Zeros"},
    "keras.layers": {
        *("Activation", "Add", "AveragePooling2D", "BatchNormalization", "Concatenate", "Conv2D", "Dense"),
        *("DepthwiseConv2D", "Dropout", "Flatten", "GlobalAveragePooling2D", "InputLayer", "MaxPooling2D", "Multiply"),
        *("Normalization", "ReLU", "Rescaling", "Reshape", "Resizing", "UnitNormalization", "ZeroPadding2D"),
        *("Cropping2D", "GlobalAveragePooling1D", "GroupNormalization", "LayerNormalization", "SeparableConv2D"),
    },
}
"""Everything our networks consist of, and no more: a network that needs another layer adds it here."""

_OURS = {
    ("imagematch.extractors.layers", "CaffePixels", "imagematch>CaffePixels"),
    ("imagematch.extractors.layers", "ClassToken", "imagematch>ClassToken"),
    ("imagematch.extractors.layers", "StandardizedConv2D", "imagematch>StandardizedConv2D"),
    ("imagematch.extractors.layers", "FixedLength", "imagematch>FixedLength"),
    ("imagematch.model.flip_model", "Mirror", "imagematch>Mirror"),
    ("imagematch.model.head", "FFBlock", "imagematch>FFBlock"),
    ("imagematch.model.siamese", "PairScore", "imagematch>PairScore"),
}

_HUB_MODULE = re.compile(r"keras_hub\.src\.models(\.[a-z0-9_]+)+")
_HUB_NETWORK = re.compile(r"[A-Za-z0-9]+(Backbone|VisionEncoder)")
"""KerasHub's networks may be inside, too: they are made of numbers and names alone, and open no files."""


def check_archive(path: Path) -> bool:
    """Refuses whatever a model of ours does not need. Keras itself would import and call what a file names.

    Returns:
        Whether it holds a network of KerasHub, which Keras must know before it can open the file.

    Raises:
        ModelError: the file is damaged, or holds foreign or huge members, or anything but known layers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {member.filename: member.file_size for member in archive.infolist()}
            if sorted(member.filename for member in archive.infolist()) != sorted(_MEMBERS):
                raise ModelError("is not a feature model: unexpected files inside", where=str(path))
            if sizes[CONFIG] > _MAX_CONFIG_BYTES or sizes[WEIGHTS] > _MAX_WEIGHTS_BYTES:
                raise ModelError("is not a feature model: too large inside", where=str(path))
            config = json.loads(archive.read(CONFIG))
            damaged = archive.testzip()
            objects = list(_objects(config))
            foreign = [node["class_name"] for node in objects if not _is_known(node)]
    except (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, EOFError, OSError, RecursionError) as error:
        raise ModelError("is damaged", where=str(path), do="train the model again") from error
    if damaged is not None:
        raise ModelError(f"is damaged ({damaged})", where=str(path), do="train the model again")
    if foreign:
        raise ModelError(
            f"holds the layer {str(foreign[0])[:60]!r}, which is not allowed",
            where=str(path),
            do="open only your own models",
        )
    return any(_is_of_keras_hub(node) for node in objects)


def _objects(node: Any) -> Iterator[dict[str, Any]]:
    """Every object that a Keras configuration would make."""
    if isinstance(node, dict):
        if "class_name" in node:
            yield node
        for value in node.values():
            yield from _objects(value)
    elif isinstance(node, list):
        for value in node:
            yield from _objects(value)


def _is_known(node: dict[str, Any]) -> bool:
    module, name, registered = (node.get(key) for key in ("module", "class_name", "registered_name"))
    if not all(isinstance(value, str | None) for value in (module, name, registered)):
        return False
    if (module, name, registered) in _OURS or _is_of_keras_hub(node):
        return True
    return name in _KERAS.get(module, ()) and registered in (None, name)


def _is_of_keras_hub(node: dict[str, Any]) -> bool:
    module, name = str(node.get("module")), str(node.get("class_name"))
    registered = node.get("registered_name") == f"keras_hub>{name}"
    return bool(registered and _HUB_MODULE.fullmatch(module) and _HUB_NETWORK.fullmatch(name))
