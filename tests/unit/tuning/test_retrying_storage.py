"""What counts as a server that is away."""

import sqlalchemy.exc

from imagematch.tuning.retrying_storage import is_away

GONE = sqlalchemy.exc.OperationalError("SELECT 1", {}, Exception("server closed the connection unexpectedly"))


def raised_upon(first: Exception, second: Exception) -> Exception:
    """`second`, raised while `first` is handled, without a word of a cause: so does Optuna."""
    second.__context__ = first
    return second


def test_what_is_raised_upon_a_broken_connection_is_its_fault() -> None:
    pending = sqlalchemy.exc.PendingRollbackError("Can't reconnect until invalid transaction is rolled back")
    assert is_away(GONE)
    assert is_away(raised_upon(GONE, pending))


def test_other_errors_are_not() -> None:
    assert not is_away(ValueError("no"))
    assert not is_away(raised_upon(ValueError("no"), KeyError("neither")))
    assert not is_away(sqlalchemy.exc.IntegrityError("INSERT", {}, Exception("twice")))
    assert not is_away(raised_upon(sqlalchemy.exc.IntegrityError("INSERT", {}, Exception("twice")), KeyError("x")))
