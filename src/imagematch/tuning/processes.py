"""The identity of a process, by which others can tell whether it still runs."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_ENDED = ("Z", "X", "x")


def this_process() -> dict[str, Any]:
    """The identity of this process: its machine, its pid, and its start, as pids are used again."""
    return {**_machine(), "pid": os.getpid(), "started": _start(os.getpid())}


def is_here(owner: Mapping[str, Any]) -> bool:
    """True if the owner was a process of this machine, which can say whether it still runs.

    A host's name alone is not enough: clones and containers share it, so the boot and the namespace of the pids must be
    the same. Records of older versions have only the name.
    """
    return all(owner.get(key) == value for key, value in _machine().items() if key in owner or "boot" in owner)


def is_dead(owner: Mapping[str, Any]) -> bool:
    """True if the owner, a process of this machine, no longer runs; a zombie does not."""
    pid = int(owner["pid"])
    started = _start(pid) if "boot" in owner else _created(pid)
    return started is None or started != owner.get("started")


@functools.cache
def _machine() -> dict[str, str]:
    """The host's name, its boot, and on Linux the namespace in which its processes have their pids."""
    return {
        "host": socket.gethostname(),
        "boot": _read("/proc/sys/kernel/random/boot_id") or _boot_session() or f"node {uuid.getnode():x}",
        "pids": _link("/proc/self/ns/pid"),
    }


def _start(pid: int) -> float | None:
    """When a process was started, in ticks since the boot, which no step of the clock moves; None if it has ended."""
    stat = _read(f"/proc/{pid}/stat")
    if not stat:  # it has ended, or this is not Linux, where the system stores the start time
        return _created(pid)
    state, *fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return None if state in _ENDED else float(fields[18])


def _created(pid: int) -> float | None:
    """The time at which a process was started; None if it has ended."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None


def _boot_session() -> str:
    """What macOS calls this boot; empty elsewhere. Two machines of one name have different ones."""
    try:
        command = ["sysctl", "-n", "kern.bootsessionuuid"]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""
