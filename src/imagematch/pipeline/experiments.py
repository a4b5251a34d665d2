"""Experiments on disk: where a training keeps its state, and what it left."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagematch.config import TrainSettings
from imagematch.errors import ConfigError, ModelError, StudyError
from imagematch.file_locks import BusyError, locked, remove_locked_dir
from imagematch.files import Layout, os_reason, recovered_dir
from imagematch.reading import MB, read_file

METRICS_FILE = "metrics.json"
CONFIG_FILE = "config.yaml"
CHECKPOINT_FILE = "checkpoint.npz"
LOG_FILE = "run.jsonl"
LOCK_FILE = ".lock"
_MAX_METRICS_BYTES = 256 * MB
_MAX_CONFIG_BYTES = 4 * MB
_MAX_HISTORY_BYTES = 16 * MB


@dataclass(frozen=True)
class TrainedMatcher:
    """What a training left.

    Attributes:
        folder: the matcher's.
        metrics: the contents of its `metrics.json`.
    """

    folder: Path
    metrics: Mapping[str, Any]


def unfinished_dir(layout: Layout, name: str) -> Path:
    """Where a training keeps its state until the matcher is complete."""
    return layout.model_dir(name).with_name(f".{name}.training")


def forget_unfinished(layout: Layout, name: str) -> None:
    """Removes what an interrupted training left; raises StudyError while another process trains."""
    work = unfinished_dir(layout, name)
    if not work.is_dir():
        return
    try:
        with locked(work / LOCK_FILE, wait=False):
            remove_locked_dir(work, work / LOCK_FILE)
    except BusyError as error:
        raise StudyError("another process trains this experiment", where=name, do="wait for it, or stop it") from error


def training_begun(layout: Layout, name: str) -> bool:
    """True if an interrupted training of this name can go on."""
    return (unfinished_dir(layout, name) / CHECKPOINT_FILE).exists()


def training_exists(layout: Layout, name: str) -> bool:
    """True if the experiment was finished, or begun."""
    return recovered_dir(layout.model_dir(name)).exists() or training_begun(layout, name)


def finished_training(layout: Layout, name: str) -> TrainedMatcher | None:
    """The experiment's matcher; None where it is not finished, or damaged: then it is trained again."""
    folder = recovered_dir(layout.model_dir(name))
    try:
        metrics = json.loads(read_file(folder / METRICS_FILE, max_bytes=_MAX_METRICS_BYTES, inside=folder))
    except (OSError, ValueError):
        return None
    whole = isinstance(metrics, dict) and (folder / CONFIG_FILE).is_file()
    return TrainedMatcher(folder, metrics) if whole else None


def refuse_other_settings(trained: TrainedMatcher, settings: TrainSettings) -> None:
    """Raises ConfigError, with the difference, where a finished matcher was trained with other settings."""
    before = set(read_config(trained.folder).splitlines())
    now = set(settings.to_yaml().splitlines())
    if before != now:
        raise ConfigError(
            f"it was trained with other settings: {', '.join(sorted(before - now)) or 'the defaults'} became "
            f"{', '.join(sorted(now - before)) or 'the defaults'}",
            where=f"experiment {settings.experiment_name}",
            do="choose another experiment_name, or start again with --fresh",
        )


def read_config(folder: Path) -> str:
    """The `config.yaml` of a matcher's folder. Raises ModelError where it cannot be read."""
    path = folder / CONFIG_FILE
    try:
        return read_file(path, max_bytes=_MAX_CONFIG_BYTES, inside=folder).decode("utf-8", errors="replace")
    except OSError as error:
        raise ModelError(f"cannot be read: {os_reason(error)}", where=str(path), do="restore the file") from error


def check_output_folder(folder: Path, own: Sequence[str]) -> None:
    """Raises, before any work is done, if results would overwrite something else in the folder.

    Args:
        folder: where they are to go.
        own: the names of their files; the first one tells that results of this kind were there before.

    Raises:
        ConfigError: it is a file, a matcher's folder, or has such files without the first.
    """
    where = f"--output {folder}"
    try:
        there = {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return
    except NotADirectoryError as error:
        raise ConfigError("is no folder", where=where, do="name a folder") from error
    except OSError as error:  # too long a name, or a folder that may not be read
        raise ConfigError(os_reason(error), where=where, do="name another") from error
    if "matcher.json" in there:
        raise ConfigError("is a matcher's own folder", where=where, do="name another: its files stay as they are")
    if own[0] not in there and there & set(own):
        raise ConfigError("is a folder that holds other things", where=where, do="name a new one")


def read_history(folder: Path) -> list[dict[str, Any]] | None:
    """The training's epochs, what an epoch lacks left out of its record; None where the file was changed."""
    import pandas as pd

    try:
        content = read_file(folder / "history.csv", max_bytes=_MAX_HISTORY_BYTES, inside=folder)
        table = pd.read_csv(io.BytesIO(content)).astype("float64")
        epochs = table["epoch"].astype("int64")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError):  # pandas' own errors are ValueErrors
        return None
    if table.empty:
        return None
    records = table.assign(epoch=epochs).to_dict("records")
    return [{str(name): value for name, value in record.items() if not pd.isna(value)} for record in records]
