"""What may be inside a saved model: known members of bounded size and known layers. Needs no Keras."""

from __future__ import annotations

import json
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
    "keras.initializers": {"GlorotUniform", "Ones", "VarianceScaling", "Zeros"},
    "keras.layers": {
        *("Activation", "Add", "AveragePooling2D", "BatchNormalization", "Concatenate", "Conv2D", "Dense"),
        *("DepthwiseConv2D", "Dropout", "Flatten", "GlobalAveragePooling2D", "InputLayer", "MaxPooling2D", "Multiply"),
        *("Normalization", "ReLU", "Rescaling", "Reshape", "Resizing", "UnitNormalization", "ZeroPadding2D"),
    },
}
"""Everything our networks consist of, and no more: a network that needs another layer adds it here."""

_OURS = {
    ("imagematch.extractors.layers", "CaffePixels", "imagematch>CaffePixels"),
    ("imagematch.model.flip_model", "Mirror", "imagematch>Mirror"),
    ("imagematch.model.head", "FFBlock", "imagematch>FFBlock"),
    ("imagematch.model.siamese", "PairScore", "imagematch>PairScore"),
}


def check_archive(path: Path) -> None:
    """Refuses whatever a model of ours does not need. Keras itself would import and call what a file names.

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
            foreign = next((name for name, known in _objects(config) if not known), None)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, EOFError, OSError, RecursionError) as error:
        raise ModelError("is damaged", where=str(path), do="train the model again") from error
    if damaged is not None:
        raise ModelError(f"is damaged ({damaged})", where=str(path), do="train the model again")
    if foreign is not None:
        raise ModelError(f"holds {foreign}, which is not allowed", where=str(path), do="open only your own models")


def _objects(node: Any) -> Iterator[tuple[str, bool]]:
    """Every object that a Keras configuration would make: what it is called, and whether it is a known one."""
    if isinstance(node, dict):
        if "class_name" in node:
            yield f"the layer {node['class_name']!r}", _is_known(node)
        for value in node.values():
            yield from _objects(value)
    elif isinstance(node, list):
        for value in node:
            yield from _objects(value)


def _is_known(node: dict[str, Any]) -> bool:
    module, name, registered = (node.get(key) for key in ("module", "class_name", "registered_name"))
    if not all(isinstance(value, str | None) for value in (module, name, registered)):
        return False
    if (module, name, registered) in _OURS:
        return True
    return name in _KERAS.get(module, ()) and registered in (None, name)
