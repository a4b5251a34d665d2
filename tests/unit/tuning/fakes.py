"""What tests of the tuning share: a trainer that trains nothing, and workers in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from tests.quick_worker import FAKE_BASELINE

from imagematch.config import StudySettings, TrainSettings
from imagematch.events import SILENT, RunLog
from imagematch.files import Layout
from imagematch.interruption import StopRequest
from imagematch.tuning.objective import OnStep, TrialFiles
from imagematch.tuning.study import WorkerJob
from imagematch.tuning.worker import Worker


class FakeTrainer:
    """Gives each configuration the value that `value_of` has for it; that raises what a training would.

    Args:
        value_of: settings, number of the rerun's seed (0 for the search) -> value.
    """

    def __init__(self, value_of: Callable[[TrainSettings, int], float]) -> None:
        self._value_of = value_of
        self.trained: list[tuple[TrainSettings, int]] = []

    def measure_baseline(self, settings: TrainSettings, data_digest: str | None) -> dict[str, Any]:
        """See Trainer."""
        return dict(FAKE_BASELINE)

    def train(
        self,
        settings: TrainSettings,
        files: TrialFiles,
        data_digest: str | None,
        *,
        network_digest: str | None = None,
        on_step: OnStep,
        stop: StopRequest,
    ) -> dict[str, Any]:
        """See Trainer."""
        seed = int(files.name.rpartition("-")[2]) if files.name.startswith("rerun") else 0
        self.trained.append((settings, seed))
        value, step = self._value_of(settings, seed), 0
        for step in range(1, settings.epochs + 1):
            if on_step(step, value * step / settings.epochs):
                break
        results = {"values": [value], "best_epoch": step, "epochs": step, "figures": {}, "parameters": 1}
        return {**results, "pruned": step < settings.epochs, "seconds": {"total": 0.0}}


def work(
    study: optuna.Study,
    settings: StudySettings,
    trainer: FakeTrainer,
    folder: Path,
    *,
    log: RunLog = SILENT,
    stop: StopRequest | None = None,
    first: int = 0,
) -> bool:
    """Lets one worker work on a study, as its process would."""
    return Worker(study, WorkerJob(settings, Layout(folder), first), trainer, log=log, stop=stop).run()
