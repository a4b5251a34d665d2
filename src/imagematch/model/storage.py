"""A feature model on disk: written in one step, and opened only if it holds nothing but known layers."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from imagematch.errors import ModelError
from imagematch.files import replacing
from imagematch.model.head import FFBlock  # noqa: F401  (registers the layer)

_MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}
_MAX_CONFIG_BYTES = 32 << 20
_MAX_WEIGHTS_BYTES = 4 << 30
_FORBIDDEN = {"Lambda", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer"}


def save_feature_model(model: keras.Model, path: Path) -> None:
    """Writes `model` to `path` (.keras): the old file stays until the new one is whole and has been read back."""
    with replacing(path) as temporary:
        model.save(temporary)
        _check_archive(temporary)


def load_feature_model(path: Path) -> keras.Model:
    """Opens a feature model.

    Raises:
        ModelError: there is no such file, it is damaged, or it holds anything but registered layers.
    """
    if not path.is_file():
        raise ModelError("no such model file", where=str(path), do="train the model again, or name another folder")
    _check_archive(path)
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds for a file that does not fit
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"cannot be opened: {reason}", where=str(path), do="train the model again") from error


def _check_archive(path: Path) -> None:
    """Refuses whatever a feature model does not need: foreign or huge members, foreign or code-carrying layers."""
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {member.filename: member.file_size for member in archive.infolist()}
            if set(sizes) != _MEMBERS:
                raise ModelError("is not a feature model: unexpected files inside", where=str(path))
            if sizes["config.json"] > _MAX_CONFIG_BYTES or sizes["model.weights.h5"] > _MAX_WEIGHTS_BYTES:
                raise ModelError("is not a feature model: too large inside", where=str(path))
            config = json.loads(archive.read("config.json"))
            damaged = archive.testzip()
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise ModelError("is damaged", where=str(path), do="train the model again") from error
    if damaged is not None:
        raise ModelError(f"is damaged ({damaged})", where=str(path), do="train the model again")
    for module, class_name, registered_name in _classes(config):
        known = module is None or module == "builtins" or module.split(".")[0] == "keras"
        ours = (registered_name or "").startswith("imagematch>")
        if class_name in _FORBIDDEN or not (known or ours):
            raise ModelError(f"holds the layer {class_name!r}, which is not allowed", where=str(path))


def _classes(node: Any) -> Iterator[tuple[str | None, str, str | None]]:
    """Every (module, class name, registered name) in a Keras configuration."""
    if isinstance(node, dict):
        if isinstance(node.get("class_name"), str):
            yield node.get("module"), node["class_name"], node.get("registered_name")
        for value in node.values():
            yield from _classes(value)
    elif isinstance(node, list):
        for value in node:
            yield from _classes(value)
