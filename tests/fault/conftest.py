"""What tests of faults share: studies whose trainings take no time, and a PostgreSQL server of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conftest import ROOT
from tests.postgres import NoServerError, Server, private_server

Start = Callable[..., subprocess.Popen[str]]


def with_tests() -> dict[str, str]:
    """The environment of a process that can import `tests`."""
    paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@pytest.fixture(scope="session", name="one_server")
def one_server_fixture() -> Iterator[Server]:
    """The server that the tests of a process share."""
    try:
        with private_server() as server:
            yield server
    except NoServerError as error:
        pytest.skip(str(error))


@pytest.fixture(name="server")
def server_fixture(one_server: Server) -> Server:
    """A server whose database is empty."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    with create_engine(one_server.url, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    return one_server


@pytest.fixture(name="quick")
def quick_fixture(tmp_path: Path) -> Iterator[Start]:
    """Starts `tests.quick_study` with some arguments in the test's folder; ends what is left of them."""
    processes: list[subprocess.Popen[str]] = []

    def start(
        *arguments: str, trial_s: float = 0, folder: Path = tmp_path, own_group: bool = False
    ) -> subprocess.Popen[str]:
        folder.mkdir(exist_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.quick_study", *arguments],
            cwd=folder,
            env={**with_tests(), "QUICK_TRIAL_S": str(trial_s)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=own_group,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()
