"""Limits of processes: runs one of our functions in a process of its own, since what it opens may crash it, or cost
without end; and says where this process itself is limited too much.

An error that a function raises is raised again here, in the same words.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from imagematch.errors import ImagematchError, ModelError, StudyError
from imagematch.reading import GB

_MAX_ANSWER_BYTES = 10_000
_TENSORFLOW_BYTES = 4 * 10**9
"""Address space that a training takes (3.9 GB measured with two cores); with 2 GB TensorFlow waits for ever."""


def check_address_space() -> None:
    """Raises StudyError where this process may take less address space (`ulimit -v`) than TensorFlow needs."""
    try:
        import resource
    except ImportError:  # Windows
        return
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if resource.RLIM_INFINITY != allowed < _TENSORFLOW_BYTES:
        what = f"this process may take {allowed / 1e9:.1f} GB of memory"
        raise StudyError(what, do=f"TensorFlow needs {_TENSORFLOW_BYTES // 10**9} GB: raise the limit (ulimit -v)")


def run_limited(
    function: str, *arguments: str, memory_bytes: int, time_s: int, where: Path, writes_bytes: int = 0, do: str = ""
) -> None:
    """Runs a function that takes texts.

    Args:
        function: its module's full name, a colon, its name.
        arguments: what it is given.
        memory_bytes: address space that it may take.
        time_s: seconds of processor time that it may take, and of waiting four times as many.
        where: what it opens, for errors.
        writes_bytes: size of the largest file that it may write.
        do: what to do where it crashes or comes to its limits.

    Raises:
        ModelError: what it raised; or it crashed, or came to a limit.
    """
    limits = [str(limit) for limit in (memory_bytes, time_s, writes_bytes)]
    command = [sys.executable, "-m", "imagematch.limited_process", *limits, function, *arguments]
    too_much = f"crashes the program that opens it, or takes it more than {memory_bytes / GB:.0f} GB or {time_s} s"
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=4 * time_s,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(too_much, where=str(where), do=do) from error
    if done.returncode == 0:
        return
    try:
        what, place, advice = json.loads(done.stdout[-_MAX_ANSWER_BYTES:])
    except ValueError as error:
        raise ModelError(too_much, where=str(where), do=do) from error
    raise ModelError(str(what), where=str(place), do=str(advice))


def _limit(memory_bytes: int, time_s: int, writes_bytes: int) -> None:
    import resource

    for limit, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, time_s),
        (resource.RLIMIT_FSIZE, writes_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(ValueError, OSError):  # macOS knows no limit of address space
            resource.setrlimit(limit, (value, value))


def _main(memory_bytes: str, time_s: str, writes_bytes: str, function: str, *arguments: str) -> int:
    _limit(int(memory_bytes), int(time_s), int(writes_bytes))
    answer, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr  # libraries print, too
    os.dup2(2, 1)
    try:
        module, _, name = function.partition(":")
        getattr(import_module(module), name)(*arguments)
    except ImagematchError as error:
        answer.write(json.dumps([error.what, error.where, error.do]))
        answer.close()
        return ModelError.exit_code
    return 0


if __name__ == "__main__":
    code = _main(*sys.argv[1:])
    os._exit(code)  # at once: native libraries may wait for their threads forever when they are torn down
