"""A study's beginning: created, joined, or refused where its search space is another one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from imagematch.config import Choices, StudySettings, TrainSettings, direction_of, space_difference
from imagematch.errors import StudyError
from imagematch.events import SILENT, RunLog
from imagematch.files import BusyError, Layout
from imagematch.training import StopRequest
from imagematch.tuning.locks import lock_at_once, long_lock, storage_of
from imagematch.tuning.recovery import alive
from imagematch.tuning.refusals import storage_errors
from imagematch.tuning.samplers import longest_training, make_pruner
from imagematch.tuning.siblings import refuse_another, sibling_of
from imagematch.tuning.storage import open_storage, sqlite_url

if TYPE_CHECKING:
    import optuna

DEFINITION = "definition"
"""Study attribute: what all trials share (objective, seed, search space, fixed values)."""
BASELINE = "baseline"
"""Study attribute: the validation figures of the frozen extractor without a head."""
NETWORK_PARAMETERS = "network_parameters"
"""Study attribute: extractor -> its weights, of those that are trained."""
PRECISIONS = "feature_precisions"
"""Study attribute: network -> what its features are computed in, on whichever machine."""
DATA = "data"
"""Study attribute: counts of the data set, and its digest."""
_WORKED_ON = ".lock"


def extractor_label(settings: TrainSettings) -> str:
    """The extractor as the study's attributes name it."""
    return str(Choices((settings.feature_extractor,)).labels[0])


def network_label(settings: TrainSettings) -> str:
    """What `feature_precision: auto` goes by."""
    weights = Choices((settings.weights,)).labels[0]
    return f"{extractor_label(settings)}, weights {weights}, image_size {settings.image_size}"


def as_begun(study: optuna.Study, settings: TrainSettings) -> TrainSettings:
    """The settings in the precision that `auto` came to where the network's baseline was measured.

    Another machine's processor may have no bfloat16, or have it where that one had none, and the figures of one study
    are compared with each other.
    """
    precision = study.user_attrs.get(PRECISIONS, {}).get(network_label(settings))
    return settings if precision is None else settings.model_copy(update={"feature_precision": precision})


def storage_url(settings: StudySettings, layout: Layout) -> str:
    """Where the study is kept."""
    return settings.storage or sqlite_url(layout.study_database(settings.study_name))


def study_exists(settings: StudySettings, layout: Layout) -> bool:
    """True if the storage holds a study of this name. Raises StudyError where the storage cannot be opened."""
    if settings.storage is None and not layout.study_database(settings.study_name).exists():
        return False
    import optuna

    url = storage_url(settings, layout)
    storage = open_storage(url)
    with storage_errors(url):
        return settings.study_name in optuna.get_all_study_names(storage)


def open_study(
    settings: StudySettings, layout: Layout, *, log: RunLog = SILENT, stop: StopRequest | None = None
) -> optuna.Study:
    """Creates the study, or joins it.

    Args:
        settings: what is searched, and where it is kept.
        layout: where files go.
        log: told when a database server goes away, and when it is back.
        stop: ends the wait for a server.

    Raises:
        StudyError: a study of this name searches another space (the difference is told), another study has the name
            under which its repeated runs would be kept, or the storage refuses.
    """
    import optuna

    storage = open_storage(storage_url(settings, layout), pooled=True, log=log, stop=stop)
    if settings.rerun_top_k > 1 and settings.rerun_seeds:
        refuse_another(settings.study_name, storage)
    study = optuna.create_study(
        study_name=settings.study_name,
        storage=storage,
        directions=[direction_of(name) for name in settings.objectives],
        pruner=make_pruner(settings.pruner, longest=longest_training(settings), folds=settings.folds),
        load_if_exists=True,
    )
    kept = study.user_attrs.get(DEFINITION)
    if kept is None and study.get_trials(deepcopy=False):
        raise StudyError("was made by another program", where=settings.study_name, do="choose another study_name")
    if kept is None:
        study.set_user_attr(DEFINITION, settings.space_json())
    elif difference := space_difference(kept, settings.space_json()):
        raise StudyError(
            f"the study searches something else: {'; '.join(difference)}",
            where=settings.study_name,
            do="restore the file, choose another study_name, or start again with --fresh",
        )
    return study


def delete_study(settings: StudySettings, layout: Layout) -> None:
    """Removes the study (and its sibling of repeated runs) from the storage; other studies there stay.

    Raises:
        StudyError: the storage refuses.
    """
    url = storage_url(settings, layout)
    storage = open_storage(url)
    with storage_errors(url):
        sibling = sibling_of(settings.study_name, storage)
        if sibling is not None:  # first: left alone, its runs would be taken for those of the next study
            storage.delete_study(sibling._study_id)
        with contextlib.suppress(KeyError):
            storage.delete_study(storage.get_study_id_from_name(settings.study_name))


@contextlib.contextmanager
def owned(study: optuna.Study, layout: Layout, stop: StopRequest) -> Iterator[None]:
    """Marks the study as worked on by this process, so that `--fresh` elsewhere is refused."""
    file = layout.study_dir(study.study_name) / _WORKED_ON
    with long_lock(storage_of(study), study.study_name, file, stop, shared=True):
        yield


def refuse_if_worked_on(settings: StudySettings, layout: Layout) -> None:
    """Raises StudyError while another process, on this machine or on another one, works on the study."""
    import optuna

    name, url = settings.study_name, storage_url(settings, layout)
    storage = open_storage(url)
    with storage_errors(url):
        try:
            with lock_at_once(storage, name, layout.study_dir(name) / _WORKED_ON):
                pass
        except BusyError as error:
            do = "wait for it, or stop it"
            raise StudyError("another process works on this study", where=name, do=do) from error
        running = alive(optuna.load_study(study_name=name, storage=storage))
    if running:  # a server that was away has forgotten the locks
        raise StudyError(
            f"another process may work on this study: nobody has ended trial {running[0]}",
            where=name,
            do="wait for it, or stop it; of one that died with its machine this is known within a quarter of an hour",
        )
