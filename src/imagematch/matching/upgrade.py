"""Upgrades a matcher's folder of imagematch 0.1: written anew as data by a process with limits, the old one kept."""

from __future__ import annotations

import tempfile
from pathlib import Path

from imagematch.errors import ModelError
from imagematch.files import write_error
from imagematch.limited_process import run_limited
from imagematch.matching.matcher import ImageMatcher
from imagematch.reading import GB, MB, RefusedFileError, read_file

_TIME_LIMIT_S = 900
_MEMORY_LIMIT = 8 * GB
_FILE_LIMIT = 4 * GB
_OTHER_FILES = ("metrics.json", "history.csv", "report.html", "run.jsonl")
_MAX_OTHER_BYTES = 256 * MB


def upgrade_matcher(folder: Path) -> Path:
    """Writes a matcher of format 1 anew and puts it in the old folder's place.

    To read it, a Keras archive has to be opened, in a process with limits on memory and time. That is no safe thing to
    do with a stranger's folder.

    Args:
        folder: the matcher's.

    Returns:
        Where the old folder is now.

    Raises:
        ModelError: it is not of format 1, or cannot be read; it stays as it is.
        StudyError: the new folder cannot be written.
    """
    folder = folder.absolute()
    backup = folder.with_name(f"{folder.name}.format-1")
    if backup.exists():
        raise ModelError("an earlier backup is in the way", where=str(backup), do="move it elsewhere")
    if not folder.is_dir():
        raise ModelError("no such model folder", where=str(folder))
    try:
        with tempfile.TemporaryDirectory(prefix=".upgrade-", dir=folder.parent) as work:
            new = Path(work) / folder.name
            run_limited(
                "imagematch.matching.format_1:write_anew",
                str(folder),
                str(new),
                memory_bytes=_MEMORY_LIMIT,
                time_s=_TIME_LIMIT_S,
                writes_bytes=_FILE_LIMIT,
                where=folder,
                do="train the model again",
            )
            _copy_others(folder, new)
            ImageMatcher.load(new)
            folder.rename(backup)
            new.rename(folder)
    except OSError as error:
        raise write_error(folder, error) from error
    return backup


def _copy_others(old: Path, new: Path) -> None:
    """The files that are no part of the model; what cannot be read stays in the backup alone."""
    for name in _OTHER_FILES:
        try:
            (new / name).write_bytes(read_file(old / name, max_bytes=_MAX_OTHER_BYTES, inside=old))
        except (FileNotFoundError, RefusedFileError):
            continue
