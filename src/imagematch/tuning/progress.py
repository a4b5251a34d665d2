"""What people and `run.jsonl` read of a trial that has ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imagematch.events import RunLog
from imagematch.tuning import attributes
from imagematch.tuning.planned_trial import PlannedTrial


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
    outcome = "pruned" if state == "PRUNED" else attributes.values_text(results["values"])
    epochs = "1 epoch " if results["epochs"] == 1 else f"{results['epochs']} epochs"
    log.event(
        "trial_finished",
        f"trial {trial.number:>3}  {outcome:>8}  {epochs:>10}  {results['seconds']['total']:6.1f} s  "
        f"[{len(attributes.counted(trials))}/{of}, {best_text}]  {params}",
        trial=trial.number,
        value=results["values"][0],
        values=results["values"],
        state=state,
        best_epoch=results["best_epoch"],
        epochs=results["epochs"],
        seconds=results["seconds"],
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
        log.event("rerun_failed", message, trial=trial, seed_number=seed_number, reason=reason)
    else:
        number = planned.trial.number
        log.event("trial_failed", f"trial {number:>3}  failed: {reason}", trial=number, reason=reason)


def _rerun_of(planned: PlannedTrial) -> tuple[int, int]:
    stored = planned.trial.user_attrs
    return stored[attributes.RERUN_OF], stored[attributes.SEED_NUMBER]
