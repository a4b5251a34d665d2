"""What a resumed study does first: trials whose process died are failed and put back in the queue, at their place."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from imagematch.tuning.processes import is_dead, is_here, this_process
from imagematch.tuning.records import OWNER, PLACE, POINT, REASON, RETRY_OF

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


def queue(
    study: optuna.Study,
    place: int,
    params: Mapping[str, Any],
    attributes: Mapping[str, Any] | None = None,
    samplers_own: Mapping[str, Any] | None = None,
) -> None:
    """Puts a trial in the queue at its place in the plan; with its owner from the start, so that no death loses it.

    Args:
        study: the trial's.
        place: in the plan.
        params: those that are settled; the sampler draws the rest.
        attributes: what is noted on it besides.
        samplers_own: what the sampler has noted on the trial that is done again.
    """
    import optuna

    study.add_trial(
        optuna.trial.create_trial(
            state=optuna.trial.TrialState.WAITING,
            system_attrs={**(samplers_own or {}), "fixed_params": dict(params)},
            user_attrs={PLACE: place, OWNER: this_process(), **(attributes or {})},
        )
    )


def requeue(study: optuna.Study, trial: FrozenTrial) -> None:
    """Puts a cut-off trial back in the queue: same parameters, same place, so the same seeds."""
    attributes = trial.user_attrs
    if POINT in attributes:  # CMA-ES learns only from trials of a generation, and it has not drawn this one again
        own = {key: value for key, value in trial.system_attrs.items() if key.startswith("cma:")}
        queue(study, attributes[PLACE], trial.params, {POINT: attributes[POINT], RETRY_OF: trial.number}, own)
    else:  # it died before all of its parameters were drawn; its place draws the same ones again
        fixed = trial.system_attrs.get("fixed_params", {})
        queue(study, attributes[PLACE], fixed, {RETRY_OF: trial.number})


def recover(study: optuna.Study, ours: Collection[int] = ()) -> list[int]:
    """Fails the RUNNING trials that nobody works on and queues them again; returns their numbers.

    A trial that is already queued again is not queued twice, so a recovery that was itself cut off can be repeated.

    Args:
        study: whose trials.
        ours: numbers of the trials this process works on.
    """
    import optuna

    trials = study.get_trials(deepcopy=False)
    retried = {t.user_attrs[RETRY_OF] for t in trials if RETRY_OF in t.user_attrs}
    abandoned = _abandoned(study, ours)
    recovered = []
    for trial in trials:
        if trial.state != optuna.trial.TrialState.RUNNING or not abandoned(trial):
            continue
        if PLACE in trial.user_attrs and trial.number not in retried:
            requeue(study, trial)
        fail(study, trial.number, "its process ended before the trial did")
        recovered.append(trial.number)
    return recovered


def _abandoned(study: optuna.Study, ours: Collection[int]) -> Callable[[FrozenTrial], bool]:
    """Whether nobody works on a RUNNING trial.

    A process of this machine works on it as long as it runs, however old its heartbeat (the machine may have slept);
    this one on `ours`, whoever their owner is noted to be, and on no others. Of other machines, and of trials without
    an owner, the heartbeat tells (GRACE_S).
    """
    stale, me = _without_heartbeat(study), this_process()

    def abandoned(trial: FrozenTrial) -> bool:
        owner = trial.user_attrs.get(OWNER)
        if trial.number in ours:
            return False
        if owner is not None and is_here(owner):
            return owner == me or is_dead(owner)
        return trial._trial_id in stale

    return abandoned


def beat(study: optuna.Study, trials: Iterable[FrozenTrial | optuna.Trial]) -> None:
    """Shows that trials are worked on, where the storage can keep that."""
    from optuna.storages._heartbeat import BaseHeartbeat

    if isinstance(study._storage, BaseHeartbeat):
        for trial in trials:
            study._storage.record_heartbeat(trial._trial_id)


def alive(study: optuna.Study) -> list[int]:
    """Numbers of the RUNNING trials that a process works on."""
    abandoned = _abandoned(study, ())
    trials = study.get_trials(deepcopy=False)
    return [t.number for t in trials if t.state.name == "RUNNING" and OWNER in t.user_attrs and not abandoned(t)]


def _without_heartbeat(study: optuna.Study) -> set[int]:
    """Ids of the RUNNING trials whose heartbeat has stopped."""
    from optuna.storages import BaseStorage
    from optuna.storages._heartbeat import BaseHeartbeat

    storage: BaseStorage = study._storage
    return set(storage._get_stale_trial_ids(study._study_id)) if isinstance(storage, BaseHeartbeat) else set()


def fail(study: optuna.Study, number: int, reason: str) -> None:
    """Tells a RUNNING trial as failed, with the reason; one that has ended in the meantime stays as it ended."""
    import optuna

    trial_id = study.get_trials(deepcopy=False)[number]._trial_id
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        study._storage.set_trial_user_attr(trial_id, REASON, reason)
        study.tell(number, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)
