"""Stands in for `imagematch.tuning.worker_process`: a worker that trains nothing, and computes a value instead.

`python -m tests.quick_worker`; a trial takes `QUICK_TRIAL_S` seconds (default 0). One whose embedding_dim is
`QUICK_NAN_DIM` comes to no number; one of `QUICK_DEAD_DIM` kills the worker, as for too much memory; one of
`QUICK_GONE_DIM` finds its images gone. There are as many steps as epochs. `QUICK_RENEW_AFTER` trials renew the worker.
"""

from __future__ import annotations

import hashlib
import math
import os
import signal
import time
from pathlib import Path
from typing import Any

from imagematch.config import StudySettings, TrainSettings
from imagematch.errors import DataError, TrainingFailedError
from imagematch.events import RunLog
from imagematch.files import write_json
from imagematch.interruption import StopRequest, interrupted
from imagematch.tuning import worker
from imagematch.tuning.objective import OnStep, TrialFiles
from imagematch.tuning.worker_process import train_trials

FAKE_BASELINE: dict[str, Any] = {
    "metrics": {"val_map_at_r": 0.1, "val_roc_auc": 0.5},
    "whitened": None,
    "dataset": {"images": 0, "classes": 0, "digest": "of the images"},
    "precision": "float32",
    "images_through_network": 0,
    "extraction_s": 0.0,
    "network_digest": "of the network",
    "network_parameters": None,
}


def value_of(settings: TrainSettings) -> float:
    """Best at embedding_dim 32 and learning_rate 0.01; the trial's seed adds a little noise."""
    seed = str(settings.training_seed).encode()
    noise = int.from_bytes(hashlib.blake2b(seed, digest_size=2).digest(), "big") / 2**16
    away = abs(math.log2(settings.embedding_dim / 32)) + abs(math.log10(settings.learning_rate / 0.01))
    return 1 / (1 + away) + 0.01 * noise


class QuickTrainer:
    """Trains nothing."""

    def __init__(self, settings: StudySettings, manifest_dir: Path, log: RunLog) -> None:
        pass

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
        dim = str(settings.embedding_dim)
        if dim == os.environ.get("QUICK_DEAD_DIM"):
            os.kill(os.getpid(), signal.SIGKILL)
        if dim == os.environ.get("QUICK_NAN_DIM"):
            raise TrainingFailedError("the loss is not a number in epoch 1")
        if dim == os.environ.get("QUICK_GONE_DIM"):
            raise DataError("the images are gone", where="here", do="bring them back")
        value, step = value_of(settings), 0
        for step in range(1, settings.epochs + 1):
            time.sleep(float(os.environ.get("QUICK_TRIAL_S", "0")) / settings.epochs)
            prune = on_step(step, value * step / settings.epochs)
            if stop.at_next_step:
                raise interrupted()
            if prune:
                break
        write_json(files.history, [])
        results = {"values": [value], "best_epoch": step, "epochs": step, "figures": {"val_map_at_r": value}}
        return {**results, "parameters": 1, "pruned": step < settings.epochs, "seconds": {"total": 0.0}}


if __name__ == "__main__":
    worker.RENEW_AFTER_TRIALS = int(os.environ.get("QUICK_RENEW_AFTER", worker.RENEW_AFTER_TRIALS))
    train_trials(QuickTrainer)
