"""What a database refuses, in one line that never shows a password."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from imagematch.errors import StudyError

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
    """Turns whatever the database layer raises into one line."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    where = shown_url(url)
    if where == UNREADABLE:  # before anything is tried: the traceback would have the password in it
        do = "write it as sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME, an '@' in the password as %40"
        raise StudyError("no database can be reached that way", where=where, do=do)
    try:
        yield
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
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
    except (SQLAlchemyError, sqlite3.Error, StorageInternalError, AssertionError) as error:
        raise StudyError(f"the database refuses: {reason_of(error, url)}", where=where, do=_advice(error)) from error


def reason_of(error: BaseException, url: str = "") -> str:
    """What the database itself said, its first line; should the password of `url` be in it, without that."""
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


def _advice(error: BaseException) -> str:
    reason = reason_of(error).lower()
    if "locked" in reason:
        return "another process is writing: wait for it, or use PostgreSQL for many processes"
    if "full" in reason or "i/o" in reason or isinstance(error, AssertionError):
        return "free some space and run the same command with --resume"
    if "malformed" in reason or "not a database" in reason:
        return "restore it from a backup, or choose another study_name"
    if "authentication" in reason or "role" in reason:
        return "check user and password"
    return "check that it is there and can be written, then run the same command with --resume"
