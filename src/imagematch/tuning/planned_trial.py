"""One trial of a plan: its settings and seed, how it is started, and what is logged of its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imagematch.config import StudySettings, TrainSettings
from imagematch.events import RunLog
from imagematch.tuning import attributes
from imagematch.tuning.recovery import fail, requeue, send_heartbeat, this_process
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


def log_finished(log: RunLog, planned: PlannedTrial, results: Mapping[str, Any], state: str, *, of: int) -> None:
    """Logs a finished trial: its value, how far the study is, and the best so far.

    Args:
        log: where to.
        planned: the trial.
        results: what the training returned.
        state: COMPLETE or PRUNED.
        of: how many trials the study will have.
    """
    trial, study = planned.trial, planned.trial.study
    trials = study.get_trials(deepcopy=False)
    best = attributes.best_of(trials, study.directions)
    best_text = "none complete yet"
    if best:
        best_text = f"best {attributes.values_text(best[0].values)} (trial {best[0].number})"
    params = ", ".join(f"{name} {value}" for name, value in trial.params.items())
    finished = len(attributes.counted(trials))
    outcome = "pruned" if state == "PRUNED" else attributes.values_text(results["values"])
    epochs = "1 epoch " if results["epochs"] == 1 else f"{results['epochs']} epochs"
    log.event(
        "trial_finished",
        f"trial {trial.number:>3}  {outcome:>8}  {epochs:>10}  {results['seconds']['total']:6.1f} s  "
        f"[{finished}/{of}, {best_text}]  {params}",
        trial=trial.number,
        value=results["values"][0],
        values=results["values"],
        state=state,
        best_epoch=results["best_epoch"],
        epochs=results["epochs"],
        seconds=results["seconds"],
        finished=finished,
        of=of,
        best=best_text,
        params=dict(trial.params),
        metrics=results.get(attributes.TRIAL_METRICS, {}),
    )


def log_rerun(log: RunLog, planned: PlannedTrial, results: Mapping[str, Any]) -> None:
    """Logs a finished rerun and its value."""
    (trial, seed_number), value = _rerun_of(planned), results["values"][0]
    message = f"trial {trial:>3} again, seed {seed_number}: {value:.4f}"
    log.event("rerun", message, trial=trial, seed_number=seed_number, value=value)


def log_failed(log: RunLog, planned: PlannedTrial, reason: str) -> None:
    """Logs a trial or a rerun that has failed, and why."""
    if planned.is_rerun:
        trial, seed_number = _rerun_of(planned)
        message = f"trial {trial:>3} again, seed {seed_number}: failed: {reason}"
        log.event("rerun_failed", message, trial=trial, seed_number=seed_number, reason=reason, level="warning")
    else:
        number = planned.trial.number
        log.event("trial_failed", f"trial {number:>3}  failed: {reason}", trial=number, reason=reason, level="warning")


def _rerun_of(planned: PlannedTrial) -> tuple[int, int]:
    stored = planned.trial.user_attrs
    return stored[attributes.RERUN_OF], stored[attributes.SEED_NUMBER]
