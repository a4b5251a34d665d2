"""Optuna's storage, read with one query a table: the trials of a large study are there in a tenth of the time."""

from __future__ import annotations

import contextlib
import functools
import gc
import json
from collections import defaultdict
from collections.abc import Collection, Container, Iterator
from typing import Any

from optuna.distributions import json_to_distribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import select
from sqlalchemy.orm import Session

from imagematch.tuning.optuna_internals import models

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
    """Keeps the garbage collector from looking again and again through rows of which none is garbage."""
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
