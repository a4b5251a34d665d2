"""How many threads of this process can work at a time."""

from __future__ import annotations

import os


def thread_count() -> int:
    """One for each processor that this process may run on; a container or `taskset` may allow fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
