"""What stands where a file is expected, and what opening it costs: shared by the tests of hostile files."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

EXTRA_MB = 200
_HEAD = (
    "import sys\n"
    "from pathlib import Path\n"
    "from imagematch.errors import ImagematchError\n"
    "path = Path(sys.argv[1])\n"
    "def peak():  # not ru_maxrss, which begins with the peak of the process that forked this one\n"
    "    return int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
)
_TAIL = (
    "before = peak()\n"
    "try:\n    use(path)\n"
    "except ImagematchError as error:\n    print(error)\n"
    "else:\n    sys.exit('accepted')\n"
    "grown = peak() - before\n"
    f"sys.exit(f'{{grown >> 10}} MB' if grown > {EXTRA_MB} << 10 else 0)\n"
)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX) as opened:
        os.chdir(path.parent)  # a socket's path is short
        try:
            opened.bind(path.name)
        finally:
            os.chdir(here)


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def sparse(path: Path, size: int = 8 << 30) -> None:
    """A file of which nothing was ever written."""
    with path.open("wb") as file:
        file.truncate(size)


NO_FILES: dict[str, Callable[[Path], None]] = {
    "pipe": _pipe,
    "socket": _socket,
    "folder": Path.mkdir,
    "loop": _loop,
    "device": _device,
    "sparse": sparse,
}
"""Each puts something at a path that must never be read as a file."""


def put(kind: str, path: Path) -> Path:
    """Puts one of NO_FILES at `path`, in place of what is there."""
    path.unlink(missing_ok=True)
    NO_FILES[kind](path)
    return path


def refusal(setup: str, path: Path) -> str:
    """The one line with which a new process refuses a file.

    Args:
        setup: Python that defines `use(path)` and imports what it needs.
        path: the file.

    Raises:
        AssertionError: it accepts the file, ends in another error, or takes more than 200 MB above what it had.
    """
    command = [sys.executable, "-c", _HEAD + setup + "\n" + _TAIL, path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    return line
