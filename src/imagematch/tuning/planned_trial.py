"""One trial of a plan: its settings and seed, and how it is started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imagematch.config import StudySettings, TrainSettings
from imagematch.tuning import attributes
from imagematch.tuning.processes import this_process
from imagematch.tuning.recovery import fail, requeue, send_heartbeat
from imagematch.tuning.samplers import derived_seed
from imagematch.tuning.storage import quiet_about_experiments

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class PlannedTrial:
    """A trial that is to be trained.

    Attributes:
        trial: Optuna's, RUNNING.
        index: its index in the plan.
        settings: what to train.
        name: of its files.
        is_rerun: whether it is a trial of the rerun study.
    """

    trial: optuna.Trial
    index: int
    settings: TrainSettings
    name: str
    is_rerun: bool = False


def settings_of(settings: StudySettings, values: dict[str, Any], index: int, seed_number: int = 0) -> TrainSettings:
    """What the trial at `index` trains; its seed comes from the study's and the index. Reruns have others.

    Args:
        settings: of the study.
        values: of the searched fields.
        index: the trial's, in the plan.
        seed_number: which of the other seeds, from 1; 0 for the trial itself.
    """
    seed = derived_seed(settings.seed, index, purpose=1 + seed_number)
    return settings.settings_for(values, training_seed=seed)


def start_queued(study: optuna.Study, queued: FrozenTrial, index: int) -> optuna.Trial | None:
    """Starts the trial that is first in the queue; None where another process was faster.

    The planning lock keeps others away, unless it does not reach all workers, or its server fails. Then the earlier of
    two trials has the index: each process checks after its own trial is stored, so that one of them sees the other's.

    Args:
        study: the trial's; its sampler draws what is not settled.
        queued: the trial, WAITING.
        index: the trial's, in the plan.
    """
    send_heartbeat(study, [queued])  # before it runs: should this process die at the next step, it is recovered
    with quiet_about_experiments():
        trial = study.ask()
    trials = study.get_trials(deepcopy=False)
    started = trials[trial.number]
    if trial.number != queued.number:
        if attributes.TRIAL_INDEX in started.user_attrs:
            requeue(study, started)
        fail(study, trial.number, "two processes planned it at once; queued again")
        return None
    retried = started.user_attrs.get(attributes.RETRY_OF)
    others = [t for t in trials[: trial.number] if t.state.name != "FAIL" and t.number != retried]
    holder = next((t for t in others if t.user_attrs.get(attributes.TRIAL_INDEX) == index), None)
    if holder is not None:
        fail(study, trial.number, f"trial {holder.number} has its index in the plan")
        return None
    for name, value in ((attributes.OWNER, this_process()), (attributes.TRIAL_INDEX, index)):
        if queued.user_attrs.get(name) != value:
            trial.set_user_attr(name, value)
    return trial
