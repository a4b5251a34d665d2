"""Opens the SQLite files and database servers that store studies."""

from __future__ import annotations

import contextlib
import itertools
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagematch.errors import StudyError
from imagematch.events import SILENT, RunLog
from imagematch.file_locks import locked
from imagematch.files import is_file, make_dir, replacing, write_error
from imagematch.interruption import StopRequest
from imagematch.sqlite_files import BoundedConnection
from imagematch.tuning.sqlite_file import MAGIC, check_database, connected, first_bytes
from imagematch.tuning.storage_errors import reporting_in_one_line, shown_url, storage_errors

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from imagematch.tuning.sound_storage import SoundStorage

HEARTBEAT_S = 60
GRACE_S = 180
_HEARTBEAT: dict[str, Any] = {"heartbeat_interval": HEARTBEAT_S, "grace_period": GRACE_S}
_BUSY_S = 60
_CONNECT_S = 10


def sqlite_url(path: Path) -> str:
    """The storage URL of a SQLite file."""
    return f"sqlite:///{path}"


def open_storage(
    url: str, *, create: bool = True, pooled: bool = False, log: RunLog = SILENT, stop: StopRequest | None = None
) -> SoundStorage:
    """Opens (or creates) the storage behind a SQLAlchemy URL.

    Args:
        url: of the database.
        create: whether a SQLite file that is not there is made.
        pooled: whether connections stay open between the calls; without, none is left behind.
        log: where it is logged that a server goes away, and that it is back.
        stop: ends the wait for a server.

    Raises:
        StudyError: it cannot be opened; says why, never shows a password.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with storage_errors(url), quiet_about_experiments():
        file = _sqlite_file(url, create=create)
        return _open_server(url, pooled, log, stop) if file is None else _open_file(url, file, pooled)


def _open_file(url: str, file: Path, pooled: bool) -> SoundStorage:
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    from imagematch.tuning.sound_storage import SoundStorage

    connecting: dict[str, Any] = {"connect_args": {"timeout": _BUSY_S, "factory": BoundedConnection}}
    unpooled = {**connecting, "poolclass": NullPool}
    with _creation_lock(file):
        if first_bytes(file):
            check_database(file)
        with create_engine(url, **unpooled).connect() as connection:
            _refuse_another_programs(connection, url)
            _refuse_damage(connection)
        storage = reporting_in_one_line(SoundStorage)
        return storage(_as_template(url), engine_kwargs=connecting if pooled else unpooled, **_HEARTBEAT)


def _open_server(url: str, pooled: bool, log: RunLog, stop: StopRequest | None) -> SoundStorage:
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url
    from sqlalchemy.pool import NullPool

    from imagematch.tuning.locks import tables_lock
    from imagematch.tuning.retrying_storage import RetryingStorage

    parts = make_url(url)
    endless = parts.get_backend_name() == "postgresql" and "connect_timeout" not in parts.query
    connecting: dict[str, Any] = {"connect_args": {"connect_timeout": _CONNECT_S} if endless else {}}
    unpooled = {**connecting, "poolclass": NullPool}
    with create_engine(url, **unpooled).begin() as connection, tables_lock(connection):
        _refuse_another_programs(connection, url)
        engine = {**connecting, "pool_pre_ping": True} if pooled else unpooled
        return reporting_in_one_line(RetryingStorage)(
            _as_template(url), log=log, stop=stop, engine_kwargs=engine, **_HEARTBEAT
        )


def _as_template(url: str) -> str:
    """The URL as Optuna takes it: it fills in what stands in braces."""
    return url.replace("{", "{{").replace("}", "}}")


def _refuse_another_programs(connection: Connection, url: str) -> None:
    """Raises StudyError where Optuna would mix its tables with another program's.

    On a server others may live beside a study, as long as they leave its tables' names alone; in a file nobody.
    """
    from sqlalchemy import inspect

    tables = set(inspect(connection).get_table_names())
    foreign = tables if connection.dialect.name == "sqlite" else tables & {"studies", "trials"}
    if foreign and "version_info" not in tables:
        raise StudyError(
            "is another program's database", where=shown_url(url), do="choose another storage or study_name"
        )


def _refuse_damage(connection: Connection) -> None:
    """Raises DatabaseError where pages of a SQLite file are damaged; of a study's size that takes milliseconds."""
    from sqlalchemy import text
    from sqlalchemy.exc import DatabaseError

    answer = connection.execute(text("PRAGMA quick_check(1)")).scalar()
    if answer != "ok":
        raise DatabaseError(None, None, ValueError(f"the file is malformed ({answer})"))


@contextlib.contextmanager
def quiet_about_experiments() -> Iterator[None]:
    """Keeps Optuna from warning of experimental parts, and of heartbeats, which the search sends itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*experimental.*")
        warnings.filterwarnings("ignore", message=".*Heartbeat.*")
        yield


@contextlib.contextmanager
def _creation_lock(file: Path) -> Iterator[None]:
    """Held while the tables may have to be made: two processes that make them at once get in each other's way.

    A folder that takes no lock holds a database that already exists.
    """
    try:
        lock = locked(file.with_name(f".{file.name}.lock"))
        lock.__enter__()
    except StudyError:
        yield
        return
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


def _sqlite_file(url: str, *, create: bool) -> Path | None:
    """The file behind a SQLite URL, checked; None for another database."""
    from sqlalchemy.engine import make_url

    parts = make_url(url)
    if parts.get_backend_name() != "sqlite":
        return None
    if not parts.database or parts.database == ":memory:":
        raise StudyError("a study cannot be stored in memory", where=shown_url(url), do="write sqlite:///FILE")
    path = Path(parts.database)
    if not create and not is_file(path):
        raise StudyError("there is no such file", where=str(path), do="name a study's .db file")
    make_dir(path.parent)
    head = first_bytes(path)
    if not head:
        try:
            with path.open("ab"):
                pass
        except OSError as error:
            raise write_error(path, error) from error
    if head and head != MAGIC:
        raise StudyError("is not a study's database", where=str(path), do="move it away, or choose another study_name")
    return path


@contextlib.contextmanager
def _quiet_migration() -> Iterator[None]:
    """Keeps Alembic from setting up logging of its own, which it does where the root logger has no handler."""
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def upgrade_database(path: Path) -> Path | None:
    """Brings a study's SQLite file to this version of Optuna. Nothing is written to a file that is none.

    Returns:
        The backup of the old file, beside it; None where nothing was to be done.

    Raises:
        StudyError: it is no study's database, or of a newer Optuna, or cannot be written.
    """
    from optuna.storages import RDBStorage
    from optuna.version import __version__

    if not is_file(path):
        raise StudyError("no such file", where=str(path), do="name a study's .db file")
    url = sqlite_url(path)
    with storage_errors(url):
        _refuse_what_is_no_study(path, url)
        bounded: dict[str, Any] = {"connect_args": {"factory": BoundedConnection}}
        storage = RDBStorage(
            _as_template(url), engine_kwargs=bounded, skip_compatibility_check=True, skip_table_creation=True
        )
        if storage.get_current_version() == storage.get_head_version():
            return None
        if storage.get_current_version() not in storage.get_all_versions():
            raise StudyError(
                "was written by a newer version of Optuna", where=str(path), do="install it: pip install -U optuna"
            )
        backup = _free_name(path.with_name(f"{path.name}.before-{__version__}"))
        with replacing(backup) as temporary, connected(path) as old, connected(temporary) as new:
            old.backup(new)  # what is still in a journal beside the file is in the copy
        with _quiet_migration():
            storage.upgrade()
        return backup


def _refuse_what_is_no_study(path: Path, url: str) -> None:
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.pool import NullPool

    _sqlite_file(url, create=False)
    check_database(path)
    with create_engine(url, poolclass=NullPool, connect_args={"factory": BoundedConnection}).connect() as connection:
        _refuse_another_programs(connection, url)
        _refuse_damage(connection)
        missing = {"version_info", "studies", "trials"} - set(inspect(connection).get_table_names())
    if missing:
        raise StudyError("holds no study", where=str(path), do="name a study's .db file")


def _free_name(path: Path) -> Path:
    """`path`, or with a number where that is taken: a backup is never overwritten."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return path if not path.exists() else next(other for other in numbered if not other.exists())
