"""Errors of the database layer in one line that never shows a password; errors of anything else stay what they are."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from imagematch.disk_space import FREE_SPACE, full_disk_error
from imagematch.errors import StudyError
from imagematch.sqlite_files import is_full
from imagematch.tuning.optuna_internals import RDB_HOOKS

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

S = TypeVar("S", bound="RDBStorage")

UNREADABLE = "the storage URL"
"""What is shown of a URL that cannot be read: the password may be anywhere in it."""
_SHORTEST_SECRET = 3


def shown_url(url: str) -> str:
    """A storage URL without its password, fit to be shown."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):
        return UNREADABLE
    if "@" in (parts.host or ""):  # of a password with an '@' in it, the rest is taken for the host
        return UNREADABLE
    hidden = dict.fromkeys(parts.query, "***")  # a password may stand under a key with a typo
    return parts.update_query_dict(hidden).render_as_string(hide_password=True)


@contextlib.contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Turns what the database layer raises into one line. Only calls of a storage or its engine belong in the block."""
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    where = shown_url(url)
    if where == UNREADABLE:  # before anything is tried: the traceback would have the password in it
        do = "write it as sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME, an '@' in the password as %40"
        raise StudyError("no database can be reached that way", where=where, do=do)
    try:
        yield
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        if str(getattr(error, "name", None)).startswith("imagematch"):
            raise
        raise StudyError(
            f"no database can be reached that way ({type(error).__name__})",
            where=where,
            do="write it as sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME, its driver installed",
        ) from error
    except RuntimeError as error:
        if "no longer compatible" not in str(error):
            raise
        older = "storage upgrade" in str(error)
        raise StudyError(
            f"was written by {'an older' if older else 'a newer'} version of Optuna",
            where=where,
            do="run: imagematch study upgrade FILE" if older else "install that version: pip install -U optuna",
        ) from error
    except _of_the_database() as error:
        raise _study_error(error, url) from error


@functools.cache
def reporting_in_one_line(storage: type[S]) -> type[S]:
    """The storage class, each of whose calls raises StudyError where the database refuses."""
    from optuna.storages import BaseStorage

    own: type[S] = type(storage.__name__, (storage,), {})
    public = [name for name in vars(BaseStorage) if not name.startswith("_")]
    for name in (*public, *RDB_HOOKS, "record_heartbeat", "_get_stale_trial_ids"):
        setattr(own, name, _reporting(own, name))
    return own


def _reporting(own: type[RDBStorage], name: str) -> Callable[..., Any]:
    kinds = _of_the_database()

    @functools.wraps(getattr(own, name))
    def call(self: RDBStorage, *arguments: Any, **options: Any) -> Any:
        try:
            return getattr(super(own, self), name)(*arguments, **options)
        except kinds as error:
            raise _study_error(error, self.url) from error

    return call


def _of_the_database() -> tuple[type[Exception], ...]:
    """What a storage raises when its database refuses; on a full disk Optuna's raise a bare AssertionError."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    return SQLAlchemyError, sqlite3.Error, StorageInternalError, AssertionError


def _study_error(error: BaseException, url: str) -> StudyError:
    from sqlalchemy.engine import make_url

    reason = reason_of(error, url)
    what = f"the database refuses: {reason}"
    full = is_full(reason) or isinstance(error, AssertionError)
    if full and url.startswith("sqlite") and (file := make_url(url).database):
        return full_disk_error(Path(file), what)
    return StudyError(what, where=shown_url(url), do=FREE_SPACE if full else _advice(reason.lower()))


def reason_of(error: BaseException, url: str = "") -> str:
    """The first line of the database's own message, without the password of `url`."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    original = getattr(cause, "orig", None) or cause
    text = str(original).strip().splitlines()
    reason = text[0] if text else type(original).__name__
    for secret in _secrets(url):
        reason = reason.replace(secret, "***")
    return reason


def _secrets(url: str) -> list[str]:
    from sqlalchemy.engine import make_url

    if not url:
        return []
    parts = make_url(url)
    found = [str(parts.password or ""), *map(str, parts.query.values())]
    return [secret for secret in found if len(secret) >= _SHORTEST_SECRET]


def _advice(reason: str) -> str:
    if "locked" in reason:
        return "another process is writing: wait for it, or use PostgreSQL for many processes"
    if "malformed" in reason or "not a database" in reason:
        return "restore it from a backup, or choose another study_name"
    if "authentication" in reason or "role" in reason:
        return "check user and password"
    return "check that it is there and can be written, then run the same command with --resume"
