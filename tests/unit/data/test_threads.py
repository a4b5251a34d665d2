"""How many threads a process starts: as many as may run at a time."""

import os

import pytest

from imagematch.data.decoding import thread_count


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_processors_that_a_process_may_not_use_do_not_count() -> None:
    allowed = os.sched_getaffinity(0)
    assert thread_count() == len(allowed)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert thread_count() == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_where_there_is_no_affinity_all_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert thread_count() == os.cpu_count()
