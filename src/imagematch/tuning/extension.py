"""A study whose search space has changed: its trials are kept, those that the new space does not have are set aside.

Optuna allows one set of choices for a name in a study, so what is stored of each trial's parameters is written anew:
values, attributes, numbers and learning curves stay. All in one transaction: a process that is killed in it leaves the
study as it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optuna.distributions import distribution_to_json
from sqlalchemy import bindparam, delete, insert, or_, update

from imagematch.config import (
    DEFAULTS,
    Choices,
    StudySettings,
    is_active,
    space_difference,
    with_lists,
    with_tuples,
)
from imagematch.errors import StudyError
from imagematch.events import SILENT, RunLog
from imagematch.files import Layout
from imagematch.tuning import attributes, optuna_internals
from imagematch.tuning.attributes import CONFIG_DIGEST, DEFINITION, ENDED, EXTENDED_AT, OUTSIDE
from imagematch.tuning.locks import database_of
from imagematch.tuning.optuna_internals import models
from imagematch.tuning.recovery import recover
from imagematch.tuning.reruns import rerun_study_of
from imagematch.tuning.samplers import distributions_of
from imagematch.tuning.space import config_digest, labels_at
from imagematch.tuning.storage import open_storage, quiet_about_experiments
from imagematch.tuning.storage_errors import storage_errors
from imagematch.tuning.study import not_worked_on, storage_url

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

_OF_CMAES = "cma:"
"""Its state, for the space of before."""


def extend_study(settings: StudySettings, layout: Layout, log: RunLog = SILENT) -> None:
    """Gives a study the search space of `settings`; does nothing where it has it.

    Args:
        settings: of the study as it is to be.
        layout: where its files are.
        log: where it is logged what became of the trials.

    Raises:
        StudyError: more than the searched fields differs, no trial would be left, another process works on the study,
            or the storage refuses.
    """
    import optuna

    name, url = settings.study_name, storage_url(settings, layout)
    storage = open_storage(url)
    study = optuna.load_study(study_name=name, storage=storage)
    old, new = study.user_attrs.get(DEFINITION), settings.space_json()
    if old is None or not (difference := space_difference(old, new)):
        return  # of another program's study `open_study` tells
    _refuse_more_than_the_space(old, new, name)
    with not_worked_on(name, url, layout), quiet_about_experiments():
        reruns = rerun_study_of(name, storage)
        for one in (study, reruns):
            if one is not None:
                recover(one)
        trials = study.get_trials(deepcopy=False)
        moved = [_moved(trial, settings, old) for trial in trials]
        again = [] if reruns is None else [_moved(trial, settings, old) for trial in reruns.get_trials(deepcopy=False)]
        trained = [one for one in moved if attributes.is_trained(one.trial)]
        out = sum(bool(one.outside) for one in trained)
        kept = len(trained) - out
        if out and not kept:
            do = "choose another study_name, or start again with --fresh"
            raise StudyError(f"no trial is in the new space: {'; '.join(difference)}", where=name, do=do)
        now = {DEFINITION: new, ENDED: "", EXTENDED_AT: attributes.next_index(trials)}
        with storage_errors(url):
            _write(study, [*moved, *again], distributions_of(settings), now)
    said = f"extended: {'; '.join(difference)}; {kept} trials kept" + (f", {out} set aside" if out else "")
    log.event("extended", said, kept=kept, outside=out)
    if kept >= settings.n_trials:
        log.say(f"the study has its {settings.n_trials} trials already: raise n_trials to search the new space")


def _refuse_more_than_the_space(old: Mapping[str, Any], new: Mapping[str, Any], name: str) -> None:
    searched = {*old["space"], *new["space"]}

    def without_them(definition: Mapping[str, Any]) -> dict[str, Any]:
        fixed = {field: value for field, value in definition["fixed"].items() if field not in searched}
        return {**definition, "fixed": fixed, "space": {}}

    if difference := space_difference(without_them(old), without_them(new)):
        raise StudyError(
            f"--extend changes what is searched, and here more differs: {'; '.join(difference)}",
            where=name,
            do="restore it, or choose another study_name",
        )


@dataclass(frozen=True)
class _Moved:
    """A trial in the new space.

    Attributes:
        trial: as it is stored.
        labels: its parameters there, as Optuna's; of one that is outside none.
        digest: of its configuration; empty where it has none.
        outside: its values of the fields searched before or now, where the new space does not have all; else empty.
    """

    trial: FrozenTrial
    labels: Mapping[str, Any]
    digest: str
    outside: Mapping[str, Any]


def _moved(trial: FrozenTrial, settings: StudySettings, old: Mapping[str, Any]) -> _Moved:
    shared, values = {**DEFAULTS, **settings.fixed}, _values(trial, settings, old)
    every = {**shared, **values}
    counting = {field: value for field, value in values.items() if is_active(field, every)}
    inside = {
        field: dimension.canonical(counting[field])
        for field, dimension in settings.space.items()
        if field in counting and dimension.contains(counting[field])
    }
    if _waits(trial):  # what does not fit is drawn
        return _Moved(trial, labels_at(settings, inside), "", {})
    as_fixed = [f for f in counting if f not in settings.space and counting[f] == with_tuples(shared[f])]
    if len(inside) + len(as_fixed) < len(counting):
        return _Moved(trial, {}, "", {field: with_lists(value) for field, value in counting.items()})
    digest = config_digest(settings, inside) if CONFIG_DIGEST in trial.user_attrs else ""
    return _Moved(trial, labels_at(settings, inside), digest, {})


def _values(trial: FrozenTrial, settings: StudySettings, old: Mapping[str, Any]) -> dict[str, Any]:
    """The trial's values of the fields that the old space or the new one searches, as settings have them."""
    waits = _waits(trial)
    values: dict[str, Any] = {}
    for field in () if waits else settings.space:
        if field not in old["space"]:
            values[field] = old["fixed"].get(field, DEFAULTS[field])
    for field, label in (trial.system_attrs.get("fixed_params", {}) if waits else trial.params).items():
        choices = old["space"].get(field, {}).get("choices")
        values[field] = label if choices is None else Choices(tuple(choices)).value_of(label)
    return {field: with_tuples(value) for field, value in {**values, **trial.user_attrs.get(OUTSIDE, {})}.items()}


def _waits(trial: FrozenTrial) -> bool:
    return trial.state.name == "WAITING"


def _write(study: optuna.Study, moved: Sequence[_Moved], kinds: Mapping[str, Any], of_study: Mapping[str, Any]) -> None:
    """Stores it all, or nothing.

    Args:
        study: of the search.
        moved: its trials, and its reruns.
        kinds: field -> Optuna's distribution.
        of_study: its new attributes.
    """
    params, user, system = models.TrialParamModel, models.TrialUserAttributeModel, models.TrialSystemAttributeModel
    own, study_id = models.StudyUserAttributeModel, optuna_internals.study_id(study)
    ids = [optuna_internals.trial_id(one.trial) for one in moved]
    trials = [{"of": trial_id} for trial_id in ids]
    rows = [
        {
            "trial_id": trial_id,
            "param_name": field,
            "param_value": kinds[field].to_internal_repr(label),
            "distribution_json": distribution_to_json(kinds[field]),
        }
        for trial_id, one in zip(ids, moved, strict=True)
        for field, label in one.labels.items()
        if not _waits(one.trial)
    ]
    noted = [
        {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
        for trial_id, one in zip(ids, moved, strict=True)
        for key, value in ((OUTSIDE, one.outside), (CONFIG_DIGEST, one.digest))
        if value
    ]
    queued = [
        {"trial_id": trial_id, "key": "fixed_params", "value_json": json.dumps(one.labels)}
        for trial_id, one in zip(ids, moved, strict=True)
        if _waits(one.trial)
    ]
    stored = [{"study_id": study_id, "key": key, "value_json": json.dumps(value)} for key, value in of_study.items()]
    database = database_of(study)
    assert database is not None
    with database.engine.begin() as connection:
        connection.execute(delete(params).where(params.trial_id == bindparam("of")), trials)
        marks = or_(user.key == OUTSIDE, user.key == CONFIG_DIGEST)
        connection.execute(delete(user).where(user.trial_id == bindparam("of"), marks), trials)
        connection.execute(
            delete(system).where(system.trial_id == bindparam("of"), system.key.startswith(_OF_CMAES)), trials
        )
        connection.execute(delete(own).where(own.study_id == study_id, own.key.in_(tuple(of_study))))
        connection.execute(insert(own), stored)
        for model, new in ((params, rows), (user, noted)):
            if new:
                connection.execute(insert(model), new)
        for row in queued:
            where = (system.trial_id == row["trial_id"], system.key == row["key"])
            connection.execute(update(system).where(*where).values(value_json=row["value_json"]))
