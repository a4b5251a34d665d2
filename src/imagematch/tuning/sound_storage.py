"""Optuna's storage, read fast and looked at as it is read.

One query a table: the trials of a large study are there in a tenth of the time. What no study holds is an error in one
line.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterator
from datetime import datetime
from typing import Any, TypeVar

from optuna.distributions import json_to_distribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import select
from sqlalchemy.orm import Session

from imagematch.errors import StudyError
from imagematch.events import printable
from imagematch.tuning.attributes import OF_STUDIES, OF_TRIALS, of_their_kind
from imagematch.tuning.optuna_internals import models
from imagematch.tuning.storage_errors import shown_url

_distribution = functools.lru_cache(maxsize=4096)(json_to_distribution)  # every trial repeats the same few
_STEP, _VALUE = models.TrialIntermediateValueModel, models.TrialValueModel
_FINITE_STEP, _FINITE_VALUE = _STEP.TrialIntermediateValueType.FINITE, _VALUE.TrialValueType.FINITE


class BulkReadingStorage(RDBStorage):
    """Optuna's storage; reads all trials of a study without making an object of every row on the way."""

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """As Optuna's, which is left to read only some of the trials."""
        if states is not None or trial_id_greater_than > -1:
            return super()._get_trials(study_id, states, included_trial_ids, trial_id_greater_than)
        with Session(self.engine) as session, _uncollected():
            return _all_trials(session, study_id)

    def outlined_trials(self, study_id: int, attributes: Collection[str]) -> list[FrozenTrial]:
        """All trials of a study by number, with states, values and a few user attributes: enough to count and rank.

        Args:
            study_id: Optuna's.
            attributes: the names of the user attributes that are wanted.
        """
        with Session(self.engine) as session, _uncollected():
            values, user = _values(session, study_id), _attributes(session, study_id, attributes)
            outlined = [_trial(one, values, user) for one in _trial_rows(session, study_id)]
        return sorted(outlined, key=lambda trial: trial.number)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Pauses the garbage collector while many rows are read, none of which is garbage."""
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()


def _all_trials(session: Session, study_id: int) -> list[FrozenTrial]:
    found = _trial_rows(session, study_id)
    values, user, steps = _values(session, study_id), _attributes(session, study_id), _steps(session, study_id)
    system: dict[int, dict[str, Any]] = defaultdict(dict)
    params: dict[int, dict[str, Any]] = defaultdict(dict)
    kinds: dict[int, dict[str, Any]] = defaultdict(dict)
    of_system, param = models.TrialSystemAttributeModel, models.TrialParamModel
    for trial_id, key, text in _rows(session, study_id, of_system.trial_id, of_system.key, of_system.value_json):
        system[trial_id][key] = json.loads(text)
    columns = (param.trial_id, param.param_name, param.distribution_json, param.param_value)
    for trial_id, name, text, value in _rows(session, study_id, *columns, order=param.param_id):
        kinds[trial_id][name] = kind = _distribution(text)
        params[trial_id][name] = kind.to_external_repr(value)
    return [_trial(one, values, user, system, params, kinds, steps) for one in found]


def _trial_rows(session: Session, study_id: int) -> list[Any]:
    trial = models.TrialModel
    return list(session.scalars(select(trial).where(trial.study_id == study_id).order_by(trial.trial_id)))


def _values(session: Session, study_id: int) -> dict[int, dict[Any, Any]]:
    values: dict[int, dict[Any, Any]] = defaultdict(dict)
    columns = (_VALUE.trial_id, _VALUE.objective, _VALUE.value, _VALUE.value_type)
    for trial_id, place, value, kind in _rows(session, study_id, *columns, order=_VALUE.objective):
        values[trial_id][place] = value if kind is _FINITE_VALUE else _VALUE.stored_repr_to_value(value, kind)
    return values


def _steps(session: Session, study_id: int) -> dict[int, dict[Any, Any]]:
    steps: dict[int, dict[Any, Any]] = defaultdict(dict)
    columns = (_STEP.trial_id, _STEP.step, _STEP.intermediate_value, _STEP.intermediate_value_type)
    for trial_id, step, value, kind in _rows(session, study_id, *columns):
        finite = kind is _FINITE_STEP
        steps[trial_id][step] = value if finite else _STEP.stored_repr_to_intermediate_value(value, kind)
    return steps


def _attributes(session: Session, study_id: int, wanted: Collection[str] | None = None) -> dict[int, dict[str, Any]]:
    """The user attributes by trial, all or the wanted ones."""
    attributes: dict[int, dict[str, Any]] = defaultdict(dict)
    of = models.TrialUserAttributeModel
    where = [] if wanted is None else [of.key.in_(wanted)]
    for trial_id, key, text in _rows(session, study_id, of.trial_id, of.key, of.value_json, where=where):
        attributes[trial_id][key] = json.loads(text)
    return attributes


def _rows(
    session: Session, study_id: int, trial_id: Any, *columns: Any, where: Collection[Any] = (), order: Any = None
) -> Any:
    """Rows of a table that belong to a study's trials; they begin with the trial's id."""
    trial = models.TrialModel
    wanted = select(trial_id, *columns).join(trial, trial.trial_id == trial_id)
    return session.execute(wanted.where(trial.study_id == study_id, *where).order_by(order))


def _trial(
    row: Any,
    values: dict[int, dict[Any, Any]],
    user: dict[int, dict[str, Any]],
    *others: dict[int, dict[Any, Any]],
) -> FrozenTrial:
    """A trial of its row and what the other tables say of it: system attributes, parameters, their kinds, steps."""
    one, found = row.trial_id, values.get(row.trial_id, {})
    system, params, kinds, steps = (table.get(one, {}) for table in others or ({}, {}, {}, {}))
    return FrozenTrial(
        number=row.number,
        state=row.state,
        value=None,
        values=[found[objective] for objective in range(len(found))] or None,
        datetime_start=row.datetime_start,
        datetime_complete=row.datetime_complete,
        params=params,
        distributions=kinds,
        user_attrs=user.get(one, {}),
        system_attrs=system,
        intermediate_values=steps,
        trial_id=one,
    )


_T = TypeVar("_T")

_NOT_FOUND = "Record does not exist."
_ODD = (
    *(LookupError, ValueError, TypeError, ArithmeticError, AttributeError, RecursionError, MemoryError),
    AssertionError,
)
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
