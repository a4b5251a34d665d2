"""What to do where a run's results are there already: go on, start anew, or ask."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from imagematch.errors import ConfigError
from imagematch.files import os_reason

Choice = Literal["resume", "fresh"]


def check_results_folder(folder: Path, own: Sequence[str]) -> None:
    """Refuses a folder in which results would take the place of something else, before any work is done.

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


def resume_or_fresh(what: str, *, resume: bool, fresh: bool) -> Choice:
    """The user's choice where `what` exists: by option, else asked on a terminal.

    Raises:
        ConfigError: both options, or no option and nobody to ask.
    """
    if resume and fresh:
        raise ConfigError("--resume and --fresh exclude each other", do="give one of them")
    if resume or fresh:
        return "resume" if resume else "fresh"
    if not sys.stdin.isatty():
        raise ConfigError(f"{what} exists already", do="give --resume to go on with it, or --fresh to start anew")
    while True:
        print(f"{what} exists already. Go on with it (r), or delete it and start anew (f)? ", end="", flush=True)
        answer = sys.stdin.readline()
        if not answer:
            raise ConfigError(f"{what} exists already", do="give --resume or --fresh")
        if answer.strip().lower() in ("r", "resume"):
            return "resume"
        if answer.strip().lower() in ("f", "fresh"):
            return "fresh"
