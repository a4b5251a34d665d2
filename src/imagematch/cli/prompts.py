"""What is asked on a terminal: go on with results or start anew, and whether to delete."""

from __future__ import annotations

import sys
from typing import Literal

from imagematch.errors import ConfigError

Choice = Literal["resume", "fresh"]


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
        raise ConfigError(f"{what} exists already", do="give --resume to go on with it, or --fresh to start again")
    while True:
        print(
            f"{what} exists already. Go on with it (r), or delete it and start anew (f)? ",
            end="",
            flush=True,
            file=sys.stderr,
        )
        answer = sys.stdin.readline()
        if not answer:
            raise ConfigError(f"{what} exists already", do="give --resume or --fresh")
        if answer.strip().lower() in ("r", "resume"):
            return "resume"
        if answer.strip().lower() in ("f", "fresh"):
            return "fresh"


def confirmed(what: str, *, option: str) -> bool:
    """Whether the user, asked on a terminal, wants `what` to be done.

    Raises:
        ConfigError: there is nobody to ask; names the option that says yes.
    """
    if not sys.stdin.isatty():
        raise ConfigError(f"will not {what} without being told to", do=f"give {option}")
    return _answer(f"{what} (y/n)? ").strip().lower() in ("y", "yes")


def _answer(question: str) -> str:
    print(question, end="", flush=True, file=sys.stderr)  # standard output is the result's
    return sys.stdin.readline()
