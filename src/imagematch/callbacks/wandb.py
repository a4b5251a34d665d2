"""Weights & Biases: a run for each training, and for each trial of a study, grouped by the study."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imagematch.callbacks.base import Callback, Run, TrialResult, numbers, register_callback, split_numbers
from imagematch.files import make_dir


@register_callback("wandb", "runs in Weights & Biases; WANDB_MODE=offline keeps them in exp/logs", module="wandb")
class WeightsAndBiases(Callback):
    """The project is imagematch, unless WANDB_PROJECT is set."""

    def __init__(self) -> None:
        self._study = Run("", {}, Path(), Path())
        self._run: Any = None

    def on_study_begin(self, study: Run, finished: Sequence[TrialResult]) -> None:  # noqa: ARG002
        """See Callback."""
        self._study = study

    def on_trial_end(self, trial: TrialResult) -> None:
        """See Callback."""
        config = {**self._study.settings, **trial.params}
        run = _start(self._study, f"{self._study.name} trial {trial.number}", config, job_type="trial")
        values = {f"objective_{number}": value for number, value in enumerate(trial.values, 1)}
        run.log(numbers(values) | numbers(trial.metrics))
        run.summary["state"] = trial.state
        run.finish()

    def on_training_begin(self, training: Run) -> None:
        """See Callback."""
        self._run = _start(training, training.name, training.settings, job_type="training")

    def on_epoch_end(self, record: Mapping[str, Any]) -> None:
        """See Callback."""
        self._run.log(numbers(record), step=int(record["epoch"]))

    def on_training_end(self, metrics: Mapping[str, Any] | None) -> None:
        """See Callback."""
        if self._run is not None:
            self._run.summary.update({} if metrics is None else split_numbers(metrics))
            self._run.finish(exit_code=1 if metrics is None else 0)


def _start(run: Run, name: str, config: Mapping[str, Any], job_type: str) -> Any:
    import wandb

    folder = make_dir(run.logs.parent)
    project = os.environ.get("WANDB_PROJECT", "imagematch")
    return wandb.init(
        project=project, group=run.name, name=name, job_type=job_type, config=dict(config), dir=str(folder)
    )
