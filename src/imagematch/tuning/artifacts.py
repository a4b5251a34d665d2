"""What optuna-dashboard shows of a trial beside its values: its learning curve and its configuration."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from imagematch.config import TrainSettings
from imagematch.files import make_dir, write_error
from imagematch.learning_curves import LEARNING_CURVES_FILE, learning_curves_svg

if TYPE_CHECKING:
    import optuna

CONFIGURATION = "config.yaml"


def keep_artifacts(trial: optuna.Trial, settings: TrainSettings, history_file: Path, folder: Path) -> None:
    """Keeps a trial's artifacts; it must still run.

    Args:
        trial: whose.
        settings: what it trained.
        history_file: its records, one an epoch, as JSON.
        folder: of the study's artifacts, as Optuna's file system store lays it out.

    Raises:
        StudyError: they cannot be written.
    """
    from optuna.artifacts import FileSystemArtifactStore, upload_artifact

    history = json.loads(history_file.read_text(encoding="utf-8")) if history_file.is_file() else []
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
