"""MLflow: a run for each training, and one for each study with its trials as runs inside."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from imagematch.callbacks.base import Callback, Run, TrialResult, numbers, register_callback, split_numbers


@register_callback("mlflow", "runs in MLflow, where MLFLOW_TRACKING_URI says", module="mlflow")
class MLflow(Callback):
    """The experiment is named as the study or training, unless MLFLOW_EXPERIMENT_NAME is set."""

    def on_study_begin(self, study: Run, finished: Sequence[TrialResult]) -> None:  # noqa: ARG002
        """See Callback."""
        _start(study)

    def on_trial_end(self, trial: TrialResult) -> None:
        """See Callback."""
        import mlflow

        with mlflow.start_run(run_name=f"trial {trial.number}", nested=True):
            mlflow.log_params(dict(trial.params))
            mlflow.log_metrics(numbers(trial.metrics) | _values(trial))
            mlflow.set_tag("state", trial.state)

    def on_study_end(self, best: TrialResult | None) -> None:
        """See Callback."""
        import mlflow

        if best is not None:
            mlflow.log_metrics(_values(best))
            mlflow.set_tag("best_trial", str(best.number))
        mlflow.end_run("KILLED" if best is None else "FINISHED")

    def on_training_begin(self, training: Run) -> None:
        """See Callback."""
        _start(training)

    def on_epoch_end(self, record: Mapping[str, Any]) -> None:
        """See Callback."""
        import mlflow

        found = {name: value for name, value in numbers(record).items() if name != "epoch"}
        mlflow.log_metrics(found, step=int(record["epoch"]))

    def on_training_end(self, metrics: Mapping[str, Any] | None) -> None:
        """See Callback."""
        import mlflow

        if metrics is not None:
            mlflow.log_metrics(split_numbers(metrics))
        mlflow.end_run("KILLED" if metrics is None else "FINISHED")


def _start(run: Run) -> None:
    import mlflow

    mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", run.name))
    mlflow.start_run(run_name=run.name)
    mlflow.log_params(dict(run.settings))
    mlflow.set_tag("folder", str(run.folder))


def _values(trial: TrialResult) -> dict[str, float]:
    return numbers({f"objective_{number}": value for number, value in enumerate(trial.values, 1)})
