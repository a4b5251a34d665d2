"""A feature model on disk: written in one step, and opened only if it holds nothing but known layers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import keras

import imagematch.extractors.layers
import imagematch.model.flip_model
import imagematch.model.head
import imagematch.model.siamese  # noqa: F401  (these register our layers with Keras)
from imagematch.errors import ModelError
from imagematch.files import replacing
from imagematch.model.archive import check_archive


def save_feature_model(model: keras.Model, path: Path) -> None:
    """Writes `model` to `path` (.keras): the old file stays until the new one is whole and was read back.

    Raises:
        ModelError: the model holds a layer that `load_feature_model` would refuse.
        StudyError: the file cannot be written.
    """
    with replacing(path) as temporary:
        model.save(temporary)
        check_archive(temporary)


def load_feature_model(path: Path) -> keras.Model:
    """Opens a feature model.

    Raises:
        ModelError: there is no such file, it is damaged, or it holds anything but registered layers.
    """
    if not path.is_file():
        raise ModelError("no such model file", where=str(path), do="train the model again, or name another folder")
    if check_archive(path):
        _register_keras_hub(path)
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds for a file that does not fit
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"cannot be opened: {reason}", where=str(path), do="train the model again") from error


def _register_keras_hub(path: Path) -> None:
    """Makes KerasHub's networks known to Keras."""
    if importlib.util.find_spec("keras_hub") is None:
        do = "pip install 'imagematch[kerashub]'"
        raise ModelError("holds a network of keras-hub, which is missing here", where=str(path), do=do)
    import keras_hub  # noqa: F401
