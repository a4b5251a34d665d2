"""optuna-dashboard on a study, and what it shows of a trial beside its values: learning curve and configuration."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagematch.config import TrainSettings
from imagematch.errors import ConfigError, StudyError
from imagematch.files import make_dir, os_reason, write_error
from imagematch.reading import MB, read_file
from imagematch.tuning.storage import open_storage

if TYPE_CHECKING:
    import optuna

HOST = "127.0.0.1"
CURVE, CONFIGURATION = "learning_curve.svg", "config.yaml"
_HISTORY_BYTES = 64 * MB
_WIDTH, _HEIGHT, _MARGIN = 640, 360, 48


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
        texts[CURVE] = learning_curve(history, settings.objective)
    store = FileSystemArtifactStore(str(make_dir(folder)))
    try:
        with tempfile.TemporaryDirectory(dir=folder) as own:
            for name, text in texts.items():
                path = Path(own) / name
                path.write_text(text, encoding="utf-8")
                kind = "image/svg+xml" if name == CURVE else "application/yaml"
                upload_artifact(artifact_store=store, file_path=str(path), study_or_trial=trial, mimetype=kind)
    except OSError as error:
        raise write_error(folder, error) from error


def artifacts_dir(study_dir: Path) -> Path:
    """Where the artifacts of a study's trials are."""
    return study_dir / "artifacts"


def learning_curve(history: Sequence[Mapping[str, Any]], metric: str) -> str:
    """An SVG image of a metric by epoch, one line a fold.

    Args:
        history: records with `epoch` and the metric, and `fold` where there are folds.
        metric: its name.
    """
    values = [float(record[metric]) for record in history]
    epochs = [int(record["epoch"]) for record in history]
    low, high, last = min(values), max(values), max(epochs)

    def point(record: Mapping[str, Any]) -> str:
        x = _MARGIN + (_WIDTH - 2 * _MARGIN) * (int(record["epoch"]) - 1) / max(1, last - 1)
        y = _MARGIN + (_HEIGHT - 2 * _MARGIN) * (high - float(record[metric])) / ((high - low) or 1.0)
        return f"{x:.1f},{y:.1f}"

    folds = sorted({record.get("fold", 0) for record in history})
    lines = [" ".join(point(record) for record in history if record.get("fold", 0) == fold) for fold in folds]
    drawn = "".join(f'<polyline points="{line}" fill="none" stroke="#3366cc" stroke-width="2"/>' for line in lines)
    texts = (
        (_MARGIN, _MARGIN - 12, f"{metric} {high:.4f}"),
        (_MARGIN, _HEIGHT - _MARGIN + 18, f"{low:.4f}, epoch 1"),
        (_WIDTH - 2 * _MARGIN, _HEIGHT - _MARGIN + 18, f"epoch {last}"),
    )
    labels = "".join(f'<text x="{x}" y="{y}">{text}</text>' for x, y, text in texts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="13"><rect width="100%" height="100%" fill="white"/>{drawn}{labels}</svg>\n'
    )


def serve_dashboard(url: str, artifacts: Path | None, port: int) -> None:
    """Serves until Ctrl-C, to this machine only: the dashboard lets everyone who reaches it change the study.

    Args:
        url: of the storage.
        artifacts: the folder of a study's artifacts; None shows none.
        port: to listen on.

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
    print(f"http://{HOST}:{port}/dashboard/ (Ctrl-C ends it)", flush=True)
    try:
        run_server(storage, host=HOST, port=port, artifact_store=store)
    except OSError as error:
        raise StudyError(
            f"cannot listen on port {port}: {os_reason(error)}", do="choose another one with --port"
        ) from error
