"""Optuna's storage, whose contents are looked at as they are read: what no study holds is an error in one line."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, TypeVar

from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from imagematch.errors import StudyError
from imagematch.events import printable
from imagematch.tuning.attributes import OF_STUDIES, OF_TRIALS, of_their_kind
from imagematch.tuning.bulk_reading import BulkReadingStorage
from imagematch.tuning.storage_errors import shown_url

_T = TypeVar("_T")

_NOT_FOUND = "Record does not exist."
_ODD = (LookupError, ValueError, TypeError, ArithmeticError, AttributeError, RecursionError, MemoryError)
"""What Optuna raises where a row is none of its own: broken JSON, unknown states, texts for numbers."""
_SHOWN = 100


class SoundStorage(BulkReadingStorage):
    """Optuna's storage; a database with rows that Optuna did not write is refused, whichever program wrote them.

    Attributes that imagematch notes, but of another kind, are left out: another program may use their names.
    """

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """As Optuna's; see the class. Raises StudyError."""
        plain = super().get_study_user_attrs
        return of_their_kind(self._read(lambda: plain(study_id)), OF_STUDIES)

    def get_study_directions(self, study_id: int) -> list[Any]:
        """As Optuna's; see the class. Raises StudyError."""
        plain = super().get_study_directions
        directions = self._read(lambda: plain(study_id))
        if not directions:
            raise self._odd("a study without objective")
        return directions

    def get_all_studies(self) -> list[Any]:
        """As Optuna's; see the class. Raises StudyError."""
        studies = self._read(super().get_all_studies)
        for study in studies:
            if not isinstance(study.study_name, str):
                raise self._odd("the name of a study is no text")
            study.user_attrs = of_their_kind(study.user_attrs, OF_STUDIES)
        return studies

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """As Optuna's; see the class. Raises StudyError."""
        plain = super().get_trial
        return self._sound(self._read(lambda: plain(trial_id)), None)

    def _get_trials(self, study_id: int, *arguments: Any, **options: Any) -> list[FrozenTrial]:
        """As Optuna's; see the class. Raises StudyError."""
        plain = super()._get_trials
        return self._all_sound(study_id, self._read(lambda: plain(study_id, *arguments, **options)))

    def outlined_trials(self, study_id: int, attributes: Collection[str]) -> list[FrozenTrial]:
        """As BulkReadingStorage's; see the class. Raises StudyError."""
        plain = super().outlined_trials
        return self._all_sound(study_id, self._read(lambda: plain(study_id, attributes)))

    def _all_sound(self, study_id: int, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        objectives = len(self.get_study_directions(study_id)) if trials else 0
        return [self._sound(trial, objectives) for trial in trials]

    def _sound(self, trial: FrozenTrial, objectives: int | None) -> FrozenTrial:
        if problem := _problem(trial, objectives):
            raise self._odd(f"trial {printable(str(trial.number))[:_SHOWN]}: {problem}")
        trial.user_attrs = of_their_kind(trial.user_attrs, OF_TRIALS)
        return trial

    def _read(self, call: Callable[[], _T]) -> _T:
        try:
            return call()
        except KeyError as error:
            if error.args == (_NOT_FOUND,):
                raise
            raise self._odd(_said(error)) from error
        except _ODD as error:
            raise self._odd(_said(error)) from error

    def _odd(self, what: str) -> StudyError:
        where, do = shown_url(self.url), "restore it from a backup, or choose another study_name"
        return StudyError(f"holds what no study does ({what})", where=where, do=do)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {printable(' '.join(str(error).split()))[:_SHOWN]}"


def _problem(trial: FrozenTrial, objectives: int | None) -> str:
    """Why a trial is none that Optuna has written; empty where it is one. SQLite keeps any value in any column."""
    if not _is_whole(trial.number) or trial.number < 0:
        return "its number is none"
    values = trial.values or []
    if not all(_is_number(value) for value in values):
        return "a value is no number"
    if values and objectives is not None and len(values) != objectives:
        return f"has {len(values)} values, and the study {objectives} objectives"
    if not all(_is_whole(step) and _is_number(value) for step, value in trial.intermediate_values.items()):
        return "a step or its value is no number"
    if not all(isinstance(name, str) for name in (*trial.params, *trial.user_attrs, *trial.system_attrs)):
        return "a name is no text"
    if not all(isinstance(value, (str, int, float, bool, type(None))) for value in trial.params.values()):
        return "a parameter is neither a number nor a text"
    if not isinstance(trial.system_attrs.get("fixed_params", {}), dict):
        return "its parameters are none"
    if not all(isinstance(at, (datetime, type(None))) for at in (trial.datetime_start, trial.datetime_complete)):
        return "a time is none"
    return ""


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _guarded(name: str) -> None:
    plain = getattr(RDBStorage, name)

    @functools.wraps(plain)
    def call(self: SoundStorage, *arguments: Any, **options: Any) -> Any:
        return self._read(lambda: plain(self, *arguments, **options))

    setattr(SoundStorage, name, call)


for _name in ("get_study_name_from_id", "get_study_system_attrs"):
    _guarded(_name)
