"""Locks between the processes of a study: of the database server where it has such, else files beside the study.

A server's locks reach every machine, a file's the processes of one. They end with the process that holds them. No
correctness hangs on them alone: what only one process may have, the plan checks in the database itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from imagematch.file_locks import BusyError, locked
from imagematch.interruption import StopRequest, interrupted
from imagematch.tuning import optuna_internals
from imagematch.tuning.storage_errors import storage_errors

if TYPE_CHECKING:
    import optuna
    from optuna.storages import RDBStorage
    from sqlalchemy import Connection

    from imagematch.tuning.retrying_storage import RetryingStorage

_POLL_S = 0.5
_POLL_PLAN_S = 0.02
_LONGEST_PLANNING_MS = 60_000
_LOCK_NOT_AVAILABLE = "55P03"


def database_of(study: optuna.Study) -> RDBStorage | None:
    """The database behind a study; None for a study in memory."""
    from optuna.storages import RDBStorage

    backend = optuna_internals.backend_of(study)
    return backend if isinstance(backend, RDBStorage) else None


@contextlib.contextmanager
def plan_lock(study: optuna.Study, file: Path, stop: StopRequest) -> Iterator[None]:
    """Held while a trial is planned, a fraction of a second. A process that hangs in it loses it after a minute.

    Args:
        study: whose trials are planned.
        file: the lock, where the study is on no server and in no file; a file has it beside itself, so that processes
            that run in different folders share it.
        stop: looked at while another process has it.

    Raises:
        InterruptedRunError: a stop was requested while another process held it.
    """
    storage = _server(database_of(study))
    if storage is None:
        with _file_lock(_beside_database(study) or file, stop):
            yield
        return
    key = _key(study.study_name, "plan")
    with storage_errors(storage.url):
        connection = storage.persist(lambda: _transaction_with(storage, key, stop))
    try:
        yield
    finally:
        _end(connection)


def _beside_database(study: optuna.Study) -> Path | None:
    """The lock of a study in an SQLite file; None of one in memory."""
    from sqlalchemy.engine import make_url

    database = database_of(study)
    url = None if database is None else make_url(database.url)
    if url is None or url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    path = Path(str(url.database))
    return path.with_name(f".{path.name}.plan.lock")


@contextlib.contextmanager
def _file_lock(file: Path, stop: StopRequest) -> Iterator[None]:
    """A plan's lock among the processes of one machine; it times out: a stopped process must not block all."""
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(locked(file, wait=False))
                break
            except BusyError:
                if stop.at_next_step:
                    raise interrupted() from None
                time.sleep(_POLL_PLAN_S)
        yield


@contextlib.contextmanager
def long_lock(
    storage: RDBStorage | None, study_name: str, file: Path, stop: StopRequest, *, shared: bool = False
) -> Iterator[None]:
    """A lock that may be held for long; waiting processes poll twice a second. Arguments as `lock_at_once`.

    Raises:
        InterruptedRunError: a stop was requested while another process held it.
    """
    while True:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(lock_at_once(storage, study_name, file, shared=shared))
            except BusyError:
                if stop.level:
                    raise interrupted() from None
                time.sleep(_POLL_S)
            else:
                yield
                return


@contextlib.contextmanager
def lock_at_once(storage: RDBStorage | None, study_name: str, file: Path, *, shared: bool = False) -> Iterator[None]:
    """Acquires the lock without waiting, or raises BusyError.

    Args:
        storage: whose lock it is; None for one among the processes of this machine.
        study_name: the study's.
        file: the lock's file, where the storage has no locks; its name tells the locks of a study apart.
        shared: many may hold it together, but not beside one who holds it alone.

    Raises:
        BusyError: another process holds it.
    """
    server = _server(storage)
    if server is None:
        with locked(file, wait=False, shared=shared):
            yield
        return
    shared_or_not = "_shared" if shared else ""
    statement = f"SELECT pg_try_advisory_lock{shared_or_not}({_key(study_name, file.name)})"
    with storage_errors(server.url):
        connection, taken = server.persist(lambda: _session_with(server, statement))
    try:
        if not taken:
            raise BusyError(file.name)
        yield
    finally:
        connection.invalidate()  # the lock ends with its session
        connection.close()


@contextlib.contextmanager
def tables_lock(connection: Connection) -> Iterator[None]:
    """Held on a server while the tables may have to be made; processes that make them at once would break it."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_key('', 'tables')})")
    yield


def _server(storage: RDBStorage | None) -> RetryingStorage | None:
    from imagematch.tuning.retrying_storage import RetryingStorage

    if isinstance(storage, RetryingStorage) and storage.engine.dialect.name == "postgresql":
        return storage
    return None


def _transaction_with(storage: RetryingStorage, key: int, stop: StopRequest) -> Connection:
    """A connection whose transaction holds the lock `key`."""
    from sqlalchemy.exc import OperationalError

    connection = storage.engine.connect()
    try:
        while True:
            try:
                _keep_alive(connection)
                limits = f"SET LOCAL idle_in_transaction_session_timeout = {_LONGEST_PLANNING_MS}; "
                limits += f"SET LOCAL lock_timeout = {int(1000 * _POLL_S)}"
                connection.exec_driver_sql(limits)
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({key})")
                return connection
            except OperationalError as error:
                if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                    raise
                connection.rollback()
                if stop.level >= 2:
                    raise interrupted() from None
    except BaseException:
        _end(connection)
        raise


def _session_with(storage: RetryingStorage, statement: str) -> tuple[Connection, bool]:
    """A connection of its own, and whether it could take the lock that `statement` asks for."""
    connection = storage.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    try:
        _keep_alive(connection)
        return connection, bool(connection.exec_driver_sql(statement).scalar())
    except BaseException:
        connection.invalidate()  # it may have the lock all the same
        connection.close()
        raise


def _end(connection: Connection) -> None:
    """Ends the transaction, and with it the lock, unless the server has ended the session already."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        connection.rollback()
    except SQLAlchemyError:
        connection.invalidate()
    connection.close()


def _keep_alive(connection: Connection) -> None:
    """Lets the server notice within a minute that a machine with a lock has vanished."""
    connection.exec_driver_sql(
        "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3"
    )


def _key(study_name: str, lock: str) -> int:
    digest = hashlib.blake2b(f"imagematch\0{study_name}\0{lock}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
