"""A study as a whole: created, joined or refused, marked as worked on, deleted; and what its workers are told of it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from imagematch.config import (
    STUDY_KEYS,
    Choices,
    StudySettings,
    TrainSettings,
    direction_of,
    parse_study,
    space_difference,
    starting_points,
)
from imagematch.errors import ConfigError, StudyError
from imagematch.events import SILENT, RunLog
from imagematch.file_locks import BusyError
from imagematch.files import Layout
from imagematch.interruption import StopRequest
from imagematch.tuning import optuna_internals
from imagematch.tuning.attributes import DEFINITION, FEATURE_PRECISIONS, STARTING_POINTS, TRIAL_INDEX
from imagematch.tuning.locks import database_of, lock_at_once, long_lock
from imagematch.tuning.planned_trial import settings_of
from imagematch.tuning.recovery import alive
from imagematch.tuning.reruns import refuse_another, rerun_study_of
from imagematch.tuning.samplers import falls_by_cosine, longest_training, make_pruner
from imagematch.tuning.space import labels_at
from imagematch.tuning.storage import open_storage, sqlite_url

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


def extractor_label(settings: TrainSettings) -> str:
    """The extractor as the study's attributes name it."""
    return str(Choices((settings.feature_extractor,)).labels[0])


def network_label(settings: TrainSettings) -> str:
    """What `feature_precision: auto` goes by."""
    weights = Choices((settings.weights,)).labels[0]
    return f"{extractor_label(settings)}, weights {weights}, image_size {settings.image_size}"


def with_study_precision(study: optuna.Study, settings: TrainSettings) -> TrainSettings:
    """The settings with the precision that `auto` resolved to where the network's baseline was measured.

    Another machine's processor may have no bfloat16, or have it where that one has none, and the metrics of one study
    are compared with each other.
    """
    precision = study.user_attrs.get(FEATURE_PRECISIONS, {}).get(network_label(settings))
    return settings if precision is None else settings.model_copy(update={"feature_precision": precision})


def configuration_of(trial: FrozenTrial, study: optuna.Study, settings: StudySettings) -> TrainSettings:
    """The settings that a trial of the study was trained with, its seed included."""
    values = settings.values_of(trial.params)
    return with_study_precision(study, settings_of(settings, values, trial.user_attrs[TRIAL_INDEX]))


def storage_url(settings: StudySettings, layout: Layout) -> str:
    """The URL of the database that holds the study."""
    return settings.storage or sqlite_url(layout.study_database(settings.study_name))


def study_exists(settings: StudySettings, layout: Layout) -> bool:
    """True if the storage holds a study of this name. Raises StudyError where the storage cannot be opened."""
    if settings.storage is None and not layout.study_database(settings.study_name).exists():
        return False
    import optuna

    return settings.study_name in optuna.get_all_study_names(open_storage(storage_url(settings, layout)))


def open_study(
    settings: StudySettings, layout: Layout, *, log: RunLog = SILENT, stop: StopRequest | None = None
) -> optuna.Study:
    """Creates the study, or joins it.

    Args:
        settings: what is searched, and where it is stored.
        layout: where files go.
        log: where it is logged that a database server goes away, and that it is back.
        stop: ends the wait for a server.

    Raises:
        StudyError: a study of this name searches another space (the error lists the differences), another study has the
            name of its rerun study, or the storage refuses.
    """
    import optuna

    try:
        starting_points(settings)  # unreadable files are told before anything is created
    except ConfigError:
        if not study_exists(settings, layout):
            raise
    storage = open_storage(storage_url(settings, layout), pooled=True, log=log, stop=stop)
    if settings.rerun_top_k > 1 and settings.rerun_seeds:
        refuse_another(settings.study_name, storage)
    study = optuna.create_study(
        study_name=settings.study_name,
        storage=storage,
        directions=[direction_of(name) for name in settings.objectives],
        pruner=make_pruner(
            settings.pruner,
            longest=longest_training(settings),
            folds=settings.folds,
            cosine=falls_by_cosine(settings),
        ),
        load_if_exists=True,
    )
    stored = study.user_attrs.get(DEFINITION)
    if stored is None and study.get_trials(deepcopy=False):
        raise StudyError("was made by another program", where=settings.study_name, do="choose another study_name")
    if stored is None:
        _settle_starting_points(study, settings)  # before the definition: whoever finds that has them, too
        study.set_user_attr(DEFINITION, settings.space_json())
    elif difference := space_difference(stored, settings.space_json()):
        raise StudyError(
            f"the study searches something else: {'; '.join(difference)}",
            where=settings.study_name,
            do="restore the file, keep the trials with --extend, or start again with --fresh",
        )
    elif STARTING_POINTS not in study.user_attrs and "start_from" in settings.model_fields_set:
        _settle_starting_points(study, settings)  # a study of an earlier version, which had no recipes by itself
    return study


def _settle_starting_points(study: optuna.Study, settings: StudySettings) -> None:
    """Stores what the study tries first, so that it stays the same whatever becomes of the files that it came from."""
    points = [labels_at(settings, point.values) for point in starting_points(settings) if point.values]
    study.set_user_attr(STARTING_POINTS, points)


def delete_study(name: str, url: str) -> None:
    """Removes the study and its rerun study from the storage; other studies there stay.

    Raises:
        StudyError: the storage refuses.
    """
    storage = open_storage(url)
    reruns = rerun_study_of(name, storage)
    if reruns is not None:  # first: left alone, its trials would be taken for those of the next study
        storage.delete_study(optuna_internals.study_id(reruns))
    with contextlib.suppress(KeyError):
        storage.delete_study(storage.get_study_id_from_name(name))


@contextlib.contextmanager
def working_on(study: optuna.Study, layout: Layout, stop: StopRequest) -> Iterator[None]:
    """Marks the study as worked on by this process, so that `--fresh` elsewhere is refused."""
    with long_lock(database_of(study), study.study_name, lock_file(study.study_name, layout), stop, shared=True):
        yield


@contextlib.contextmanager
def not_worked_on(name: str, url: str, layout: Layout) -> Iterator[None]:
    """Keeps other processes from the study while the block runs.

    Raises:
        StudyError: another process, on this machine or on another one, works on the study.
    """
    import optuna

    storage = open_storage(url)
    with contextlib.ExitStack() as alone:
        try:
            alone.enter_context(lock_at_once(storage, name, lock_file(name, layout)))
        except BusyError as error:
            do = "wait for it, or stop it"
            raise StudyError("another process works on this study", where=name, do=do) from error
        running = alive(optuna.load_study(study_name=name, storage=storage))
        if running:  # a server that was away has forgotten the locks
            raise StudyError(
                f"another process may work on this study: trial {running[0]} has not ended",
                where=name,
                do="wait for it, or stop it; if its machine has crashed, this is known within a quarter of an hour",
            )
        yield


def lock_file(study_name: str, layout: Layout) -> Path:
    """The lock that every process holds which works on the study, where the storage has no locks of its own."""
    return layout.study_dir(study_name) / ".lock"


@dataclass(frozen=True)
class WorkerJob:
    """What a worker is to do.

    Attributes:
        settings: of the study.
        layout: where files go.
        first: the number of the first trial whose failure counts; see `too_many_failures`.
    """

    settings: StudySettings
    layout: Layout
    first: int

    def to_json(self) -> str:
        """In one line."""
        study = study_values(self.settings)
        return json.dumps({"study": study, "root": str(self.layout.root), "first": self.first})

    @classmethod
    def from_json(cls, text: str | bytes) -> WorkerJob:
        """The job that `to_json` wrote."""
        job = json.loads(text)
        return cls(parse_study(job["study"]), Layout(Path(job["root"])), job["first"])


def study_values(settings: StudySettings) -> dict[str, Any]:
    """What a study file would say of these settings, as JSON; `parse_study` gives them back."""
    values = settings.model_dump(mode="json", include=set(STUDY_KEYS), exclude_unset=True)
    values |= to_jsonable_python(settings.fixed)
    for field, dimension in settings.space.items():
        if isinstance(dimension, Choices):
            values[f"{field}_grid"] = to_jsonable_python(dimension.options)
        else:
            limits = {"low": dimension.low, "high": dimension.high, "step": dimension.step, "log": dimension.log}
            unset = [name for name in ("step", "log") if not limits[name] or (name == "step" and dimension.log)]
            values[f"{field}_range"] = {name: value for name, value in limits.items() if name not in unset}
    return values
