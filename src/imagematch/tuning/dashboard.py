"""optuna-dashboard on a study, with the artifacts of its trials."""

from __future__ import annotations

from pathlib import Path

from imagematch.errors import ConfigError, StudyError
from imagematch.files import make_dir, os_reason
from imagematch.tuning.storage import open_storage

HOST = "127.0.0.1"


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
