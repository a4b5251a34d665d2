"""What people and `run.jsonl` are told of a trial that is finished."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from imagematch.events import RunLog
from imagematch.tuning import records

if TYPE_CHECKING:
    import optuna


def tell_finished(log: RunLog, study: optuna.Study, trial: optuna.Trial, event: Mapping[str, Any], *, of: int) -> None:
    """Tells of a trial: its value, how far the study is, and the best so far.

    Args:
        log: who is told.
        study: the trial's.
        trial: finished.
        event: what the child told of it.
        of: how many trials the study is to have.
    """
    trials = study.get_trials(deepcopy=False)
    state = trials[trial.number].state.name
    best = records.best_of(trials, study.directions)
    params = ", ".join(f"{name} {value}" for name, value in trial.params.items())
    outcome = "pruned" if state == "PRUNED" else records.values_text(event["values"])
    best_text = f"best {records.values_text(best[0].values)} (trial {best[0].number})" if best else "none complete yet"
    log.event(
        "trial_finished",
        f"trial {trial.number:>3}  {outcome:>8}  {event['epochs']:>3} epochs  {event['seconds']['total']:6.1f} s  "
        f"[{len(records.counted(trials))}/{of}, {best_text}]  {params}",
        trial=trial.number,
        value=event["values"][0],
        values=event["values"],
        state=state,
        best_epoch=event["best_epoch"],
        epochs=event["epochs"],
        seconds=event["seconds"],
    )
