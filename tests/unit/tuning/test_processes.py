"""A process is named for good: clocks, clones, containers and zombies deceive nobody."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from imagematch.tuning import recovery
from imagematch.tuning.recovery import is_dead, is_here, this_process

LINUX = Path("/proc/self/stat").exists()


@pytest.fixture(name="zombie")
def zombie_fixture() -> Iterator[tuple[psutil.Process, float | None]]:
    """A process that has ended, which its parent has not noticed; and when it was started."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        told, started = psutil.Process(process.pid), recovery._start(process.pid)
        process.kill()
        while told.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        yield told, started


def older(process: psutil.Process) -> dict[str, object]:
    """As earlier versions noted an owner."""
    return {"host": this_process()["host"], "pid": process.pid, "started": process.create_time()}


def test_a_process_knows_itself_again() -> None:
    assert this_process() == this_process()
    assert is_here(this_process())
    assert not is_dead(this_process())


def test_a_step_of_the_clock_kills_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    if not LINUX:
        pytest.skip("elsewhere the system keeps the start as it was")
    before = this_process()
    monkeypatch.setattr(psutil.Process, "create_time", lambda _self: 1.0)
    assert this_process() == before
    assert not is_dead(before)


def test_the_same_pid_started_at_another_time_is_another_process() -> None:
    assert is_dead({**this_process(), "started": this_process()["started"] - 1})


def test_a_pid_that_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pid = process.pid
    assert is_dead({**this_process(), "pid": pid})


@pytest.mark.parametrize("key", ["host", "boot", "pids"])
def test_clones_and_containers_of_one_name_are_other_machines(key: str) -> None:
    assert not is_here({**this_process(), key: "another"})


def test_a_zombie_is_dead(zombie: tuple[psutil.Process, float | None]) -> None:
    process, started = zombie
    assert started is not None
    assert is_dead({**this_process(), "pid": process.pid, "started": started})
    assert is_dead(older(process))


def test_records_of_older_versions_are_understood() -> None:
    mine = older(psutil.Process())
    assert is_here(mine)
    assert not is_dead(mine)
    assert is_dead({**mine, "started": 1.0})
    assert not is_here({**mine, "host": "elsewhere"})


def test_where_there_is_no_proc_the_systems_own_time_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "_read", lambda _path: "")
    me = this_process()
    assert me["started"] == psutil.Process().create_time()
    assert not is_dead(me)


def test_two_machines_of_one_name_without_proc_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """As two Macs of one name: a trial of the other one is no dead process of this one."""
    monkeypatch.setattr(recovery, "_read", lambda _path: "")
    monkeypatch.setattr(recovery, "_link", lambda _path: "")
    machines = []
    for session in ("5C1E", "77AB"):
        monkeypatch.setattr(recovery, "_boot_session", lambda session=session: session)
        recovery._machine.cache_clear()
        machines.append(this_process())
    try:
        assert machines[0]["host"] == machines[1]["host"]
        assert not is_here(machines[0])
        assert is_here(machines[1])
        assert not is_here({**machines[1], "boot": ""}), "as version 0.1 noted it there"
    finally:
        recovery._machine.cache_clear()
