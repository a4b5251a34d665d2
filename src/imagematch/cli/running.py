"""Runs a command: exit codes, errors in one line, a traceback only with `--debug`."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import typer

from imagematch.errors import ConfigError, ImagematchError, StudyError, unloadable_library
from imagematch.events import printable
from imagematch.files import os_reason, write_error
from imagematch.processor import choose_sorts_of_numpy

_INTERRUPTED = 130
_NOT_WRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_SECRETS = (
    (re.compile(r"((?://[^\s/:@]*)?:)(?!//|PASSWORD@)\S*@"), r"\1***@"),
    (re.compile(r"([?&]\w*(?:passw|pwd)\w*=)[^\s&]*", re.IGNORECASE), r"\1***"),
)
"""What is never shown, and what stands there instead: a password before an @, in a misspelt URL too, or a parameter."""


def run(app: typer.Typer, arguments: Sequence[str] | None = None) -> None:
    """Runs `app` and ends the process: 0 done, 2 usage, else the error's own exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    choose_sorts_of_numpy(os.environ)
    if not debug:
        _mute_native_libraries()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that the terminal has no letters for is shown escaped
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(exit_code(app, given, debug))


def run_and_end(app: typer.Typer) -> None:
    """`run` for a process that has nothing else to do, and ends at once where OpenVINO or TensorFlow is loaded.

    OpenVINO's Core is torn down at exit, which has been seen to wait for ever for its threads; TensorFlow takes long.
    """
    try:
        run(app)
    except SystemExit as ending:
        if sys.modules.keys() & {"openvino", "tensorflow"}:
            with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(ending.code if isinstance(ending.code, int) else 0)
        raise


def _mute_native_libraries() -> None:
    """Discards what native code writes to stderr (TensorFlow's start-up lines); Python's stderr stays."""
    own = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    sys.stderr = os.fdopen(own, "w", encoding="utf-8", errors="backslashreplace", buffering=1)


def exit_code(app: typer.Typer, arguments: list[str], debug: bool) -> int:
    """Runs `app` and returns its exit code; what went wrong is on the error stream."""
    try:
        result = typer.main.get_command(app).main(arguments or ["--help"], standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0 if arguments else ConfigError.exit_code
    except typer.TyperException as error:
        return _tell(ConfigError(error.format_message(), do="see --help"), debug)
    except ImagematchError as error:
        return _tell(error, debug)
    except (KeyboardInterrupt, typer.Abort):
        _say("interrupted")
        return _INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return 0
    except Exception as error:
        if (known := _of_this_machine(error)) is not None:
            return _tell(known, debug)
        if debug:
            _print(traceback.format_exc())
            return 1
        _say(f"{type(error).__name__}: {error}; this is a defect of imagematch: run it again with --debug to see where")
        return 1


def _of_this_machine(error: Exception) -> ImagematchError | None:
    """The error to report for a full disk, too little memory or a damaged installation; None for a defect of ours."""
    if isinstance(error, OSError) and error.errno in _NOT_WRITABLE:
        if error.filename is None:
            _forget_output()
            return StudyError(f"the output cannot be written: {os_reason(error)}")
        return write_error(Path(str(error.filename)), error)
    if isinstance(error, MemoryError) or "can't start new thread" in str(error):
        return StudyError("there is not enough memory", do="close other programs, or raise its limit (ulimit -v)")
    if isinstance(error, ImportError) and not str(error.name).startswith("imagematch"):
        return unloadable_library(error)
    return None


def _forget_output() -> None:
    """Discards buffered output: its reader is gone, or the disk is full."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(error: ImagematchError, debug: bool) -> int:
    if debug:
        _print(traceback.format_exc())
    for each in (error, *error.more):
        _say(str(each))
    return error.exit_code


def _say(text: str) -> None:
    _print(f"error: {printable(' '.join(text.split()))}\n")


def _print(text: str) -> None:
    """Prints an error or a traceback, with the passwords in URLs removed."""
    for secret, shown in _SECRETS:
        text = secret.sub(shown, text)
    print(text, end="", file=sys.stderr)
