"""optuna-dashboard on a study, and what it shows of a trial beside its values: learning curve and configuration."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from imagematch.config import TrainSettings
from imagematch.errors import ConfigError, StudyError
from imagematch.files import make_dir, os_reason, write_error
from imagematch.learning_curves import LEARNING_CURVES_FILE, learning_curves_svg
from imagematch.reading import MB, read_file
from imagematch.tuning.storage import open_storage

if TYPE_CHECKING:
    import optuna

HOST = "127.0.0.1"
CONFIGURATION = "config.yaml"
_HISTORY_BYTES = 64 * MB


def store_artifacts(trial: optuna.Trial, settings: TrainSettings, history_file: Path, folder: Path) -> None:
    """Stores a trial's artifacts; it must still run.

    Args:
        trial: whose.
        settings: what it trained.
        history_file: its records, one an epoch, as JSON.
        folder: of the study's artifacts, as Optuna's file system store lays it out.

    Raises:
        StudyError: they cannot be written.
    """
    from optuna.artifacts import FileSystemArtifactStore, upload_artifact

    history = json.loads(read_file(history_file, max_bytes=_HISTORY_BYTES)) if history_file.is_file() else []
    texts = {CONFIGURATION: settings.to_yaml()}
    if history and settings.objective in history[0]:
        texts[LEARNING_CURVES_FILE] = learning_curves_svg(history, settings.objective)
    store = FileSystemArtifactStore(str(make_dir(folder)))
    try:
        with tempfile.TemporaryDirectory(dir=folder) as own:
            for name, text in texts.items():
                path = Path(own) / name
                path.write_text(text, encoding="utf-8")
                kind = "image/svg+xml" if name == LEARNING_CURVES_FILE else "application/yaml"
                upload_artifact(artifact_store=store, file_path=str(path), study_or_trial=trial, mimetype=kind)
    except OSError as error:
        raise write_error(folder, error) from error


def artifacts_dir(study_dir: Path) -> Path:
    """Where the artifacts of a study's trials are."""
    return study_dir / "artifacts"


def serve_dashboard(url: str, artifacts: Path | None, port: int, *, opened: Callable[[str], None]) -> None:
    """Serves until Ctrl-C, to this machine only: the dashboard lets everyone who reaches it change the study.

    Args:
        url: of the storage.
        artifacts: the folder of a study's artifacts; None shows none.
        port: to listen on.
        opened: called with its address.

    Raises:
        ConfigError: optuna-dashboard is not installed.
        StudyError: the storage cannot be opened, or the port is taken.
    """
    try:
        from optuna_dashboard import run_server
    except ImportError as error:
        raise ConfigError("optuna-dashboard is not installed", do="pip install optuna-dashboard") from error
    from optuna.artifacts import FileSystemArtifactStore

    storage = open_storage(url, create=False, pooled=True)
    store = None if artifacts is None else FileSystemArtifactStore(str(make_dir(artifacts)))
    opened(f"http://{HOST}:{port}/dashboard/")
    try:
        run_server(storage, host=HOST, port=port, artifact_store=store)
    except OSError as error:
        raise StudyError(
            f"cannot listen on port {port}: {os_reason(error)}", do="choose another one with --port"
        ) from error
