"""The private names of Optuna that have no public counterpart, each used here alone.

- `Study._storage`: no public way leads from a study to its storage. `Trial.storage` is public, but needs a trial.
- `FrozenTrial._trial_id`, `Study._study_id`: the storage's methods take ids, and frozen trials show only numbers.
- `BaseHeartbeat` and `_get_stale_trial_ids`: Optuna sends heartbeats only inside `optimize`, which draws the trials
  itself and leaves no room for a plan, and offers no public way to find trials whose heartbeat has stopped.
- RDBStorage's own hooks (`_get_trials`, `_set_trial_param`, ...) are overridden by `retrying_storage`, `sound_storage`
  and `bulk_reading`: its public methods and Optuna's cache call them. `bulk_reading` queries its
  tables (`_rdb.models`).
- The logger of `_rdb.storage`: Optuna's public `set_verbosity` is for all of its loggers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.storages._rdb import models

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage
    from optuna.study._frozen import FrozenStudy
    from optuna.trial import FrozenTrial

__all__ = ["RDB_HOOKS", "RDB_LOGGER", "models"]
RDB_HOOKS = ("_create_new_trial", "_get_trials", "_get_best_trial_id", "_set_trial_param")
"""The private methods of RDBStorage that talk to the database."""
RDB_LOGGER = "optuna.storages._rdb.storage"
"""The logger that warns of each query which broke off."""


def storage_of(study: optuna.Study) -> BaseStorage:
    """The storage of a study; of a database, with Optuna's cache in front."""
    return study._storage


def backend_of(study: optuna.Study) -> BaseStorage:
    """The storage of a study without Optuna's cache."""
    backend: BaseStorage = getattr(study._storage, "_backend", study._storage)
    return backend


def study_id(study: optuna.Study | FrozenStudy) -> int:
    """The id of a study in its storage."""
    return study._study_id


def trial_id(trial: FrozenTrial | optuna.Trial) -> int:
    """The id of a trial in its storage."""
    return trial._trial_id


def has_heartbeats(study: optuna.Study) -> bool:
    """Whether the storage records heartbeats."""
    from optuna.storages._heartbeat import is_heartbeat_enabled

    return is_heartbeat_enabled(study._storage)


def record_heartbeat(study: optuna.Study, trial: FrozenTrial | optuna.Trial) -> None:
    """Records that a trial is worked on, where the storage can."""
    from optuna.storages._heartbeat import BaseHeartbeat

    if isinstance(study._storage, BaseHeartbeat):
        study._storage.record_heartbeat(trial._trial_id)


def stale_trial_ids(study: optuna.Study) -> set[int]:
    """Ids of the RUNNING trials whose heartbeat has stopped; none where the storage has no heartbeats."""
    from optuna.storages._heartbeat import BaseHeartbeat

    storage = study._storage
    return set(storage._get_stale_trial_ids(study._study_id)) if isinstance(storage, BaseHeartbeat) else set()
