"""The training loop: whole chunks of steps inside one graph, one judgement an epoch, the best epoch kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from imagematch.config import direction_of
from imagematch.errors import ConfigError, TrainingFailedError
from imagematch.interruption import StopRequest, interrupted
from imagematch.losses import Loss
from imagematch.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from imagematch.training.mixup import mixup_shares
from imagematch.training.optimization import learning_rates, make_optimizer
from imagematch.training.stage import Stage
from imagematch.training.steps import compiled_steps

_CHECKPOINT_EVERY_S = 5.0
_EPOCH_WORTH_FINISHING_S = 2.0
_COLLAPSED_SPREAD = 1e-3
_COLLAPSED_EPOCHS = 3
EMPTY_STEPS = "empty_steps"
"""In the record of an epoch that had any: how many steps the loss had no term in, so that nothing was learnt."""

EpochRecord = Mapping[str, Any]
OnEpoch = Callable[[EpochRecord], bool]
"""Told each epoch's record; returns True to end the training there (a pruned trial)."""


@dataclass(frozen=True)
class FitResult:
    """What a training run came to; the model holds the best epoch's weights.

    Attributes:
        history: one record an epoch.
        best_epoch: counted from 1.
        best_value: the objective there.
        ended_by: "epochs", "early_stopping" or, where `on_epoch` cut the rest off, "callback".
        seconds: wall time of training and validation, by part.
    """

    history: list[dict[str, Any]]
    best_epoch: int
    best_value: float
    ended_by: str
    seconds: dict[str, float]


def fit(
    stages: Sequence[Stage],
    loss: Loss,
    *,
    on_epoch: OnEpoch = lambda _record: False,
    stop: StopRequest | None = None,
    checkpoint: Path | None = None,
    identity: str = "",
    discard_unfit: bool = False,
) -> FitResult:
    """Trains in place, one stage after the other; the best epoch of all is kept, and each stage begins with it.

    A stage ends when its epochs are over, or when the objective has not improved for its patience.

    Args:
        stages: at least one; the last one's model holds every variable that is trained.
        loss: with its own variables, if it has any.
        on_epoch: told each epoch's record, those of a checkpoint first; true ends the training.
        stop: looked at between chunks.
        checkpoint: where the state is kept while training; read first if it is there; removed by the caller.
        identity: digest of what is trained; a checkpoint of another identity is refused.
        discard_unfit: such a checkpoint, or a damaged one, is removed instead.

    Raises:
        ConfigError: the objective is not among the validation figures.
        InterruptedRunError: `stop` asked for it; the last checkpoint stays.
        TrainingFailedError: NaN, or a collapse; says what to change.
        ModelError: the checkpoint is damaged or foreign.
    """
    kept = None if checkpoint is None else read_checkpoint(checkpoint, identity, discard_unfit=discard_unfit)
    run = _Run(stages, loss) if kept is None else _Run.restored(stages, loss, kept)
    told = (record["epoch"] for record in run.history if on_epoch(record))  # a resumed run tells them again
    ended_by = run.go_on(cut_at=next(told, 0))
    written = time.monotonic()
    while not ended_by:
        run.train_epoch(stop)
        record = run.judge()
        cut_at = record["epoch"] if on_epoch(record) else 0
        asked = stop is not None and stop.at_next_step
        if checkpoint is not None and (
            asked or run.next_stage_is_due or time.monotonic() - written > _CHECKPOINT_EVERY_S
        ):
            write_checkpoint(checkpoint, run.snapshot(identity))
            written = time.monotonic()
        ended_by = run.go_on(cut_at)
        if asked and not ended_by:
            raise interrupted()
    return run.finish(ended_by)


class _Run:
    """Everything that changes while a model is trained."""

    def __init__(self, stages: Sequence[Stage], loss: Loss, number: int = 1) -> None:
        self._stages = stages
        self._loss = loss
        self._sign = 1.0 if direction_of(stages[0].settings.objective) == "maximize" else -1.0
        self._kept = [*stages[-1].model.variables, *loss.variables]
        self._history: list[dict[str, Any]] = []
        self._best: list[np.ndarray] = []
        self._seconds = {"training": 0.0, "validation": 0.0}
        self._pending: dict[str, float] = {}
        self._begin(number)

    def _begin(self, number: int) -> None:
        """Begins a stage, counted from 1, with the weights as they are and a new optimiser."""
        self._number = number
        self._first = len(self._history)
        stage = self._stages[number - 1]
        self._source, self._validator, self._settings = stage.source, stage.validator, stage.settings
        model, settings = stage.model, stage.settings
        trained, shares = stage.variables()
        own = list(self._loss.trainable_variables)  # proxies
        self._optimizer = make_optimizer(settings)
        self._optimizer.build([*trained, *own])
        self._steps = compiled_steps(
            model,
            self._loss,
            self._optimizer,
            [*trained, *own],
            precision=settings.training_precision,
            rate_shares=[*shares, *([settings.proxy_rate] * len(own))],
        )
        self._embed = tf.function(
            lambda inputs: model(tf.cast(inputs, tf.float32), training=False), reduce_retracing=True
        )

    @property
    def history(self) -> list[dict[str, Any]]:
        """One record for each epoch so far."""
        return list(self._history)

    @property
    def _state(self) -> list[Any]:
        seen = {id(variable) for variable in self._kept}
        return [*self._kept, *(v for v in self._optimizer.variables if id(v) not in seen)]

    def snapshot(self, identity: str) -> Checkpoint:
        """The state as a checkpoint."""
        return Checkpoint(identity, [np.asarray(v) for v in self._state], self._best, self._history)

    @classmethod
    def restored(cls, stages: Sequence[Stage], loss: Loss, kept: Checkpoint) -> _Run:
        """The run of a checkpoint, in the stage of its last epoch."""
        number = kept.history[-1].get("stage", 1)
        run = cls(stages, loss, number)
        for variable, value in zip(run._state, kept.variables, strict=True):
            variable.assign(value)
        run._best = list(kept.best)
        run._history = [dict(record) for record in kept.history]
        run._first = sum(record.get("stage", 1) < number for record in run._history)
        return run

    @property
    def next_stage_is_due(self) -> bool:
        """Whether the stage is over and another one follows."""
        return self._number < len(self._stages) and bool(self._stage_over())

    def go_on(self, cut_at: int) -> str:
        """Begins the next stage where one is over; why the training is over by now, empty if it is not.

        Args:
            cut_at: the epoch at which `on_epoch` asked for the end; 0 for none. At the last one nothing is cut off.
        """
        if cut_at:
            whole = cut_at == len(self._history) and not self.next_stage_is_due
            return (self._stage_over() if whole else "") or "callback"
        if self.next_stage_is_due:
            self._put_best_back()
            self._begin(self._number + 1)
        return self._stage_over()

    def train_epoch(self, stop: StopRequest | None) -> None:
        """One pass over the training images."""
        started = time.perf_counter()
        source = self._source
        number = len(self._history) - self._first
        rates = learning_rates(self._settings, number, source.steps, source.images)
        shares = mixup_shares(self._settings, number, source.steps, source.images)
        totals, done = np.zeros(3), 0
        for inputs, labels in source.chunks(len(self._history)):
            part = slice(done, done + len(labels))
            chunk = [inputs, labels, rates[part], *([] if shares is None else [shares[part]])]
            totals += np.asarray(self._steps(*map(tf.convert_to_tensor, chunk)))
            done += len(labels)
            if stop is not None and stop.at_next_step and time.perf_counter() - started > _EPOCH_WORTH_FINISHING_S:
                raise interrupted()
        self._pending = {"loss": float(totals[0] / done), "active": float(totals[1] / done)}
        if totals[2]:
            self._pending[EMPTY_STEPS] = int(totals[2])
        self._seconds["training"] += time.perf_counter() - started
        if not math.isfinite(self._pending["loss"]):
            raise TrainingFailedError(
                f"the loss is not a number in epoch {len(self._history) + 1}",
                where=self._settings.experiment_name,
                do=f"lower learning_rate (now {self._settings.learning_rate:g}), or check the images",
            )

    def judge(self) -> dict[str, Any]:
        """Closes the epoch: its record, and the weights kept if it is the best so far."""
        started = time.perf_counter()
        figures = self._validator.figures(self._embed)
        self._seconds["validation"] += time.perf_counter() - started
        epoch = len(self._history) + 1
        rate = float(np.asarray(self._optimizer.learning_rate))
        stage = {"stage": self._number} if len(self._stages) > 1 else {}
        record = {"epoch": epoch, **stage, **self._pending, **figures, "learning_rate": rate}
        self._check_spread(record)
        objective = self._settings.objective
        if objective not in record:
            names = ", ".join(name for name in record if name.startswith("val_"))
            raise ConfigError(f"objective {objective!r} is not measured each epoch", do=f"choose one of {names}")
        best = self._best_record()
        if best is None or self._sign * record[objective] > self._sign * best[objective]:
            self._best = [np.asarray(v) for v in self._kept]
        self._history.append(record)
        return record

    def _check_spread(self, record: Mapping[str, Any]) -> None:
        """Refuses NaN at once, and a collapse that lasts: a new network's batch norms need an epoch or two."""
        if math.isnan(record["spread"]):
            raise self._failure(f"the embeddings are not numbers in epoch {record['epoch']}")
        latest = [*self._history, record][-_COLLAPSED_EPOCHS:]
        if len(latest) == _COLLAPSED_EPOCHS and all(one["spread"] < _COLLAPSED_SPREAD for one in latest):
            raise self._collapse(record)

    def _collapse(self, record: Mapping[str, Any]) -> TrainingFailedError:
        spread = f"spread {record['spread']:.1e}"
        return self._failure(f"the embeddings have collapsed to one point ({spread}) in epoch {record['epoch']}")

    def _failure(self, problem: str) -> TrainingFailedError:
        settings = self._settings
        ways = [f"lower learning_rate (now {settings.learning_rate:g})"]
        if settings.effective_margin is not None:
            ways.append(f"raise margin (now {settings.effective_margin:g})")
        if settings.loss != "triplet_semihard":
            ways.append("use loss: triplet_semihard")
        return TrainingFailedError(problem, where=settings.experiment_name, do=" or ".join(ways))

    def _best_record(self) -> dict[str, Any] | None:
        objective = self._settings.objective
        return max(self._history, key=lambda r: self._sign * r[objective], default=None)

    def _stage_over(self) -> str:
        if len(self._history) - self._first >= self._settings.epochs:
            return "epochs"
        best = self._best_record()
        since = 0 if best is None else len(self._history) - max(best["epoch"], self._first)
        return "early_stopping" if since >= max(1, self._settings.early_stopping_patience) else ""

    def finish(self, ended_by: str) -> FitResult:
        """Puts the best weights back."""
        best = self._best_record()
        assert best is not None, "settings allow no training without an epoch"
        if best["spread"] < _COLLAPSED_SPREAD:
            raise self._collapse(best)
        self._put_best_back()
        return FitResult(self._history, best["epoch"], best[self._settings.objective], ended_by, self._seconds)

    def _put_best_back(self) -> None:
        for variable, value in zip(self._kept, self._best, strict=True):
            variable.assign(value)
