"""What a resumed study does first: trials whose process died are failed and put back in the queue, at their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from imagematch.tuning.records import OWNER, PLACE, POINT, REASON, RETRY_OF, is_dead_here, this_process

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


def queue(
    study: optuna.Study, place: int, params: Mapping[str, Any], attributes: Mapping[str, Any] | None = None
) -> None:
    """Puts a trial in the queue at its place in the plan; with its owner from the start, so that no death loses it."""
    study.enqueue_trial(dict(params), user_attrs={PLACE: place, OWNER: this_process(), **(attributes or {})})


def requeue(study: optuna.Study, trial: FrozenTrial) -> None:
    """Puts a cut-off trial back in the queue: same parameters, same place, so the same seeds."""
    attributes = trial.user_attrs
    if POINT in attributes:
        queue(study, attributes[PLACE], trial.params, {POINT: attributes[POINT], RETRY_OF: trial.number})
    else:  # it died before all of its parameters were drawn; its place draws the same ones again
        queue(study, attributes[PLACE], {}, {RETRY_OF: trial.number})


def recover(study: optuna.Study) -> list[int]:
    """Fails the RUNNING trials of dead processes and queues them again; returns their numbers.

    A process of this host is dead if it no longer runs, one of another host if its heartbeat stopped (GRACE_S).
    A trial that is already queued again is not queued twice, so a recovery that was itself cut off can be repeated.
    """
    import optuna

    stale = _without_heartbeat(study)
    trials = study.get_trials(deepcopy=False)
    retried = {t.user_attrs[RETRY_OF] for t in trials if RETRY_OF in t.user_attrs}
    recovered = []
    for trial in trials:
        owner = trial.user_attrs.get(OWNER)
        if trial.state != optuna.trial.TrialState.RUNNING:
            continue
        if trial._trial_id not in stale and (owner is None or not is_dead_here(owner)):
            continue
        if PLACE in trial.user_attrs and trial.number not in retried:
            requeue(study, trial)
        fail(study, trial.number, "its process ended before the trial did")
        recovered.append(trial.number)
    return recovered


def _without_heartbeat(study: optuna.Study) -> set[int]:
    """Ids of the RUNNING trials whose heartbeat has stopped."""
    from optuna.storages import BaseStorage
    from optuna.storages._heartbeat import BaseHeartbeat

    storage: BaseStorage = study._storage
    return set(storage._get_stale_trial_ids(study._study_id)) if isinstance(storage, BaseHeartbeat) else set()


def fail(study: optuna.Study, number: int, reason: str) -> None:
    """Tells a RUNNING trial as failed, with the reason."""
    import optuna

    trial_id = study.get_trials(deepcopy=False)[number]._trial_id
    study._storage.set_trial_user_attr(trial_id, REASON, reason)
    study.tell(number, state=optuna.trial.TrialState.FAIL)
