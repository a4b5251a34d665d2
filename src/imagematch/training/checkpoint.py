"""The state of a training between two epochs, saved so that an interrupted training can resume there."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imagematch.errors import ModelError
from imagematch.files import replacing
from imagematch.npz import open_npz
from imagematch.reading import GB

_MAX_BYTES = 64 * GB
_KINDS = "fiub"


@dataclass(frozen=True)
class Checkpoint:
    """Everything a training needs to resume: its variables, the best ones so far, and its history.

    Attributes:
        identity: digest of what is trained (settings and data); the checkpoint of another training is refused.
        variables: everything that changes in training, in the order of the training loop.
        best: the variables of model and loss at the best epoch.
        history: one record for each epoch.
    """

    identity: str
    variables: Sequence[np.ndarray]
    best: Sequence[np.ndarray]
    history: Sequence[Mapping[str, Any]]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint atomically.

    Raises:
        StudyError: the file cannot be written.
    """
    about = json.dumps({"identity": checkpoint.identity, "history": list(checkpoint.history)})
    arrays: dict[str, Any] = {f"variable_{i:05d}": a for i, a in enumerate(checkpoint.variables)}
    arrays |= {f"best_{i:05d}": a for i, a in enumerate(checkpoint.best)}
    needed = sum(array.nbytes for array in arrays.values())
    with replacing(path, needed=needed) as temporary, temporary.open("wb") as file:
        np.savez(file, about=np.frombuffer(about.encode(), dtype=np.uint8), **arrays)


def read_checkpoint(path: Path, identity: str, *, discard_unfit: bool = False) -> Checkpoint | None:
    """The checkpoint at `path`, None where there is none.

    Args:
        path: the file.
        identity: digest of what is trained.
        discard_unfit: removes a checkpoint that is damaged, or of another identity, instead of raising an error.

    Raises:
        ModelError: it is damaged, or belongs to other settings or data.
    """
    try:
        return _read(path, identity)
    except ModelError:
        if not discard_unfit:
            raise
        path.unlink()
        return None


def _read(path: Path, identity: str) -> Checkpoint | None:
    if not path.is_file():
        return None
    try:
        with open_npz(path, max_bytes=_MAX_BYTES) as file:
            about = json.loads(file.read("about", "u").tobytes())
            names = sorted(file.names)
            variables = [file.read(name, _KINDS) for name in names if name.startswith("variable_")]
            best = [file.read(name, _KINDS) for name in names if name.startswith("best_")]
        history, found = list(about["history"]), str(about["identity"])
        if not all(isinstance(record, dict) for record in history):
            raise ValueError("its history cannot be read")
    except (OSError, ValueError, TypeError, LookupError, RecursionError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError("the checkpoint is damaged", where=str(path), do="start again with --fresh") from error
    if found != identity:
        raise ModelError(
            "the checkpoint belongs to another configuration or to other images",
            where=str(path),
            do="restore them, or start again with --fresh",
        )
    return Checkpoint(identity, variables, best, history)
