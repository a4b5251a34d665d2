"""Locks in files: waiting for one ends when somebody asks for an end, and what is free is taken at once."""

import threading
import time
from pathlib import Path

import optuna
import pytest

from imagematch.errors import InterruptedRunError
from imagematch.file_locks import locked
from imagematch.interruption import StopRequest
from imagematch.tuning.locks import long_lock, plan_lock


@pytest.mark.parametrize("level", [1, 2])
def test_waiting_for_a_lock_that_another_process_keeps_can_be_ended(tmp_path: Path, level: int) -> None:
    study, file, stop = optuna.create_study(), tmp_path / ".plan.lock", StopRequest()
    lock = plan_lock(study, file, stop) if level == 2 else long_lock(None, "s", file, stop)
    with locked(file):
        threading.Timer(0.2, stop.ask, [level]).start()
        with pytest.raises(InterruptedRunError), lock:
            raise AssertionError("it was not free")


def test_a_plan_is_waited_for_after_the_first_ctrl_c_and_had_when_it_is_free(tmp_path: Path) -> None:
    study, file, stop = optuna.create_study(), tmp_path / ".plan.lock", StopRequest()
    stop.ask(1)
    holder = locked(file)
    holder.__enter__()
    freed = threading.Timer(0.2, holder.__exit__, [None, None, None])
    freed.start()
    started = time.monotonic()
    with plan_lock(study, file, stop):
        assert time.monotonic() - started >= 0.15
    freed.join()
