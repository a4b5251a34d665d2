"""A database server that goes away and comes back: every call waits and is tried again."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import sqlalchemy.exc
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from imagematch.events import SILENT, RunLog
from imagematch.interruption import StopRequest, interrupted
from imagematch.tuning.optuna_internals import RDB_HOOKS, RDB_LOGGER
from imagematch.tuning.sound_storage import SoundStorage
from imagematch.tuning.storage_errors import reason_of

_T = TypeVar("_T")

WAIT_S = 600.0
"""How long a server is waited for."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_POLL_S = 0.2

logging.getLogger(RDB_LOGGER).setLevel(logging.ERROR)


class RetryingStorage(SoundStorage):
    """Optuna's storage on a server; a call that fails because the server is away is tried again, with growing pauses.

    The answer to a call may be lost although the server has done it. Most calls can be done twice; the end of a trial
    looks first whether it was stored; and of two trials queued at one index the plan drops the second.

    Args:
        url: of the database.
        log: where it is logged, in one line each, that the server is away, and that it is back.
        stop: ends the wait when somebody asks for an end.
        wait_s: how long a server is waited for; after that a call fails as it would have at first, and so do the next.
        options: RDBStorage's own.
    """

    def __init__(
        self, url: str, *, log: RunLog = SILENT, stop: StopRequest | None = None, wait_s: float = WAIT_S, **options: Any
    ) -> None:
        self._log = log
        self._stop = stop or StopRequest()
        self._wait_s = 0.0  # a server that is away from the start is a mistake more often than an accident
        self._up_since = time.monotonic()
        super().__init__(url, **options)
        self._wait_s = wait_s
        self._grace_s = int(self.grace_period or 0)
        self._surely_dead_s = self._grace_s + int(wait_s)

    def persist(self, call: Callable[[], _T], happened: Callable[[], _T | None] = lambda: None) -> _T:
        """Calls until the server answers.

        Args:
            call: what to do; one transaction.
            happened: from the second try on, the result if an earlier try has got through; else None.

        Raises:
            InterruptedRunError: a stop was requested while the server was away.
        """
        pauses: Iterator[float] | None = None
        while True:
            try:
                result = happened() if pauses is not None else None
                result = call() if result is None else result
            except Exception as error:
                if not is_away(error):
                    raise
                if pauses is None:
                    pauses = self._pauses(error)
                pause = next(pauses, None)
                if pause is None:
                    self._wait_s = 0.0
                    raise
                self._sleep(pause)
            else:
                if pauses is not None:
                    self._up_since = time.monotonic()
                    self._log.event("storage_back", "the database answers again", level="warning")
                return result

    def _pauses(self, error: Exception) -> Iterator[float]:
        end, pause = time.monotonic() + self._wait_s, _FIRST_PAUSE_S
        if self._wait_s:
            reason, minutes = reason_of(error, self.url), self._wait_s / 60
            self._log.event(
                "storage_away",
                f"the database does not answer ({reason}): trying again for {minutes:.0f} minutes",
                level="warning",
            )
        while (left := end - time.monotonic()) > 0:
            yield min(pause, left)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._stop.level:
                raise interrupted()
            time.sleep(_POLL_S)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """As Optuna's; a result that was stored before the answer got lost is not stored again."""

        def happened() -> bool | None:
            return True if state.is_finished() and RDBStorage.get_trial(self, trial_id).state == state else None

        plain = super().set_trial_state_values
        return self.persist(lambda: plain(trial_id, state, values), happened)

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        """As Optuna's; but everybody's heartbeat is old when the server was away, and that proves nothing.

        An outage before this process connected is unknown to it. Until it has been connected for the grace period, only
        those trials are stale whose worker would have given the server up by now.
        """
        ids = self._silent_for(self._grace_s, study_id)
        lately_up = time.monotonic() - self._up_since <= self._grace_s
        return self._silent_for(self._surely_dead_s, study_id) if ids and lately_up else ids

    def _silent_for(self, seconds: int, study_id: int) -> list[int]:
        self.grace_period = seconds
        plain = super()._get_stale_trial_ids
        return self.persist(lambda: plain(study_id))


def _retrying(plain: Callable[..., _T]) -> Callable[..., _T]:
    @functools.wraps(plain)
    def call(self: RetryingStorage, *arguments: Any, **options: Any) -> _T:
        return self.persist(lambda: plain(self, *arguments, **options))

    return call


for _name in (
    *RDB_HOOKS,
    "create_new_study",
    "delete_study",
    "get_all_studies",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_directions",
    "get_study_user_attrs",
    "get_study_system_attrs",
    "set_study_user_attr",
    "set_study_system_attr",
    "get_trial",
    "_get_trials",
    "outlined_trials",
    "_get_best_trial_id",
    "_set_trial_param",
    "set_trial_intermediate_value",
    "set_trial_user_attr",
    "set_trial_system_attr",
    "record_heartbeat",
):
    setattr(RetryingStorage, _name, _retrying(getattr(SoundStorage, _name)))


def is_away(error: BaseException) -> bool:
    """True if a server did not answer, or broke off: what may be otherwise in a while.

    Optuna asks again in the session that broke off, so that what comes out is SQLAlchemy's complaint about that; what
    it was raised upon counts.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, sqlalchemy.exc.DBAPIError):
            away = isinstance(cause, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError)
            return away or cause.connection_invalidated
        cause = cause.__cause__ or cause.__context__
    return False
