"""Where a study is kept: opening SQLite files and database servers, and saying in one line what is wrong with them."""

from __future__ import annotations

import contextlib
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagematch.errors import StudyError
from imagematch.files import locked, make_dir, replacing, write_error

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

HEARTBEAT_S = 60
GRACE_S = 180
_BUSY_S = 60


def sqlite_url(path: Path) -> str:
    """The storage URL of a SQLite file."""
    return f"sqlite:///{path}"


def shown_url(url: str) -> str:
    """A storage URL without its password, fit to be shown."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "the storage URL"


def open_storage(url: str) -> RDBStorage:
    """Opens (or creates) the storage behind a SQLAlchemy URL.

    Raises:
        StudyError: it cannot be opened; says why, never shows a password.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with storage_errors(url):
        file = _sqlite_file(url)
        if file is None:
            return _opened(url, {})
        with _creation_lock(file):  # two processes that create the tables at once would get in each other's way
            return _opened(url, {"connect_args": {"timeout": _BUSY_S}})


@contextlib.contextmanager
def quiet_about_experiments() -> Iterator[None]:
    """Keeps Optuna from warning of experimental parts, and of heartbeats, which the search sends itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*experimental.*")
        warnings.filterwarnings("ignore", message=".*Heartbeat.*")
        yield


def _opened(url: str, engine_options: dict[str, Any]) -> RDBStorage:
    from optuna.storages import RDBStorage

    with quiet_about_experiments():
        return RDBStorage(url, engine_kwargs=engine_options, heartbeat_interval=HEARTBEAT_S, grace_period=GRACE_S)


@contextlib.contextmanager
def _creation_lock(file: Path) -> Iterator[None]:
    """Held while the tables may have to be made; a folder that takes no lock holds a database that is there already."""
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


def _sqlite_file(url: str) -> Path | None:
    """The file behind a SQLite URL, checked; None for another database."""
    from sqlalchemy.engine import make_url

    parts = make_url(url)
    if parts.get_backend_name() != "sqlite":
        return None
    if not parts.database or parts.database == ":memory:":
        raise StudyError("a study cannot be kept in memory", where=url, do="write sqlite:///FILE")
    path = Path(parts.database)
    make_dir(path.parent)
    try:
        head = path.read_bytes()[:16] if path.is_file() else b""
        if not head:
            with path.open("ab"):
                pass
    except OSError as error:
        raise write_error(path, error) from error
    if head and head != b"SQLite format 3\x00":
        raise StudyError("is not a study's database", where=str(path), do="move it away, or choose another study_name")
    return path


@contextlib.contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Turns whatever the database layer raises into one line."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    where = shown_url(url)
    try:
        yield
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ImportError) as error:
        raise StudyError(
            f"no database can be reached that way ({type(error).__name__})",
            where=where,
            do="write it as sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME, its driver installed",
        ) from error
    except RuntimeError as error:
        if "upgrade" not in str(error):
            raise
        raise StudyError(
            "was written by another version of Optuna", where=where, do="run: imagematch study upgrade FILE"
        ) from error
    except (SQLAlchemyError, StorageInternalError, AssertionError) as error:
        raise StudyError(f"the database refuses: {_reason(error)}", where=where, do=_advice(error)) from error


def _reason(error: BaseException) -> str:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    original = getattr(cause, "orig", None) or cause
    text = str(original).strip().splitlines()
    return text[0] if text else type(original).__name__


def _advice(error: BaseException) -> str:
    reason = _reason(error).lower()
    if "locked" in reason:
        return "another process is writing: wait for it, or use PostgreSQL for many processes"
    if "full" in reason or "i/o" in reason or isinstance(error, AssertionError):
        return "free some space and run the same command with --resume"
    if "malformed" in reason or "not a database" in reason:
        return "restore it from a backup, or choose another study_name"
    return "check that it is there and can be written"


def upgrade_database(path: Path) -> Path | None:
    """Brings a study's SQLite file to this version of Optuna.

    Returns:
        The backup of the old file, beside it; None where nothing had to be done.

    Raises:
        StudyError: it is no study's database, or cannot be written.
    """
    from optuna.storages import RDBStorage
    from optuna.version import __version__

    if not path.is_file():
        raise StudyError("no such file", where=str(path), do="name a study's .db file")
    url = sqlite_url(path)
    with storage_errors(url):
        _sqlite_file(url)
        storage = RDBStorage(url, skip_compatibility_check=True)
        if storage.get_current_version() == storage.get_head_version():
            return None
        backup = path.with_name(f"{path.name}.before-{__version__}")
        with replacing(backup) as temporary:
            shutil.copyfile(path, temporary)
        storage.upgrade()
        return backup
